//! Traffic at full speed in short slices, so that compared values are measured side by side.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host::{Host, Network};
use crate::sys;

/// How often a receiver checks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long sent packets may take to arrive.
const ARRIVAL: Duration = Duration::from_millis(20);
/// Enough for the packets of a slice in case the receiver gets no processor in the meantime.
const RECEIVE_BUFFER: usize = 32 << 20;
/// A small packet, for which the firewall's share of the cost is largest.
const DATAGRAM: [u8; 18] = [b'x'; 18];

/// Receives on ports of one host: datagrams are counted, and a stream's sender is told the number of bytes.
pub(super) struct Sink {
    address: Ipv4Addr,
    pid: u32,
    received: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Sink {
    pub(super) fn open(host: &Host, ports: &[u16]) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let mut sink = Self {
            address: host.v4(),
            pid: host.pid()?,
            received: Arc::clone(&received),
            ended: Arc::clone(&ended),
            threads: Vec::new(),
        };
        for &port in ports {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let (count, end) = (Arc::clone(&received), Arc::clone(&ended));
            sink.threads.push(inside(host.network(), move || {
                let socket = UdpSocket::bind(address)?;
                sys::set_receive_buffer(&socket, RECEIVE_BUFFER)?;
                socket.set_read_timeout(Some(LOOK))?;
                Ok(move || count_datagrams(&socket, &count, &end))
            })?);
            let end = Arc::clone(&ended);
            sink.threads.push(inside(host.network(), move || {
                let listener = TcpListener::bind(address)?;
                Ok(move || swallow_streams(&listener, &end))
            })?);
        }
        Ok(sink)
    }

    /// Datagrams that passed the firewall, including those for which the socket's queue was full.
    pub(super) fn arrived(&self) -> Result<u64> {
        let table = std::fs::read_to_string(format!("/proc/{}/net/udp", self.pid))?;
        let drops = table.lines().skip(1).filter_map(|line| line.split_whitespace().last());
        let drops: u64 = drops.filter_map(|count| count.parse::<u64>().ok()).sum();
        Ok(self.received.load(Ordering::Relaxed) + drops)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _failed_earlier = thread.join();
        }
    }
}

fn count_datagrams(socket: &UdpSocket, count: &AtomicU64, end: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 64];
    while !end.load(Ordering::Relaxed) {
        match socket.recv(&mut buffer) {
            Ok(_) => count.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

fn swallow_streams(listener: &TcpListener, end: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    while !end.load(Ordering::Relaxed) {
        if !sys::readable_within(listener, LOOK)? {
            continue;
        }
        let (mut stream, _) = listener.accept()?;
        let mut bytes: u64 = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                length => bytes += length as u64,
            }
        }
        stream.write_all(&bytes.to_be_bytes())?;
    }
    Ok(())
}

/// Runs the closure returned by `prepare` on a thread in a network. Returns when it is prepared.
pub(super) fn inside<T: Send + 'static, W: FnOnce() -> Result<T>>(
    network: Network,
    prepare: impl FnOnce() -> Result<W> + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let (ready, prepared): (Sender<Result<()>>, _) = channel();
    let thread = std::thread::spawn(move || {
        let work = network.enter().and_then(|()| prepare());
        let work = match work {
            Ok(work) => work,
            Err(error) => {
                let text = format!("{error:#}");
                let _nobody_waits = ready.send(Err(error));
                anyhow::bail!(text);
            }
        };
        let _nobody_waits = ready.send(Ok(()));
        work()
    });
    prepared.recv().context("a thread of the measurement ended at once")??;
    Ok(thread)
}

/// Sends from the network of the creating thread.
pub(super) struct Source {
    sockets: Vec<UdpSocket>,
    targets: Vec<SocketAddr>,
}

impl Source {
    /// Sends to these ports of a sink in turns.
    pub(super) fn open(to: &Sink, ports: &[u16]) -> Result<Self> {
        let targets: Vec<SocketAddr> =
            ports.iter().map(|&port| (to.address, port).into()).collect();
        let socket = |target: &SocketAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(target)?;
            Ok(socket)
        };
        Ok(Self { sockets: targets.iter().map(socket).collect::<Result<_>>()?, targets })
    }

    /// Sends datagrams for `slice`; returns the number that arrived per second.
    pub(super) fn datagrams(&self, to: &Sink, slice: Duration) -> Result<f64> {
        let before = to.arrived()?;
        let begin = Instant::now();
        let mut sent = 0;
        while begin.elapsed() < slice {
            for socket in &self.sockets {
                for _ in 0..4 {
                    // A full queue or a refusal by the network shows in the number of arrivals.
                    let _not_sent = socket.send(&DATAGRAM);
                    sent += 1;
                }
            }
        }
        let time = begin.elapsed();
        let arrived = settled(to, before, sent)?;
        Ok(number(arrived) / time.as_secs_f64())
    }

    /// Whether one datagram arrives.
    pub(super) fn passes(&self, to: &Sink) -> Result<bool> {
        let before = to.arrived()?;
        for socket in &self.sockets {
            let _not_sent = socket.send(&DATAGRAM);
        }
        Ok(settled(to, before, self.sockets.len() as u64)? > 0)
    }

    /// Sends streams, one after the other, for `slice` each; returns bytes per second, including opening and
    /// closing of connections.
    pub(super) fn streams(&self, slice: Duration) -> Result<f64> {
        let chunk = vec![b'x'; 1 << 17];
        let (mut bytes, mut time) = (0, Duration::ZERO);
        for target in &self.targets {
            let begin = Instant::now();
            let mut stream = TcpStream::connect_timeout(target, Duration::from_secs(5))
                .with_context(|| format!("could not connect to {target}"))?;
            while begin.elapsed() < slice {
                stream.write_all(&chunk)?;
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut count = [0; 8];
            stream.read_exact(&mut count).with_context(|| format!("no count from {target}"))?;
            bytes += u64::from_be_bytes(count);
            time += begin.elapsed();
        }
        Ok(number(bytes) / time.as_secs_f64())
    }
}

/// The number of arrivals since `before`, when all `sent` have arrived or no more do.
pub(super) fn settled(to: &Sink, before: u64, sent: u64) -> Result<u64> {
    let mut arrived = to.arrived()? - before;
    let mut deadline = Instant::now() + ARRIVAL;
    while arrived < sent && Instant::now() < deadline {
        std::thread::yield_now();
        let now = to.arrived()? - before;
        if now > arrived {
            deadline = Instant::now() + ARRIVAL;
        }
        arrived = now;
    }
    Ok(arrived)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^52")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
