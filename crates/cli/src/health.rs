//! `xshield health`: the health of the platform itself.

use clap::Args;
use xshield_api::Timestamp;
use xshield_api::health::{DamagedRecord, Health, Job, KeyRotation};
use xshield_api::words::counted;
use xshield_wire::foreign::one_line;

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{Output, Table, cell};
use crate::times::relative;
use crate::words::word;

/// Show the health of the platform itself: whether it is ready, its jobs, records that can't be read.
#[derive(Debug, Args)]
pub struct HealthCommand {
    #[command(flatten)]
    output: Output,
}

/// `1 host has`, `2 hosts have`.
fn have(hosts: u64) -> String {
    format!("{} {}", counted(hosts, "host"), if hosts == 1 { "has" } else { "have" })
}

fn in_words(rotation: &KeyRotation) -> String {
    let KeyRotation { under_way, behind, behind_first, .. } = rotation;
    let (count, named) = (*behind, behind_first.join(", "));
    match (under_way, count) {
        (true, 0) => "Every host has the new keys: stop the platform, then: xshield admin \
                          rotate-keys finish"
            .to_owned(),
        (true, _) => {
            format!("New keys: {} not received them yet: {named}", have(count))
        }
        (false, 0) => "Every host has the platform's keys.".to_owned(),
        (false, _) => {
            format!("{} not confirmed the platform's keys yet: {named}", have(count))
        }
    }
}
impl HealthCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read the platform's health";
        let answer = Client::of_this_call()?.get(action, &Path::of(&["health"]))?;
        let now = Timestamp::now();
        self.output.show(&answer, |screen| {
            let health: Health = view(action, &answer)?;
            let ready = match &health.not_ready {
                None => "The platform is ready.\n\n".to_owned(),
                Some(reason) => {
                    format!("The platform is not ready: {}\n\n", one_line(reason))
                }
            };
            let mut text = ready + &jobs(health.jobs, now).render(screen);
            if let Some(rotation) = &health.key_rotation {
                text.push_str(&format!("\n{}\n", in_words(rotation)));
            }
            if !health.damaged.is_empty() {
                text.push('\n');
                text.push_str(&damaged(health.damaged, now).render(screen));
            }
            Ok(text)
        })
    }
}

fn jobs(jobs: Vec<Job>, now: Timestamp) -> Table {
    let mut table = Table::new(&["JOB", "STATE", "RESTARTS", "FAILED", "REASON"], "No job runs.");
    for job in jobs {
        table.row(vec![
            cell(job.name),
            cell(word(&job.standing)),
            cell(job.restarts.to_string()),
            cell(job.failed_at.map_or_else(|| "-".to_owned(), |at| relative(at, now))),
            cell(job.reason.unwrap_or_else(|| "-".to_owned())),
        ]);
    }
    table
}

fn damaged(records: Vec<DamagedRecord>, now: Timestamp) -> Table {
    let mut table = Table::new(&["DAMAGED", "RECORD", "SEEN", "REASON"], "");
    for record in records {
        table.row(vec![
            cell(record.list),
            cell(record.place),
            cell(relative(record.seen, now)),
            cell(record.reason),
        ]);
    }
    table
}
