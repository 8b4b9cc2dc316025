//! Enforces the verdicts of a Windows host's filter engine: the host's real packets wait until the model
//! has judged them by what the double holds at that moment.
//!
//! As at Windows' own layers, the first packet of a flow is judged, and its others follow; who opened a
//! flow, connection tracking knows. What Windows does to flows that are open when filters change is not
//! reproduced. Where flows are audited, each verdict becomes events of the double's Security log.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use xshield_firewall::wfp::eval::Ruling;
use xshield_policy::{Direction, Packet};
use xshield_wfp_double::Directory;

use super::queue::{Fate, Queue, Waiting};
use super::verdict::{Judged, judge};
use super::{events, packet};
use crate::host::{Host, Network, succeed};
use crate::lab::require_program;

/// The queue's number: each host has its own.
const QUEUE: u16 = 0;
/// How long it takes at most until the end is noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// What is wrong with the network besides the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outage {
    /// Nothing.
    #[default]
    None,
    /// New connections to this address are lost while a ruleset is on trial, whatever it says.
    InTrials(SocketAddr),
}

/// Whether Windows writes events of flows to the Security log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auditing {
    /// It does not.
    #[default]
    Off,
    /// Of permitted and of blocked ones.
    Flows,
}

/// The gate of one host, until it is dropped. Then its new flows are dropped.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    engine: Directory,
    is_over: AtomicBool,
    outage: Mutex<Outage>,
    auditing: Mutex<Auditing>,
    judged: Mutex<Vec<Judged>>,
    failures: Mutex<Vec<String>>,
}

impl Gate {
    /// Lets every new flow of the host wait for the verdict of this engine.
    ///
    /// # Errors
    /// When the kernel has no queue for packets, or iptables is missing.
    pub fn start(host: &Host, engine: Directory) -> Result<Self> {
        let shared = Arc::new(Shared {
            engine,
            is_over: AtomicBool::new(false),
            outage: Mutex::default(),
            auditing: Mutex::default(),
            judged: Mutex::default(),
            failures: Mutex::default(),
        });
        let (sender, ready) = channel();
        let (network, of_thread) = (host.network(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || of_thread.run(&network, sender));
        let gate = Self { shared, thread: Some(thread) };
        ready.recv().context("the gate ended before it was ready")?.with_context(|| {
            "could not take packets from the kernel's queue; it needs nfnetlink_queue".to_owned()
        })?;
        for program in ["iptables", "ip6tables"] {
            let program = require_program(program, "iptables")?;
            for (chain, interface) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
                let mut command = host.network_command(&program);
                command.args(["-w", "-A", chain, interface, "eth0"]);
                command.args(["-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE"]);
                succeed(command.args(["--queue-num", &QUEUE.to_string()]))
                    .context("the kernel can't queue packets (xt_NFQUEUE, xt_conntrack)")?;
            }
        }
        Ok(gate)
    }

    /// What is wrong with the network from now on.
    pub fn set_outage(&self, outage: Outage) {
        *lock(&self.shared.outage) = outage;
    }

    /// Whether flows are audited from now on.
    pub fn set_auditing(&self, auditing: Auditing) {
        *lock(&self.shared.auditing) = auditing;
    }

    /// The packets judged since the last call.
    ///
    /// # Errors
    /// When some could not be judged; they were dropped.
    pub fn take_judged(&self) -> Result<Vec<Judged>> {
        let failures = std::mem::take(&mut *lock(&self.shared.failures));
        if !failures.is_empty() {
            return Err(anyhow!("packets could not be judged:\n{}", failures.join("\n")));
        }
        Ok(std::mem::take(&mut *lock(&self.shared.judged)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed, and the packets that it did not judge are missing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, network: &Network, ready: Sender<Result<()>>) {
        let opened = network.enter().and_then(|()| Ok(Queue::open(QUEUE)?));
        let (told, queue) = match opened {
            Ok(queue) => (Ok(()), Some(queue)),
            Err(error) => (Err(error), None),
        };
        let _ = ready.send(told);
        let Some(mut queue) = queue else { return };
        while !self.is_over.load(Ordering::Relaxed) {
            if let Err(error) = self.serve(&mut queue) {
                lock(&self.failures).push(format!("{error:#}"));
            }
        }
    }

    fn serve(&self, queue: &mut Queue) -> io::Result<()> {
        for waiting in queue.wait(PAUSE)? {
            let fate = self.fate(&waiting).unwrap_or_else(|error| {
                lock(&self.failures).push(format!("{error:#}"));
                Fate::Drop
            });
            queue.decide(&waiting, fate)?;
        }
        Ok(())
    }

    fn fate(&self, waiting: &Waiting) -> Result<Fate> {
        let packet = packet::read(&waiting.bytes, waiting.hook)
            .with_context(|| format!("not a packet: {waiting:?}"))?;
        let state = self.engine.load()?.state();
        let judged = judge(&state, &packet)?;
        let is_lost = !state.dynamic.is_empty() && is_hit(*lock(&self.outage), &packet);
        let fate = match judged.ruling {
            Ruling::Permit if !is_lost => Fate::Accept,
            _ => Fate::Drop,
        };
        if *lock(&self.auditing) == Auditing::Flows {
            events::write(&judged, fate, self.engine.path())?;
        }
        lock(&self.judged).push(judged);
        Ok(fate)
    }
}

fn is_hit(outage: Outage, packet: &Packet) -> bool {
    let Outage::InTrials(to) = outage else { return false };
    let port = packet.transport.ports().map(|(_, destination)| destination);
    (packet.direction, packet.peer, port) == (Direction::Outbound, to.ip(), Some(to.port()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
