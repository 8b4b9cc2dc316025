//! Project tasks: `cargo xtask demo | quick | test | ci | soak | kernels | bench | layers | windows | docs | dependencies | dist`.

mod ci;
mod cycles;
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
    /// Builds everything and demonstrates it on several hosts within this machine.
    Demo(demo::DemoArgs),
    /// Runs all tests, including the lab's end-to-end tests.
    Test(test::TestArgs),
    /// For work in progress: formatting, layers, clippy, unit and property tests.
    Quick,
    /// The checks for every change: formatting, layers, documentation, dependencies, clippy, tests.
    Ci,
    /// Tests random policies with random packets, compares with the documentation, then runs `kernels`.
    Soak(demo::SoakArgs),
    /// Boots other kernels and runs the firewall's tests in them.
    Kernels(kernels::KernelsArgs),
    /// Measures and prints one JSON object per line.
    Bench(demo::BenchArgs),
    /// Fails when a crate uses another one that it must not depend on, or files have dependency cycles.
    Layers(layers::LayersArgs),
    /// Fails when the documentation names a file or a test that does not exist.
    Docs,
    /// Compiles the host programs for Windows, and runs the tests under wine, those of the lab included.
    Windows,
    /// Fails when a dependency has a licence, a source or an advisory that deny.toml rejects.
    Dependencies,
    /// Builds the release artifacts: static binaries of the host programs, .deb and .rpm packages.
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
        Task::Windows => ci::windows(),
        Task::Dependencies => dependencies::check(),
        Task::Dist(args) => dist::run(&args),
    }
}
