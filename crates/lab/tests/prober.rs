//! The kernel's verdicts compared with an independent implementation of `docs/operations/policy.md`
//! (`crates/lab/prober`). A sample; `cargo xtask soak` runs longer.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshield_lab::kernel::Kernel;
use xshield_lab::privilege::in_lab;
use xshield_lab::prober::{self, Extent, Prober};

const TCP: u64 = 6;

/// Its tables follow the documentation's sentences.
#[test]
fn the_interpreter_passes_its_tables() -> Result<()> {
    let mut tests = Command::new("python3");
    tests.args(["-B", "-m", "unittest", "discover", "-q"]).current_dir(prober::scripts());
    let output = tests.output().context("could not start python3 (package python3)")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Every flow arrived before ([`Prober::start`]); conversations that stay open over a change worked under the
/// previous policy.
#[test]
fn kernels_match_the_documentation() -> Result<()> {
    in_lab("kernels_match_the_documentation", || {
        let prober = Prober::start(&Extent { seed: 1, flows: 3_000, per_host: 125 })?;
        let (mut probed, mut held) = (Vec::new(), Vec::new());
        for policy in 0..prober.policies() {
            let changed = prober.change_to(policy)?;
            changed.verify().with_context(|| format!("connections over the change to {policy}"))?;
            held.push(changed.counts);
            let sample = prober.probe(policy)?;
            sample.verify().with_context(|| format!("policy {policy}"))?;
            probed.push(sample.counts);
        }
        // A sample with too few flows of a kind would prove nothing about it.
        let (allow, would, deny) = (
            probed.iter().map(|counts| counts.allow).sum::<u32>(),
            probed.iter().map(|counts| counts.would_deny).sum::<u32>(),
            probed.iter().map(|counts| counts.deny).sum::<u32>(),
        );
        assert!(allow >= 500 && would >= 200 && deny >= 500, "{allow} {would} {deny}");
        let cut: u32 = held.iter().map(|counts| counts.deny).sum();
        let all: u32 = held.iter().map(|counts| counts.flows()).sum();
        assert!(cut >= 50 && all - cut >= 50, "{cut} of {all} cut");
        Ok(())
    })
}

/// A test of the prober: with one wrong accept and one wrong drop in a kernel, it reports exactly the
/// affected flows.
#[test]
fn a_wrong_accept_and_a_wrong_drop_are_detected_and_named() -> Result<()> {
    in_lab("a_wrong_accept_and_a_wrong_drop_are_detected_and_named", || {
        let prober = Prober::start(&Extent { seed: 1, flows: 400, per_host: 100 })?;
        prober.change_to(0)?;
        prober.probe(0)?.verify()?;

        let flows = prober.flows(0)?;
        let one = |expected: &str| {
            let fits = |flow: &&Value| {
                flow["direction"] == "inbound"
                    && flow["protocol"] == TCP
                    && flow["expected"] == expected
            };
            flows.iter().find(fits).with_context(|| format!("no flow is expected to {expected}"))
        };
        let (denied, allowed) = (one("deny")?, one("allow")?);
        for (flow, verdict) in [(denied, "accept"), (allowed, "drop")] {
            let host = prober.host(flow["asset"].as_str().context("a flow has no asset")?)?;
            let kernel = Kernel::read(host)?;
            let chain = kernel.in_table("xshield", "chain").find(|chain| chain["hook"] == "input");
            let chain = chain.and_then(|chain| chain["name"].as_str()).context("no input chain")?;
            let peer = flow["peer"].as_str().context("a flow has no peer")?;
            let family = if peer.contains(':') { "ip6" } else { "ip" };
            let rule = format!(
                "insert rule inet xshield {chain} {family} saddr {peer} tcp dport {} {verdict}",
                flow["port"]
            );
            host.run("nft", [rule])?;
        }

        let compared = prober.probe(0)?;
        let mut named: Vec<u64> = compared.differences.iter().map(|d| d.number).collect();
        named.sort_unstable();
        let number = |flow: &Value| flow["number"].as_u64().context("a flow has no number");
        let mut wrong = vec![number(denied)?, number(allowed)?];
        wrong.sort_unstable();
        assert_eq!(named, wrong, "{:#?}", compared.differences);
        let text = |flow: &Value| -> Result<&str> {
            let number = number(flow)?;
            let found = compared.differences.iter().find(|d| d.number == number);
            Ok(&found.context("a flow is not told")?.text)
        };
        assert!(text(denied)?.contains("it arrived; "), "{}", text(denied)?);
        assert!(text(allowed)?.contains("it did not arrive; "), "{}", text(allowed)?);
        assert!(compared.verify().is_err());
        Ok(())
    })
}
