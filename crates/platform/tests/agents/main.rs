//! Data of agents: commands, uploads, notifications, status, telemetry and configuration.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod commands;
mod notifications;
mod standing;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod uploads;

use support::{TestHost, TestPlatform, now, report};
use xshield_wire::message::*;

fn host(platform: &TestPlatform, name: &str) -> TestHost {
    let mut host = TestHost::new(name, &platform.new_key());
    host.sign_in(platform);
    host
}

fn outcome(id: &str, result: CommandResult) -> Report {
    let outcomes = vec![CommandOutcome { id: id.to_owned(), at: now(), result }];
    report(ReportBody::Commands { outcomes })
}

fn agent_check_in(host: &mut TestHost, platform: &TestPlatform) -> CheckInAnswer {
    let mut message = host.check_in_message();
    message.program.kind = ProgramKind::Agent;
    message.interval = Some(120);
    host.check_in_with(platform, &message)
}
