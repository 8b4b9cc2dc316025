//! `xshield key`: enforcement keys and registration tokens.

mod new_file;
mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::access::PlatformInfo;
use xshield_api::keys::{CreatedKey, ExpiringKey, Host, Key, KeyKind, NewKey, Rotation};
use xshield_policy::names::{Name, TagKey, TagValue};

use crate::client::{Client, NoBody, Path, parsed, view};
use crate::error::CliError;
use crate::tags::Tag;
use crate::terminal::{self, Output, note};
use crate::times::{Span, relative};
use new_file::NewFile;
use show::{sheet, table};

/// Enforcement keys and registration tokens, with which hosts register.
#[derive(Debug, Args)]
pub struct KeyCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a key. Its secret is shown only once.
    Create(Create),
    /// Create a token with which one host registers once. Its secret is shown only once.
    Token(Token),
    /// List keys and tokens, and how many hosts use each.
    List,
    /// Show a key and the hosts that use it.
    Show {
        /// The key's id.
        id: String,
    },
    /// Create the successor of a key; hosts can register with both for a while.
    Rotate(Rotate),
    /// Revoke a key and end all sessions of its hosts now: they are cut off from the platform.
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
    /// How long hosts can register with it, e.g. 90d; without an end when left out.
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// How many hosts can register with it; without a limit when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_hosts: Option<u32>,
    #[command(flatten)]
    hosts: Hosts,
    /// Write the hosts' configuration, secret included, to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
}

/// Which hosts register.
#[derive(Debug, Args)]
struct Hosts {
    /// A tag for assets that register with it; may be repeated.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<Tag>,
    /// A network from which hosts may register, e.g. 10.1.0.0/16; may be repeated. Any when left out.
    /// Hosts behind a proxy come from the proxy's address.
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
struct Token {
    /// The only host name that can register with it; any when left out.
    #[arg(long, value_name = "NAME")]
    host: Option<Name>,
    /// What it is for; the host's name when left out.
    #[arg(long)]
    name: Option<String>,
    /// How long the host can register with it, e.g. 2h.
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    expires: Span,
    #[command(flatten)]
    hosts: Hosts,
    /// Write the host's configuration, secret included, to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The id of the old key.
    id: String,
    /// How long hosts can still register with the old key.
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    overlap: Span,
    /// How long hosts can register with the new key; as long as with the old one when left out.
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// Write the hosts' configuration, secret included, to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    host_config: Option<PathBuf>,
}

const KEYS: &str = "enforcement-keys";

impl KeyCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            Action::Create(create) => create.run(&client, self.output),
            Action::Token(token) => token.run(&client, self.output),
            Action::Rotate(rotate) => rotate.run(&client, self.output),
            Action::Show { id } => show(&client, &id, self.output),
            Action::List => {
                let action = "list enforcement keys";
                let answer = client.list(action, &Path::of(&[KEYS]), None)?;
                if !self.output.is_json() {
                    warn_of_expiring_keys(&client);
                }
                self.output.show(&answer, |screen| {
                    let keys = view(action, &answer["items"])?;
                    Ok(table(keys, Timestamp::now()).render(screen))
                })
            }
            Action::Revoke { id } => {
                let path = Path::of(&[KEYS, &id, "revoke"]);
                let answer = client.post("revoke the enforcement key", &path, &NoBody {})?;
                self.output.show(&answer, |_| {
                    Ok(format!(
                        "Revoked key {id}. Hosts that use it are refused until they are \
                         configured with another key."
                    ))
                })
            }
        }
    }
}

/// Warns about keys that expire soon. The requested output goes first.
pub(super) fn warn_of_expiring_keys(client: &Client) {
    let action = "ask which keys end soon";
    let answer = client.get(action, &Path::of(&["platform"]));
    let platform = answer.and_then(|answer| parsed::<PlatformInfo>(action, &answer));
    for ExpiringKey { id, name, expires_at } in platform.into_iter().flat_map(|p| p.expiring_keys) {
        let ends = relative(expires_at, Timestamp::now());
        note(&format!(
            "Warning: enforcement key {id} ({name}) expires {ends}. Registered hosts keep working, but \
             no new host can register with it then. Create its successor: xshield key rotate {id}"
        ));
    }
}

fn show(client: &Client, id: &str, output: Output) -> Result<(), CliError> {
    let action = "show the enforcement key";
    let mut answer = client.get(action, &Path::of(&[KEYS, id]))?;
    let hosts = client.list(action, &Path::of(&[KEYS, id, "hosts"]), None)?;
    answer["hosts_using"] = hosts["items"].clone();
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let hosts: Vec<Host> = view(action, &hosts["items"])?;
        let key: Key = view(action, &answer)?;
        let hosts = show::hosts(hosts, now).render(screen);
        Ok(format!("{}\n{hosts}", sheet(key, now).render()))
    })
}

