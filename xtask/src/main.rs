//! Project tasks: `cargo xtask demo | quick | test | ci | soak | kernels | bench | layers | windows | docs | dependencies | dist`.

mod ci;
mod circles;
mod demo;
mod dependencies;
mod dist;
mod docs;
mod kernels;
mod layers;
mod metadata;
mod packages;
mod run;
mod scripts;
mod test;
mod tools;
mod windows;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds everything and shows it at work on several hosts in this machine.
    Demo(demo::DemoArgs),
    /// Runs all tests, the lab's end-to-end tests included.
    Test(test::TestArgs),
    /// While working: formatting, layers, clippy, unit and property tests.
    Quick,
    /// What every change must pass: formatting, layers, documents, dependencies, clippy, tests.
    Ci,
    /// Probes random policies with random packets, compares with the documentation, then runs `kernels`.
    Soak(demo::SoakArgs),
    /// Boots other kernels and runs the firewall's tests in them.
    Kernels(kernels::KernelsArgs),
    /// Measures and prints one JSON object a line.
    Bench(demo::BenchArgs),
    /// Fails when a crate uses another one that it must not know, or files use each other in a circle.
    Layers(layers::LayersArgs),
    /// Fails when the documentation names a file or a test that is not there.
    Docs,
    /// Compiles for Windows what must build for every system.
    Windows,
    /// Fails when a dependency has a licence, a source or an advisory that deny.toml refuses.
    Dependencies,
    /// Builds what is shipped: static binaries of the host programs, .deb and .rpm packages.
    Dist(dist::DistArgs),
}

fn main() -> ExitCode {
    match run_task(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    match task {
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Quick => ci::quick(),
        Task::Ci => ci::all(),
        Task::Soak(args) => demo::soak(&args),
        Task::Kernels(args) => kernels::run(&args),
        Task::Bench(args) => demo::bench(&args),
        Task::Layers(args) => layers::run(&args),
        Task::Docs => docs::check(),
        Task::Windows => windows::check(),
        Task::Dependencies => dependencies::check(),
        Task::Dist(args) => dist::run(&args),
    }
}
