//! The host API, used correctly and incorrectly.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod rulesets;
mod sessions;
mod signed;
#[path = "../support/mod.rs"]
mod support;

use support::now;
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::*;

const WEB_AND_DB: &str = "
segment:
  name: web
  criteria: role = 'web'
---
segment:
  name: db
  criteria: role = 'db'
  templates: [db]
  inbound: { level: secure-inbound-paths, mode: enforce }
---
template:
  name: db
  action: allow
  inbound:
    - { name: postgres, from: ['segment:web'], services: [tcp/5432] }
";

fn event(packets: u64) -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port: 22,
        rule: None,
        packets,
        bytes: packets * 60,
        first_seen: now() - 60,
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    }
}
