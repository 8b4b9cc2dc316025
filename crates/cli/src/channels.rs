//! `xshield channel` and `xshield delivery`: where alerts go, and what became of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use xshield_api::Timestamp;
use xshield_api::alerts::RuleState;
use xshield_api::channels::{Channel, ChannelSettings, Delivery, DeliveryState};

use crate::alerts::read;
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{self, Output, Table, bad, cell, good, note, number, warning};
use crate::times::{relative, relative_or_dash};
use crate::words::word;

/// Channels: where alerts go.
#[derive(Debug, Args)]
pub struct ChannelCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Mail(Box<Mail>),
    Webhook(Webhook),
    Syslog(Syslog),
    /// List channels.
    List,
    /// Show a channel; its secret is not shown.
    Show {
        /// The channel's name.
        name: String,
    },
    /// Try a channel now, once.
    Test {
        /// The channel's name.
        name: String,
    },
    /// Delete a channel, what waits for it, and the record of its deliveries.
    Delete {
        /// The channel's name.
        name: String,
    },
}

/// Write a channel that sends e-mail.
#[derive(Debug, Args)]
struct Mail {
    /// The channel's name.
    name: String,
    /// The SMTP server.
    #[arg(long)]
    host: String,
    /// Its port; by --security 587, 465 or 25.
    #[arg(long)]
    port: Option<u16>,
    /// starttls, tls, or plain.
    #[arg(long, default_value = "starttls")]
    security: String,
    /// With --security plain: let whoever sits between read and change mail.
    #[arg(long)]
    allow_unencrypted: bool,
    /// The sender, e.g. "Xshield <xshield@example.com>".
    #[arg(long)]
    from: String,
    /// A recipient; may be repeated.
    #[arg(long, required = true)]
    to: Vec<String>,
    /// Login.
    #[arg(long)]
    username: Option<String>,
    /// A file with the login's password; - for standard input. Left out, a known one stays.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Write a channel that posts signed JSON to an HTTPS server.
#[derive(Debug, Args)]
struct Webhook {
    /// The channel's name.
    name: String,
    /// Where to.
    #[arg(long)]
    url: String,
    /// json or ocsf.
    #[arg(long, default_value = "json")]
    format: String,
    /// A file with the secret (whsec_…); - for standard input. Left out, a known one stays, or one is
    /// made up and shown this once.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Write a channel that sends syslog messages (RFC 5424).
#[derive(Debug, Args)]
struct Syslog {
    /// The channel's name.
    name: String,
    /// The receiver.
    #[arg(long)]
    host: String,
    /// Its port; 6514 for tls, 514 otherwise.
    #[arg(long)]
    port: Option<u16>,
    /// tls, tcp or udp.
    #[arg(long, default_value = "tls")]
    transport: String,
    /// With tcp and udp: let whoever sits between read and change messages.
    #[arg(long)]
    allow_unencrypted: bool,
    /// cef or ocsf.
    #[arg(long, default_value = "cef")]
    format: String,
    /// Facility, 0 to 23.
    #[arg(long, default_value_t = 16)]
    facility: u8,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Let the receiver be at a private or loopback address; takes the role admin.
    #[arg(long)]
    allow_private: bool,
    /// The only authorities (PEM) that may vouch for the server; the system's when left out.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Keep the channel, but send nothing: alerts wait.
    #[arg(long)]
    disabled: bool,
}

const CHANNELS: &str = "alert-channels";

impl ChannelCommand {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let output = self.output;
        match self.action {
            Action::Mail(mail) => mail.run(&client, output),
            Action::Webhook(webhook) => webhook.run(&client, output),
            Action::Syslog(syslog) => syslog.run(&client, output),
            Action::List => {
                let action = "list channels";
                let answer = client.get(action, &Path::of(&[CHANNELS]))?;
                output.show(&answer, |screen| {
                    let table = table(view(action, &answer["items"])?, Timestamp::now());
                    Ok(table.render(screen))
                })
            }
            Action::Show { name } => {
                let answer = client.get("show the channel", &Path::of(&[CHANNELS, &name]))?;
                output.show(&answer, |_| terminal::pretty(&answer))
            }
            Action::Test { name } => test(&name, &client, output),
            Action::Delete { name } => {
                let answer = client.delete("delete the channel", &Path::of(&[CHANNELS, &name]))?;
                output.show(&answer, |_| Ok(format!("The channel {name} is deleted.")))
            }
        }
    }
}

fn test(name: &str, client: &Client, output: Output) -> Result<(), CliError> {
    let action = "try the channel";
    let answer = client.post(action, &Path::of(&[CHANNELS, name, "test"]), &json!({}))?;
    let tried: Delivery = view(action, &answer)?;
    output.show(&answer, |_| Ok(format!("{name}: {}", tried.answer)))?;
    if tried.state == DeliveryState::Delivered {
        return Ok(());
    }
    Err(CliError::input(format!("the channel {name} does not work")))
}

impl Common {
    fn ca(&self) -> Result<Option<String>, CliError> {
        self.ca.as_deref().map(read).transpose()
    }

