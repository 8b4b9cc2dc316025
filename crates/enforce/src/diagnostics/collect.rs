//! The content of diagnostics: enough to find out, without access to the host, why it does not work as it
//! should.

use std::fmt::Write as _;
use std::io;

use xshield_wire::message::{InForce, ProgramKind};

use super::archive::Archive;
use super::reach::reachability;
use super::redact::Redactor;
use crate::core::ports::PolicyStatus;
use crate::run::Run;

/// Reads facts about the system and its firewall: names in the archive and texts. What does not exist is left
/// out.
pub(crate) type SystemFacts = fn(&Run<'_>) -> Vec<(&'static str, String)>;

/// What the run found out besides.
pub(super) struct Found {
    /// The secrets to redact.
    pub(super) secrets: Vec<String>,
    pub(super) standing: PolicyStatus,
    pub(super) last_known_good: Option<InForce>,
    /// The number of waiting reports.
    pub(super) waiting: usize,
    pub(super) system: SystemFacts,
}

/// Collects everything into one archive.
///
/// # Errors
/// When compression fails. What can't be read is named in the summary.
pub(super) fn collect(run: &Run<'_>, found: &Found) -> io::Result<Vec<u8>> {
    let config = run.config;
    let mut secrets = found.secrets.clone();
    secrets.push(config.enforcement_key.to_text().to_string());
    let redactor = Redactor::new(secrets, &config.proxies);
    let reached = reachability(run);
    let mut archive = Archive::new(run.now());
    let mut add = |name: &str, text: &str| archive.add(name, &redactor.clean(text));
    add("summary.txt", &summary(run, found, &reached))?;
    add("network/reachability.txt", &reached)?;
    for (name, text) in (found.system)(run) {
        add(name, &text)?;
    }
    add("network/listening.json", &pretty(&run.ports))?;
    add("own/configuration.txt", &format!("{config:#?}\n"))?;
    add("own/progress.json", &progress_text(run))?;
    add("own/log.txt", &run.options.recent_log.join("\n"))?;
    archive.finish()
}

fn summary(run: &Run<'_>, found: &Found, reached: &str) -> String {
    let program = run.program;
    let name = match program.kind {
        ProgramKind::Spark => "ctspark",
        ProgramKind::Agent => "ctagent",
    };
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<16} {value}");
    };
    line("host", &run.host.name);
    line("system", &format!("{}, kernel {}", run.host.os, run.host.kernel));
    line("program", &format!("{name} {}", program.version));
    line("collected", &format!("{} (Unix seconds)", run.now()));
    line("platform", &run.config.platform);
    line("status", &format!("{:?}", found.standing.status));
    line(
        "last known good",
        &match found.last_known_good {
            Some(in_force) => format!("revision {}", in_force.revision),
            None => "none".to_owned(),
        },
    );
    line("spool", &format!("{} reports wait", found.waiting));
    text.push_str("\nReachability\n");
    text.push_str(reached);
    text.push_str("\nProblems of this run\n");
    for problem in &run.problems {
        let _ = writeln!(text, "{}: {}", problem.code, problem.text);
    }
    text
}

/// The progress file as text, without the hashes of passwords and the outbox.
fn progress_text(run: &Run<'_>) -> String {
    let mut value = serde_json::to_value(&run.progress).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("proxies");
        fields.remove("outbox");
        fields.remove("flows");
    }
    pretty(&value)
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