impl Hosts {
    fn tags(&mut self) -> BTreeMap<TagKey, TagValue> {
        std::mem::take(&mut self.tags).into_iter().map(Tag::into_pair).collect()
    }

    fn networks(self) -> Option<Vec<String>> {
        Some(self.networks).filter(|networks| !networks.is_empty())
    }
}

impl Token {
    fn run(mut self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "create a registration token";
        let file = self.host_config.map(NewFile::reserve).transpose()?;
        let host = self.host.as_ref().map(ToString::to_string);
        let body = NewKey {
            kind: KeyKind::Token,
            name: self.name.or(host).unwrap_or_default(),
            expires_at: Some(self.expires.after(Timestamp::now())),
            tags: self.hosts.tags(),
            bound_name: self.host,
            max_registrations: None,
            allowed_networks: self.hosts.networks(),
        };
        let answer = client.post(action, &Path::of(&[KEYS]), &body)?;
        show_created(action, "Token", &answer, file, output)
    }
}

impl Create {
    fn run(mut self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "create an enforcement key";
        let file = self.host_config.map(NewFile::reserve).transpose()?;
        let now = Timestamp::now();
        let body = NewKey {
            kind: KeyKind::Key,
            name: self.name,
            expires_at: self.expires.map(|span| span.after(now)),
            tags: self.hosts.tags(),
            bound_name: None,
            max_registrations: self.max_hosts,
            allowed_networks: self.hosts.networks(),
        };
        let answer = client.post(action, &Path::of(&[KEYS]), &body)?;
        show_created(action, "Key", &answer, file, output)
    }
}

impl Rotate {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "rotate the enforcement key";
        let file = self.host_config.map(NewFile::reserve).transpose()?;
        let now = Timestamp::now();
        let body = Rotation {
            overlap_seconds: Some(self.overlap.seconds()),
            expires_at: self.expires.map(|span| span.after(now)),
        };
        let answer = client.post(action, &Path::of(&[KEYS, &self.id, "rotate"]), &body)?;
        show_created(action, "Key", &answer, file, output)?;
        let end = relative(self.overlap.after(now), now);
        note(&format!(
            "New hosts can register with key {id} until its overlap ends {end}. {}Configure them with the \
             new key, and revoke the old one when no host uses it any more: xshield key show {id}",
            users(client, &self.id)?,
            id = self.id
        ));
        Ok(())
    }
}

/// The hosts that still use the old key.
fn users(client: &Client, id: &str) -> Result<String, CliError> {
    const NAMED: usize = 5;
    let action = "ask which hosts use the old key";
    let old: Key = view(action, &client.get(action, &Path::of(&[KEYS, id]))?)?;
    let hosts = client.list(action, &Path::of(&[KEYS, id, "hosts"]), Some(NAMED))?;
    let hosts: Vec<Host> = view(action, &hosts["items"])?;
    Ok(show::users(&old, &hosts))
}

/// The secrets go into the file if there is one, otherwise to standard output.
fn show_created(
    action: &str,
    what: &str,
    answer: &Value,
    file: Option<NewFile>,
    output: Output,
) -> Result<(), CliError> {
    let created: CreatedKey = parsed(action, answer)?;
    let ends = created.about.expires_at.map_or_else(
        || "it does not expire".to_owned(),
        |end| format!("it expires {}", relative(end, Timestamp::now())),
    );
    match file {
        Some(file) => {
            let path = file.fill(&created.config).inspect_err(|_| {
                note(&format!(
                    "{what} {} was created, but its secret is lost: revoke the key.",
                    created.about.id
                ));
            })?;
            note(&format!("{what} {} created; {ends}.", created.about.id));
            note(&format!(
                "The hosts' configuration is in {}; it contains the secret.",
                path.display()
            ));
            if output.is_json() { terminal::json(answer) } else { Ok(()) }
        }
        None => {
            note(&format!("{what} {} created; {ends}. It is not shown again.", created.about.id));
            output.show(answer, |_| Ok(secrets(&created)))
        }
    }
}

/// The one-time output, one item per line.
fn secrets(created: &CreatedKey) -> String {
    let CreatedKey { key, deployment_key, register, .. } = created;
    format!(
        "enforcement key   {key}\ndeployment key    {deployment_key}\ninstall an agent  {register}"
    )
}