    fn write(
        &self,
        name: &str,
        settings: &Value,
        secret: Option<String>,
        client: &Client,
        output: Output,
    ) -> Result<(), CliError> {
        let state = if self.disabled { "disabled" } else { "enabled" };
        let body = json!({"settings": settings, "state": state, "secret": secret});
        let answer = client.put("write the channel", &Path::of(&[CHANNELS, name]), &body)?;
        output.show(&answer, |_| {
            Ok(match answer["secret"].as_str() {
                Some(secret) => secret.to_owned(),
                None => {
                    format!("The channel {name} is written; try it: xshield channel test {name}")
                }
            })
        })?;
        if answer["secret"].is_string() && !output.is_json() {
            note("This is the webhook's secret, for the receiver. It is not shown again.");
        }
        Ok(())
    }
}

fn secret(file: Option<&PathBuf>) -> Result<Option<String>, CliError> {
    let text = file.map(|file| read(file)).transpose()?;
    Ok(text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Mail {
    fn run(&self, client: &Client, output: Output) -> Result<(), CliError> {
        let settings = json!({
            "kind": "mail", "host": self.host, "port": self.port, "security": self.security,
            "allow_unencrypted": self.allow_unencrypted, "username": self.username,
            "from": self.from, "to": self.to,
            "allow_private": self.common.allow_private, "ca": self.common.ca()?,
        });
        let secret = secret(self.password_file.as_ref())?;
        self.common.write(&self.name, &settings, secret, client, output)
    }
}

impl Webhook {
    fn run(&self, client: &Client, output: Output) -> Result<(), CliError> {
        let settings = json!({
            "kind": "webhook", "url": self.url, "format": self.format,
            "allow_private": self.common.allow_private, "ca": self.common.ca()?,
        });
        let secret = secret(self.secret_file.as_ref())?;
        self.common.write(&self.name, &settings, secret, client, output)
    }
}

impl Syslog {
    fn run(&self, client: &Client, output: Output) -> Result<(), CliError> {
        let settings = json!({
            "kind": "syslog", "host": self.host, "port": self.port, "transport": self.transport,
            "allow_unencrypted": self.allow_unencrypted, "format": self.format,
            "facility": self.facility, "allow_private": self.common.allow_private,
            "ca": self.common.ca()?,
        });
        self.common.write(&self.name, &settings, None, client, output)
    }
}

fn table(channels: Vec<Channel>, now: Timestamp) -> Table {
    let header = &["NAME", "KIND", "TO", "STATE", "WAITING", "LAST DELIVERY", "LAST ANSWER"];
    let mut table = Table::new(header, "There are no channels.");
    for channel in channels {
        let state = match (channel.state, channel.failures) {
            (RuleState::Enabled, 0) => good("works"),
            (RuleState::Enabled, failures) => bad(format!(
                "failed {failures} times, next try {}",
                relative_or_dash(channel.next_attempt, now)
            )),
            (RuleState::Disabled, _) => warning("disabled"),
        };
        table.row(vec![
            cell(&channel.name),
            cell(kind(&channel.settings)),
            cell(receiver(&channel.settings)),
            state,
            number(channel.waiting),
            cell(relative_or_dash(channel.last_success, now)),
            cell(&channel.last_answer),
        ]);
    }
    table
}

fn kind(settings: &ChannelSettings) -> &'static str {
    match settings {
        ChannelSettings::Mail(_) => "mail",
        ChannelSettings::Webhook(_) => "webhook",
        ChannelSettings::Syslog(_) => "syslog",
    }
}

fn receiver(settings: &ChannelSettings) -> String {
    match settings {
        ChannelSettings::Mail(mail) => mail.to.join(", "),
        ChannelSettings::Webhook(webhook) => webhook.url.to_string(),
        ChannelSettings::Syslog(syslog) => syslog.host.clone(),
    }
}

/// What was delivered, and what waits.
#[derive(Debug, Args)]
pub struct DeliveryCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: DeliveryAction,
}

#[derive(Debug, Subcommand)]
enum DeliveryAction {
    /// List deliveries, the newest first.
    List {
        /// Only this channel's.
        #[arg(long)]
        channel: Option<String>,
        /// Only those that stand so: waiting, delivered or given-up.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Show a delivery with what was sent, as JSON.
    Show {
        /// Its id.
        id: String,
    },
}

impl DeliveryCommand {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            DeliveryAction::List { channel, state, limit } => {
                let action = "list deliveries";
                let path = Path::of(&["deliveries"])
                    .with_some("channel", channel)
                    .with_some("state", state);
                let answer = client.list(action, &path, Some(limit))?;
                self.output.show(&answer, |screen| {
                    let found = view(action, &answer["items"])?;
                    Ok(deliveries_table(found, Timestamp::now()).render(screen))
                })
            }
            DeliveryAction::Show { id } => {
                let answer = client.get("show the delivery", &Path::of(&["deliveries", &id]))?;
                self.output.show(&answer, |_| terminal::pretty(&answer))
            }
        }
    }
}

fn deliveries_table(deliveries: Vec<Delivery>, now: Timestamp) -> Table {
    let header = &["ID", "MADE", "CHANNEL", "KIND", "ALERTS", "STATE", "ATTEMPTS", "ANSWER"];
    let mut table = Table::new(header, "Nothing was delivered.");
    for delivery in deliveries {
        let state = match delivery.state {
            DeliveryState::Delivered => good("delivered"),
            DeliveryState::Waiting => warning("waiting"),
            DeliveryState::GivenUp => bad("given-up"),
        };
        table.row(vec![
            cell(&delivery.id),
            cell(relative(delivery.created_at, now)),
            cell(&delivery.channel),
            cell(word(&delivery.kind)),
            number(delivery.alerts),
            state,
            number(delivery.attempts),
            cell(&delivery.answer),
        ]);
    }
    table
}
