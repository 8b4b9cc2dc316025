//! `xshield threat revisions|diff|restore|resume|exception`: the list itself.

use clap::{Args, Subcommand};
use xshield_api::Timestamp;
use xshield_api::threat_list::{
    DiffQuery, Difference, Done, Exception, ListQuery, NewException, Revision, Validity,
};
use xshield_api::words::counted;

use crate::client::{Client, NoBody, Path, view};
use crate::error::CliError;
use crate::files::{self, Before};
use crate::terminal::{Output, Table, cell, good, note, number, warning};
use crate::times::{Span, relative};
use crate::words::word;

pub(super) fn revisions(client: &Client, output: Output) -> Result<(), CliError> {
    let action = "list the revisions of the threat list";
    let answer = client.list(action, &Path::of(&["threat", "revisions"]), None)?;
    output.show(&answer, |screen| {
        let header = &["REVISION", "ENTRIES", "ADDED", "REMOVED", "SINCE", "REASON"];
        let mut table = Table::new(header, "There is no threat list yet; add a feed.");
        let now = Timestamp::now();
        for one in view::<Vec<Revision>>(action, &answer["items"])? {
            let name = one.revision.to_string();
            table.row(vec![
                if one.in_force { good(format!("{name} *")) } else { cell(name) },
                number(one.entries),
                number(one.added),
                number(one.removed),
                cell(relative(one.created_at, now)),
                cell(&one.reason),
            ]);
        }
        Ok(table.render(screen))
    })
}

pub(super) fn diff(
    from: u64,
    to: Option<u64>,
    client: &Client,
    output: Output,
) -> Result<(), CliError> {
    let action = "compare the revisions";
    let path = Path::of(&["threat", "diff"]).of_query(&DiffQuery { from: Some(from), to })?;
    let answer = client.get(action, &path)?;
    output.show(&answer, |_| {
        let diff: Difference = view(action, &answer)?;
        let mut text = format!("Revision {} to {}:\n", diff.from, diff.to);
        for (sign, half) in [("+", &diff.added), ("-", &diff.removed)] {
            text.push_str(&format!(
                "{sign}{} ({})\n",
                counted(half.entries, "entry"),
                counted(half.v4_addresses, "IPv4 address")
            ));
            half.samples.iter().for_each(|prefix| text.push_str(&format!("  {sign}{prefix}\n")));
            let more = half.entries.saturating_sub(half.samples.len() as u64);
            if more > 0 {
                text.push_str(&format!("  {sign}… and {more} more\n"));
            }
        }
        Ok(text)
    })
}

/// Writes the complete list at a revision to `to`, or to standard output.
pub(super) fn export(
    revision: Option<u64>,
    to: Option<&std::path::Path>,
    client: &Client,
) -> Result<(), CliError> {
    let path = Path::of(&["threat", "list"]).of_query(&ListQuery { revision })?;
    written("export the list", &path, to, client)
}

/// Writes all changes between two revisions to `to`, or to standard output.
pub(super) fn whole_diff(
    from: u64,
    until: Option<u64>,
    to: Option<&std::path::Path>,
    client: &Client,
) -> Result<(), CliError> {
    let path = Path::of(&["threat", "diff", "all"]);
    let path = path.of_query(&DiffQuery { from: Some(from), to: until })?;
    written("compare the revisions", &path, to, client)
}

fn written(
    action: &str,
    path: &Path,
    to: Option<&std::path::Path>,
    client: &Client,
) -> Result<(), CliError> {
    let Some(to) = to else { return files::print(client, action, path) };
    files::download(client, action, path, to, Before::Replaced)?;
    note(&format!("Wrote {}.", to.display()));
    Ok(())
}

pub(super) fn restore(revision: u64, client: &Client, output: Output) -> Result<(), CliError> {
    let path = Path::of(&["threat", "revisions", &revision.to_string(), "restore"]);
    done("restore the revision", &path, client, output)
}

pub(super) fn resume(client: &Client, output: Output) -> Result<(), CliError> {
    done("use the feeds again", &Path::of(&["threat", "resume"]), client, output)
}

fn done(action: &str, path: &Path, client: &Client, output: Output) -> Result<(), CliError> {
    let answer = client.post_long(action, path, &NoBody {}, "xshield threat revisions")?;
    let done: Done = view(action, &answer)?;
    if let Some(trouble) = &done.trouble {
        note(&format!("The list could not be compiled: {trouble}"));
    }
    if let Some(from) = done.restored {
        note(&format!(
            "FEEDS ARE IGNORED: the list of revision {from} stays in force until 'xshield threat resume'."
        ));
    }
    output.show(&answer, |_| {
        let revision = done.revision.map_or_else(|| "none".to_owned(), |name| name.to_string());
        Ok(format!("In force: revision {revision}, {}.", counted(done.entries, "entry")))
    })
}

/// Exceptions: addresses that are never blocked, whatever the feeds list.
#[derive(Debug, Args)]
pub(crate) struct ExceptionCommand {
    #[command(subcommand)]
    action: ExceptionAction,
}

#[derive(Debug, Subcommand)]
enum ExceptionAction {
    /// Never block these addresses, from now on.
    Add {
        /// An address, a CIDR, or network:NAME for a named network of the policy.
        target: String,
        /// Why, for other operators.
        #[arg(long)]
        reason: String,
        /// For how long; permanently when left out.
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
    },
    /// List exceptions.
    List,
    /// Remove an exception.
    Remove {
        /// Its id.
        id: String,
    },
}

const EXCEPTIONS: [&str; 2] = ["threat", "exceptions"];

impl ExceptionCommand {
    /// Runs the command.
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let now = Timestamp::now();
        match self.action {
            ExceptionAction::Add { target, reason, expires } => {
                let action = "add the exception";
                let expires_at = expires.map(|span| span.after(now));
                let body = NewException { target, reason, expires_at };
                let answer = client.post(action, &Path::of(&EXCEPTIONS), &body)?;
                output.show(&answer, |_| {
                    let made: Exception = view(action, &answer)?;
                    Ok(format!("{} is never blocked ({}).", made.target, made.id))
                })
            }
            ExceptionAction::List => {
                let action = "list exceptions";
                let answer = client.get(action, &Path::of(&EXCEPTIONS))?;
                output.show(&answer, |screen| {
                    Ok(exceptions(view(action, &answer)?, now).render(screen))
                })
            }
            ExceptionAction::Remove { id } => {
                let path = Path::of(&[EXCEPTIONS[0], EXCEPTIONS[1], &id]);
                let answer = client.delete("remove the exception", &path)?;
                output.show(&answer, |_| Ok(format!("Removed exception {id}.")))
            }
        }
    }
}

fn exceptions(all: Vec<Exception>, now: Timestamp) -> Table {
    let header = &["ID", "TARGET", "STATE", "REASON", "ADDED", "BY", "EXPIRES"];
    let mut table = Table::new(header, "There are no exceptions.");
    for one in all {
        let state = match one.state.known() {
            Some(Validity::Active) => good("active"),
            Some(Validity::Expired) => warning("expired"),
            Some(Validity::NoNetwork) => warning("no network"),
            None => warning(word(&one.state)),
        };
        table.row(vec![
            cell(&one.id),
            cell(&one.target),
            state,
            cell(&one.reason),
            cell(relative(one.created_at, now)),
            cell(&one.created_by),
            cell(one.expires_at.map_or_else(|| "never".to_owned(), |at| relative(at, now))),
        ]);
    }
    table
}
