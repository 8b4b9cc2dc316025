//! The long run: `xshield-lab soak`.

use std::io::Write;
use std::time::Instant;

use anyhow::{Result, bail};

use super::{Extent, Prober};
use crate::privilege;

/// Arguments of the long run.
#[derive(Debug, clap::Args)]
pub struct SoakArgs {
    /// Determines all random choices; random and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The minimum number of flows.
    #[arg(long, default_value_t = 100_000)]
    flows: u32,
    /// Flows per policy and host.
    #[arg(long, default_value_t = 300)]
    per_host: u32,
}

/// Probes until there were enough flows.
///
/// # Errors
/// When a flow differs from the documentation; each one is printed.
pub fn run(args: &SoakArgs) -> Result<()> {
    privilege::acquire()?;
    let seed = args.seed.map_or_else(random_seed, Ok)?;
    let begin = Instant::now();
    say(&format!(
        "seed {seed}; starting hosts and platform, and sending every flow without a policy"
    ))?;
    let prober = Prober::start(&Extent { seed, flows: args.flows, per_host: args.per_host })?;
    let policies = prober.policies();
    say(&format!("{:7.1} s  every flow arrives without a policy", begin.elapsed().as_secs_f64()))?;
    let (mut flows, mut conversations, mut differences) = (0, 0, 0);
    for policy in 0..policies {
        let changed = prober.change_to(policy)?;
        let probed = prober.probe(policy)?;
        flows += probed.counts.flows();
        conversations += changed.counts.flows();
        for difference in changed.differences.iter().chain(&probed.differences) {
            differences += 1;
            say(&format!("policy {policy}: {}", difference.text))?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        say(&format!(
            "{seconds:7.1} s  policy {} of {policies}: {} allowed, {} would be denied, {} denied; \
             open connections ended {} of {}; {flows} flows in total, {:.0} a second, \
             {conversations} conversations, {differences} differences",
            policy + 1,
            probed.counts.allow,
            probed.counts.would_deny,
            probed.counts.deny,
            changed.counts.deny,
            changed.counts.flows(),
            f64::from(flows) / seconds,
        ))?;
    }
    if differences > 0 {
        bail!("{differences} differences; repeat with: --seed {seed} --flows {}", args.flows);
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    println!("{text}");
    Ok(std::io::stdout().flush()?)
}

fn random_seed() -> Result<u64> {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    Ok(u64::from_str_radix(&digits, 16)?)
}
