//! `xshield key`: enforcement keys, with which hosts register.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use xshield_platform::clock::Timestamp;

use super::client::{Client, Path, view};
use super::error::CliError;
use super::session::failed;
use super::tags::{Tag, tags_text};
use super::terminal::{Output, Table, cell, good, note, print, warning};
use super::times::{Span, relative, relative_or_dash};

/// Enforcement keys, with which hosts register.
#[derive(Debug, Args)]
pub(crate) struct KeyCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; its secret is shown this once.
    Create(Create),
    /// List keys.
    List,
    /// Make the key that follows one, which stays usable for an overlap.
    Rotate(Rotate),
    /// End a key and every session set up with it, now.
    Revoke {
        /// The key's id.
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for.
    #[arg(long)]
    name: String,
    /// How long it can be used, e.g. 90d; for ever when left out.
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// Put on assets that register with it; may be repeated.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<Tag>,
    /// Write the hosts' configuration, secret included, to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The id of the key that is followed.
    id: String,
    /// How long the old key stays usable.
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    overlap: Span,
    /// How long the new key can be used; for ever when left out.
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// Write the hosts' configuration, secret included, to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    name: String,
    state: String,
    tags: BTreeMap<String, String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct CreatedKey {
    id: String,
    key: String,
    deployment_key: String,
    register: String,
    config: String,
    expires_at: Option<Timestamp>,
}

const KEYS: &str = "enforcement-keys";

impl KeyCommand {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            Action::Create(create) => create.run(&client, self.output),
            Action::Rotate(rotate) => rotate.run(&client, self.output),
            Action::List => {
                let action = "list enforcement keys";
                let answer = client.list(action, &Path::of(&[KEYS]), None)?;
                self.output.show(&answer, |screen| {
                    let keys = view(action, &answer["items"])?;
                    Ok(table(keys, Timestamp::now()).render(screen))
                })
            }
            Action::Revoke { id } => {
                let path = Path::of(&[KEYS, &id, "revoke"]);
                let answer = client.post("revoke the enforcement key", &path, &json!({}))?;
                self.output.show(&answer, |_| {
                    Ok(format!("Key {id} is revoked; hosts that use it can't sign in any more."))
                })
            }
        }
    }
}

fn table(keys: Vec<Key>, now: Timestamp) -> Table {
    let header = &["ID", "NAME", "STATE", "TAGS", "CREATED", "EXPIRES", "LAST USED"];
    let mut table = Table::new(header, "There are no enforcement keys.");
    for key in keys {
        let state = if key.state == "active" { good(&key.state) } else { warning(&key.state) };
        table.row(vec![
            cell(&key.id),
            cell(&key.name),
            state,
            cell(tags_text(&key.tags)),
            cell(relative(key.created_at, now)),
            cell(key.expires_at.map_or_else(|| "never".to_owned(), |at| relative(at, now))),
            cell(relative_or_dash(key.last_used_at, now)),
        ]);
    }
    table
}

impl Create {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "make an enforcement key";
        let file = self.host_config.map(NewFile::reserve).transpose()?;
        let now = Timestamp::now();
        let tags: BTreeMap<_, _> = self.tags.into_iter().map(Tag::into_pair).collect();
        let body = json!({
            "name": self.name,
            "expires_at": self.expires.map(|span| span.after(now)),
            "tags": tags,
        });
        let answer = client.post(action, &Path::of(&[KEYS]), &body)?;
        show_created(action, &answer, file, output)
    }
}

impl Rotate {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "rotate the enforcement key";
        let file = self.host_config.map(NewFile::reserve).transpose()?;
        let now = Timestamp::now();
        let body = json!({
            "overlap_seconds": self.overlap.seconds(),
            "expires_at": self.expires.map(|span| span.after(now)),
        });
        let answer = client.post(action, &Path::of(&[KEYS, &self.id, "rotate"]), &body)?;
        show_created(action, &answer, file, output)?;
        let end = relative(self.overlap.after(now), now);
        note(&format!("Key {} ends {end}; configure its hosts anew before.", self.id));
        Ok(())
    }
}

/// The secrets go into the file when there is one, otherwise to standard output.
fn show_created(
    action: &str,
    answer: &Value,
    file: Option<NewFile>,
    output: Output,
) -> Result<(), CliError> {
    let created: CreatedKey = view(action, answer)?;
    let ends = created.expires_at.map_or_else(
        || "it does not expire".to_owned(),
        |end| format!("it expires {}", relative(end, Timestamp::now())),
    );
    match file {
        Some(file) => {
            let path = file.fill(&created.config).inspect_err(|_| {
                note(&format!("Key {} was made, but is lost: revoke it.", created.id));
            })?;
            note(&format!("Key {} is made; {ends}.", created.id));
            note(&format!(
                "The hosts' configuration is in {}; it holds the secret.",
                path.display()
            ));
            if output.is_json() { print(&format!("{answer:#}")) } else { Ok(()) }
        }
        None => {
            note(&format!("Key {} is made; {ends}. It is not shown again.", created.id));
            output.show(answer, |_| Ok(secrets(&created)))
        }
    }
}

/// What is shown this once, each on a line of its own.
fn secrets(created: &CreatedKey) -> String {
    let CreatedKey { key, deployment_key, register, .. } = created;
    format!(
        "enforcement key   {key}\ndeployment key    {deployment_key}\ninstall an agent  {register}"
    )
}

/// A file made before the secret is, so that a wrong path does not cost a key.
struct NewFile {
    path: PathBuf,
    file: File,
    state: Filled,
}

#[derive(PartialEq, Eq)]
enum Filled {
    NotYet,
    Whole,
}

impl NewFile {
    fn reserve(path: PathBuf) -> Result<Self, CliError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("make", &path))?;
        Ok(Self { path, file, state: Filled::NotYet })
    }

    fn fill(mut self, text: &str) -> Result<PathBuf, CliError> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(failed("write", &self.path))?;
        self.state = Filled::Whole;
        Ok(self.path.clone())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.state == Filled::NotYet {
            // The command has failed already; what remains is an empty file at worst.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Screen;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_in_a_table() {
        let now = Timestamp(1_800_000_000);
        let keys = serde_json::from_value(json!([
            {"id": "abc", "name": "web", "state": "active", "tags": {"role": "web", "env": "prod"},
             "created_at": "2027-01-15T07:57:00Z", "expires_at": "2027-04-15T08:00:00Z",
             "last_used_at": "2027-01-15T08:00:00Z", "created_by": "user:admin"},
            {"id": "def", "name": "old", "state": "revoked", "tags": {},
             "created_at": "2026-01-15T07:57:00Z", "expires_at": null, "last_used_at": null},
        ]))
        .unwrap();
        insta::assert_snapshot!(table(keys, now).render(&Screen::plain()), @r"
        ID   NAME  STATE    TAGS               CREATED     EXPIRES     LAST USED
        abc  web   active   env=prod role=web  3 min ago   in 90 days  now
        def  old   revoked  -                  2026-01-15  never       -
        ");
    }

    #[test]
    fn a_file_for_a_secret_is_new_closed_and_goes_when_there_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        drop(NewFile::reserve(path.clone()).unwrap());
        assert!(!path.exists());
        NewFile::reserve(path.clone()).unwrap().fill("a: b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: b\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(NewFile::reserve(path.clone()).is_err(), "an existing file is not overwritten");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: b\n");
    }
}
