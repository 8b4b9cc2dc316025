//! Opens connections at a steady rate, like a busy program of a host.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::pause;
use crate::sys;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of the process.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    /// Where to connect to.
    to: SocketAddr,
    /// Connections per second.
    #[arg(long)]
    rate: u32,
    /// The duration.
    #[arg(long)]
    seconds: u32,
}

/// Opens and closes connections, then prints their number.
///
/// # Errors
/// When a connection can't be opened.
pub fn run(args: &OpenArgs) -> Result<()> {
    let begin = Instant::now();
    let all = args.rate * args.seconds;
    for number in 0..all {
        pause(begin + Duration::from_secs(1) * number / args.rate);
        let stream = TcpStream::connect_timeout(&args.to, TIMEOUT)
            .with_context(|| format!("could not connect to {}", args.to))?;
        // Closed by reset: otherwise, closed connections would use up all ports within a minute.
        sys::reset_when_closed(&stream)?;
    }
    println!("{all}");
    Ok(())
}
