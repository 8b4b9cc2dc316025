//! `xshield audit`: the audit log.

use clap::Args;
use xshield_api::Timestamp;
use xshield_api::audit::{AuditEntry, AuditQuery};

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{Output, Table, cell};
use crate::times::{Since, relative};

/// Show who did what, the newest first.
#[derive(Debug, Args)]
pub struct AuditCommand {
    #[command(flatten)]
    output: Output,
    /// Only what this user or host did: user:NAME or host:ASSET.
    #[arg(long)]
    actor: Option<String>,
    /// Only actions with this in their name, e.g. policy.
    #[arg(long)]
    action: Option<String>,
    /// Only actions on something with this in its name.
    #[arg(long)]
    target: Option<String>,
    /// Only since then: 1h or 7d ago, or a time as in RFC 3339.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// How many to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl AuditCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "read the audit log";
        let client = Client::of_this_call()?;
        let now = Timestamp::now();
        let path = Path::of(&["audit"]).of_query(&AuditQuery {
            actor: self.actor,
            action: self.action,
            target: self.target,
            since: self.since.map(|since| since.at(now)),
        })?;
        let answer = client.list(action, &path, Some(self.limit))?;
        self.output
            .show(&answer, |screen| Ok(table(view(action, &answer["items"])?, now).render(screen)))
    }
}

fn table(entries: Vec<AuditEntry>, now: Timestamp) -> Table {
    let header = &["WHEN", "ACTOR", "ACTION", "TARGET", "BEFORE", "AFTER"];
    let mut table = Table::new(header, "No entry of the audit log matches.");
    for entry in entries {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row(vec![
            cell(relative(entry.at, now)),
            cell(entry.actor),
            cell(entry.action),
            cell(or_dash(entry.target)),
            cell(or_dash(entry.before)),
            cell(or_dash(entry.after)),
        ]);
    }
    table
}
