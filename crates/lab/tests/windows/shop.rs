//! The shop example on Linux hosts and a Windows host together.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::matrix::{Family, Flow};
use xshield_lab::oracle::first_packet;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::shop::{self, Shop};
use xshield_lab::wine::{Judged, Ruling};
use xshield_policy::{Direction, Packet};

/// The host that runs Windows: rules for both directions concern it.
const WINDOWS: &str = "app";
/// A Linux host with the same kinds of rules.
const LINUX: &str = "web";

#[test]
fn a_windows_host_and_linux_hosts_enforce_the_shop_together() -> Result<()> {
    in_lab("shop::a_windows_host_and_linux_hosts_enforce_the_shop_together", || {
        let shop = Shop::start_with_windows(&[WINDOWS])?;
        shop.register()?;
        shop.commit()?;
        let revision = shop.enforce()?;
        shop.check_kernels()?;
        let app = &shop.windows[0];
        app.gate().take_judged()?;
        // Every cell of the matrix, sent for real.
        shop.verify()?;
        judged_as_probed(&shop, &app.gate().take_judged()?)?;
        // A second run changes nothing, and the platform shows what is in force.
        let run = app.run(&shop.lab)?;
        ensure!(run.json["change"] == "none" && run.revision() == Some(revision), "{run:?}");
        for host in [WINDOWS, LINUX] {
            let asset = shop.platform.json(&shop.lab, &["asset", "show", host])?;
            ensure!(asset["spark"]["in_force"]["revision"] == revision, "{asset}");
            ensure!(asset["spark"]["status"]["state"] == "enforcing", "{asset}");
        }
        same_fields(&shop)?;
        same_rules(&shop)
    })
}

/// Every cell with the Windows host at an end whose packets got there was decided by its filters, and as
/// the matrix expects.
fn judged_as_probed(shop: &Shop, judged: &[Judged]) -> Result<()> {
    let matrix = shop::after(&shop.example, &shop.oracle()?);
    let mut cells = 0;
    for flow in matrix.flows() {
        let direction = match (flow.from.as_str(), flow.to.as_str()) {
            (WINDOWS, _) => Direction::Outbound,
            // Nothing on these two keeps a flow from being sent.
            ("laptop" | "attacker", WINDOWS) => Direction::Inbound,
            _ => continue,
        };
        let found = rulings(shop, judged, direction, flow)?;
        let expected = matrix.expected(flow).context("a cell has an expectation")?;
        let passes = expected.outcome == ProbeResult::Passed;
        let wanted = match (direction, passes) {
            (_, true) => Some(Ruling::Permit),
            (Direction::Inbound, false) => Some(Ruling::Block),
            // The other end may be the one that drops it.
            (Direction::Outbound, false) => None,
        };
        ensure!(!found.is_empty(), "{flow:?}: no packet was judged");
        let agree = wanted.is_none_or(|wanted| found.iter().all(|ruling| *ruling == wanted));
        ensure!(agree, "{flow:?}: {found:?}, and {expected:?} is expected");
        cells += 1;
    }
    ensure!(cells == (4 + 2) * shop::ports().len() * Family::BOTH.len(), "{cells} cells");
    Ok(())
}

fn rulings(
    shop: &Shop,
    judged: &[Judged],
    direction: Direction,
    flow: &Flow,
) -> Result<Vec<Ruling>> {
    let peer =
        shop.lab.host(if direction == Direction::Inbound { &flow.from } else { &flow.to })?;
    let address = match flow.family {
        Family::V4 => peer.v4().into(),
        Family::V6 => peer.v6().into(),
    };
    let wanted = first_packet(direction, address, flow.port);
    let destination = |packet: &Packet| packet.transport.ports().map(|(_, port)| port);
    let is_of_flow = |packet: &Packet| {
        (packet.direction, packet.peer, destination(packet))
            == (wanted.direction, wanted.peer, destination(&wanted))
            && std::mem::discriminant(&packet.transport)
                == std::mem::discriminant(&wanted.transport)
    };
    Ok(judged.iter().filter(|judged| is_of_flow(&judged.packet)).map(|j| j.ruling).collect())
}

/// The platform shows the same of both hosts, except what only one of their systems has.
fn same_fields(shop: &Shop) -> Result<()> {
    let fields = |host: &str| -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        collect("", &shop.platform.json(&shop.lab, &["asset", "show", host])?, &mut found);
        Ok(found)
    };
    let (windows, linux) = (fields(WINDOWS)?, fields(LINUX)?);
    let only = |of: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        of.difference(other).cloned().collect()
    };
    ensure!(windows.len() > 20, "{windows:?}");
    let differences = (only(&windows, &linux), only(&linux, &windows));
    ensure!(differences == (vec![], vec![]), "only of one of both: {differences:#?}");
    Ok(())
}

/// The paths of all fields; those of a list's items count once.
fn collect(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                found.insert(path.clone());
                collect(&path, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(path, item, found)),
        _ => {}
    }
}

/// The rules that the platform shows as programmed are those of the policy, on both.
fn same_rules(shop: &Shop) -> Result<()> {
    for (host, rules) in [
        (
            WINDOWS,
            ["app-tier/from-web", "app-tier/to-db", "diagnostics/ping", "quarantine/known-bad"],
        ),
        (
            LINUX,
            ["web-tier/customers", "web-tier/to-app", "diagnostics/ping", "quarantine/known-bad"],
        ),
    ] {
        let programmed = shop.platform.json(&shop.lab, &["programmed", host])?.to_string();
        for rule in rules {
            ensure!(programmed.contains(rule), "{host}: {rule} is not in {programmed}");
        }
    }
    Ok(())
}
