//! Opens connections at a steady pace: a busy program of a host.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::pause;
use crate::sys;

const TIMEOUT: Duration = Duration::from_secs(5);

/// What the opener is told.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    /// Where to connect to.
    to: SocketAddr,
    /// Connections a second.
    #[arg(long)]
    rate: u32,
    /// For how long.
    #[arg(long)]
    seconds: u32,
}

/// Opens and closes, then prints how many there were.
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
        // By reset: a minute of closed connections would take all ports of the host.
        sys::reset_when_closed(&stream)?;
    }
    println!("{all}");
    Ok(())
}
