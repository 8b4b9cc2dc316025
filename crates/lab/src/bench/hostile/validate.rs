//! Viewers simulate large policies for many hosts, eight at a time, and some do not wait for the response.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Attack;
use super::client::Request;
use super::fixture::{Fixture, headers};
use super::simulated_host::SimulatedHost;
use crate::bench::Effort;

/// Hosts in one segment that all rules allow.
const HOSTS: u16 = 500;
/// Segments, each with a template of this many rules.
const SEGMENTS: usize = 20;
const RULES: usize = 50;
/// Concurrent viewers.
const VIEWERS: u8 = 8;

pub(super) fn prepare(fixture: &Fixture, effort: Effort) -> Result<Attack> {
    let span = match effort {
        Effort::Full => Duration::from_secs(60),
        Effort::Quick => Duration::from_secs(10),
    };
    let key = fixture.key("web")?;
    for number in 0..HOSTS {
        let mut simulated_host = SimulatedHost::new(number, &key)?;
        let mut connection = fixture.endpoint.open(simulated_host.from)?;
        simulated_host.register(&mut connection)?;
        simulated_host.check_in(&mut connection, None)?;
    }
    let password = fixture.add_user("looker", "viewer")?;
    let viewers: Vec<(Ipv4Addr, String)> = (1..=VIEWERS)
        .map(|number| {
            let from = Ipv4Addr::new(127, 0, 1, number);
            Ok((from, fixture.sign_in(from, "looker", password)?))
        })
        .collect::<Result<_>>()?;
    let policy = policy();
    Ok(Box::new(move |fixture| {
        let end = Instant::now() + span;
        std::thread::scope(|scope| {
            for (at, (from, token)) in viewers.iter().enumerate() {
                let policy = policy.as_bytes();
                scope.spawn(move || {
                    while Instant::now() < end {
                        // Refused or not: what matters is the effect on others.
                        drop(rehearse(fixture, *from, token, policy, at % 2 == 0));
                    }
                });
            }
        });
        Ok(())
    }))
}

fn rehearse(
    fixture: &Fixture,
    from: Ipv4Addr,
    token: &str,
    policy: &[u8],
    waits: bool,
) -> Result<()> {
    let headers = headers(Some(token), "application/yaml");
    let path = "/api/v1/policy/validate";
    let request = Request { method: "POST", path, headers: &headers, body: policy };
    let mut connection = fixture.endpoint.open(from)?;
    if waits {
        return connection.ask(request).map(drop);
    }
    connection.send(request)
}

/// Every host is in every segment, and every rule allows every host.
fn policy() -> String {
    let mut text = String::new();
    for segment in 0..SEGMENTS {
        text.push_str(&format!(
            "segment:\n  name: s{segment}\n  criteria: role = 'web'\n  templates: [t{segment}]\n  \
             inbound: {{ level: secure-all-ports, mode: enforce }}\n---\ntemplate:\n  name: t{segment}\n  \
             action: allow\n  ports:\n"
        ));
        for rule in 0..RULES {
            text.push_str(&format!(
                "    - {{ name: r{rule}, from: ['segment:s{segment}'], services: [tcp/{}] }}\n",
                rule + 1
            ));
        }
        text.push_str("---\n");
    }
    text.push_str("settings: {}\n");
    text
}
