//! The shop's hosts as a lab: every host runs every service, so that each closed port is one that
//! would answer.

use anyhow::Result;

use crate::example::Example;
use crate::lab::Lab;
use crate::matrix::{Expectation, Flow, Matrix};
use crate::oracle::Oracle;
use crate::probe::{Outcome, Port};
use crate::programs::Programs;
use crate::service::Service;

/// What every host of the shop runs.
pub const SERVICES: &[Service] = &[
    Service { process: "sshd", tcp: &[22], udp: &[] },
    Service { process: "nginx", tcp: &[80, 443], udp: &[] },
    Service { process: "shop-app", tcp: &[8080], udp: &[] },
    Service { process: "postgres", tcp: &[5432], udp: &[] },
    Service { process: "syslogd", tcp: &[], udp: &[514] },
];

/// Every port of the services, and ping.
#[must_use]
pub fn ports() -> Vec<Port> {
    let tcp = SERVICES.iter().flat_map(|service| service.tcp).copied().map(Port::Tcp);
    let udp = SERVICES.iter().flat_map(|service| service.udp).copied().map(Port::Udp);
    tcp.chain(udp).chain([Port::Ping]).collect()
}

/// The example's hosts, each with all services. The platform has no host yet.
///
/// # Errors
/// When the lab can't be made.
pub fn lab(example: &Example) -> Result<Lab> {
    let mut lab = Lab::start(&Programs::of_this_build()?)?;
    for host in &example.hosts {
        lab.add_host(&host.name, host.number)?;
        for service in SERVICES {
            lab.serve(&host.name, service)?;
        }
    }
    Ok(lab)
}

/// Every pair × port, all expected to pass: a cell that is blocked later must be seen open first.
#[must_use]
pub fn before(example: &Example) -> Matrix {
    Matrix::of(&example.host_names(), &ports(), |_| Expectation::passes("nothing is enforced yet"))
}

/// Every pair × port as the example's table says. Where the policy itself, as judged by the oracle,
/// says something else, the cell can't come out right and tells both.
#[must_use]
pub fn after(example: &Example, oracle: &Oracle) -> Matrix {
    Matrix::of(&example.host_names(), &ports(), |flow| expectation(example, oracle, flow))
}

fn expectation(example: &Example, oracle: &Oracle, flow: &Flow) -> Expectation {
    let judged = oracle.expect(flow);
    let table = example.table.passes(flow);
    match (table, judged.outcome == Outcome::Passed) {
        (true, true) | (false, false) => judged,
        (true, false) => contradiction(&format!("the table says pass, but {}", judged.because)),
        (false, true) => contradiction(&format!("the table says drop, but {}", judged.because)),
    }
}

/// An outcome that no probe between hosts with services has.
fn contradiction(because: &str) -> Expectation {
    Expectation { outcome: Outcome::Unreachable, because: because.to_owned() }
}
