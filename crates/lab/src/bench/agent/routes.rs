//! From the failure of the proxy in use to the next heartbeat that reaches the platform.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::fixture::{Fixture, LIMIT, PEER, REST, waits};
use crate::bench::{Effort, pause};
use crate::figure::{Figure, median};
use crate::proxy::{Behaviour, Proxy};
use crate::{agent, wait};

const PORTS: [u16; 2] = [3128, 3129];

pub(super) fn failover(effort: Effort) -> Result<()> {
    let rounds = match effort {
        Effort::Full => 20,
        Effort::Quick => 3,
    };
    // At the default heartbeat interval: nothing polls every second for a failed proxy.
    let mut fixture = Fixture::begin(1, "")?;
    let mut proxies = [Some(start(&fixture, 0)?), Some(start(&fixture, 1)?)];
    let list = [0, 1].map(|which| format!("http://{}", address(which))).join(",");
    let arguments = ["updateConfig", "--param", "configuration.proxy", "--value", &list];
    let changed = agent::command(&fixture.lab, fixture.host(0)?, &arguments)?;
    anyhow::ensure!(changed.status.success(), "{changed:?}");
    let mut times = Vec::new();
    for round in 0..rounds {
        let (dying, next) = (round % 2, (round + 1) % 2);
        wait::until("the agent is at rest behind a proxy", LIMIT, || {
            let status = fixture.status(0)?;
            let rests = waits(&status) && reached_by(&status, dying);
            Ok(rests.then_some(()))
        })?;
        pause(Instant::now() + REST);
        proxies[dying] = None;
        let begin = Instant::now();
        wait::until("the platform is reached by the other proxy", LIMIT, || {
            Ok(reached_by(&fixture.status(0)?, next).then_some(()))
        })?;
        times.push(begin.elapsed());
        proxies[dying] = Some(start(&fixture, dying)?);
    }
    fixture.all_live()?;
    let longest = times.iter().copied().fold(Duration::ZERO, Duration::max);
    let seconds = times.iter().map(Duration::as_secs_f64).collect();
    let middle = median(seconds).context("nothing was measured")?;
    Figure::new("agent.failover_s", longest.as_secs_f64(), "s").print();
    Figure::new("agent.failover_median_s", middle, "s").print();
    Ok(())
}

fn start(fixture: &Fixture, which: usize) -> Result<Proxy> {
    let programs = fixture.lab.programs();
    Proxy::start(fixture.peer()?, programs, PORTS[which], Behaviour::Connect, None)
}

fn address(which: usize) -> String {
    format!("10.77.0.{}:{}", PEER.1, PORTS[which])
}

fn reached_by(status: &Value, which: usize) -> bool {
    let outcome = &status["last_cycle"]["outcome"];
    let wanted = format!("proxy {}", address(which));
    let mut routes = outcome["routes"].as_array().into_iter().flatten();
    outcome["platform"] == "reached"
        && routes.any(|route| route["in_use"] == true && route["route"] == wanted.as_str())
}
