//! `xshield-lab`: the lab's helper. `demo`, `bench` and `soak` are for people; the lab starts the other
//! commands inside its hosts.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xshield_lab::{bench, boot, demo, dns, hold, init, peak, probe, prober, proxy, service};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Demonstrate platform, Spark and several hosts with real packets.
    Demo(demo::DemoArgs),
    /// Measure, and print one JSON object per line.
    Bench(bench::BenchArgs),
    /// Test random policies with random packets for a long time.
    Soak(prober::soak::SoakArgs),
    /// Run a program and print its peak memory.
    #[command(hide = true)]
    Peak(peak::PeakArgs),
    /// Process 1 of a host.
    #[command(hide = true)]
    Init(init::InitArgs),
    /// Process 1 of a booted machine.
    #[command(hide = true)]
    Boot(boot::BootArgs),
    /// Services of a host.
    #[command(hide = true)]
    Service(service::ServiceArgs),
    /// A DNS server.
    #[command(hide = true)]
    Dns(dns::DnsArgs),
    /// An HTTP proxy.
    #[command(hide = true)]
    Proxy(proxy::ProxyArgs),
    /// Open connections at a steady rate.
    #[command(hide = true)]
    Open(bench::OpenArgs),
    /// Hold a connection open.
    #[command(hide = true)]
    Hold(hold::HoldArgs),
    /// Send the probes given on standard input.
    #[command(hide = true)]
    Probe,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Bench(args) => bench::run(&args),
        Command::Peak(args) => peak::run(&args),
        Command::Soak(args) => prober::soak::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Boot(args) => boot::run(&args),
        Command::Service(args) => service::run(&args),
        Command::Dns(args) => dns::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Open(args) => bench::open(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Probe => probe::run(),
    }
}
