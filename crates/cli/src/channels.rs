//! `xshield channel` and `xshield delivery`: notification channels and deliveries.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use url::Url;
use xshield_api::Timestamp;
use xshield_api::alerts::RuleState;
use xshield_api::channels::{
    Channel, ChannelInput, ChannelSettings, Delivery, DeliveryQuery, DeliveryState, MailSecurity,
    MailSettings, SyslogFormat, SyslogSettings, SyslogTransport, WebhookFormat, WebhookSettings,
    WrittenChannel,
};
use xshield_api::open::Open;
use xshield_api::words::counted;

use crate::alerts::read;
use crate::choice::words_of;
use crate::client::{Client, NoBody, Path, view};
use crate::error::CliError;
use crate::terminal::{self, Output, Table, bad, cell, good, note, number, warning};
use crate::times::{relative, relative_or_dash};
use crate::words::{field, word};

/// Channels: the mail addresses and servers to which alerts are sent.
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
    /// Send a test message through a channel.
    Test {
        /// The channel's name.
        name: String,
    },
    /// Delete a channel, its pending alerts and its list of deliveries.
    Delete {
        /// The channel's name.
        name: String,
    },
}

/// Create or replace a channel that sends e-mail.
#[derive(Debug, Args)]
struct Mail {
    /// The channel's name.
    name: String,
    /// The SMTP server.
    #[arg(long)]
    host: String,
    /// Its port; when left out 587 (starttls), 465 (tls) or 25 (plain).
    #[arg(long)]
    port: Option<u16>,
    /// How the connection is protected.
    #[arg(long, default_value = "starttls", value_parser = words_of(security))]
    security: MailSecurity,
    /// With --security plain: accept that mail can be read and changed in transit.
    #[arg(long)]
    allow_unencrypted: bool,
    /// The sender, e.g. "Xshield <xshield@example.com>".
    #[arg(long)]
    from: String,
    /// A recipient; may be repeated.
    #[arg(long, required = true)]
    to: Vec<String>,
    /// The name with which to log in.
    #[arg(long)]
    username: Option<String>,
    /// A file with the password; - for standard input. A stored password is kept when left out.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Create or replace a channel that posts signed JSON to an HTTPS server.
#[derive(Debug, Args)]
struct Webhook {
    /// The channel's name.
    name: String,
    /// The URL to post to.
    #[arg(long)]
    url: Url,
    /// The format of alerts.
    #[arg(long, default_value = "json", value_parser = words_of(webhook_format))]
    format: WebhookFormat,
    /// A file with the secret (whsec_…); - for standard input. When left out, a stored secret is kept;
    /// without one, a new one is made and shown only once.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Create or replace a channel that sends syslog messages (RFC 5424).
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
    /// How messages are transported.
    #[arg(long, default_value = "tls", value_parser = words_of(transport))]
    transport: SyslogTransport,
    /// With tcp and udp: accept that messages can be read and changed in transit.
    #[arg(long)]
    allow_unencrypted: bool,
    /// The format of alerts.
    #[arg(long, default_value = "cef", value_parser = words_of(syslog_format))]
    format: SyslogFormat,
    /// Facility, 0 to 23.
    #[arg(long, default_value_t = 16)]
    facility: u8,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Allow a receiver at a private or loopback address. Only admins may do this.
    #[arg(long)]
    allow_private: bool,
    /// Certificates (PEM) of the only trusted authorities; the system's when left out.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Keep the channel but send nothing; alerts are queued.
    #[arg(long)]
    disabled: bool,
}

/// How each mode of an SMTP connection protects it.
fn security(security: &MailSecurity) -> Option<&'static str> {
    Some(match security {
        MailSecurity::Starttls => "TLS after STARTTLS; without it nothing is sent",
        MailSecurity::Tls => "TLS from the first byte",
        MailSecurity::Plain => "Not at all",
    })
}

/// What is in each format of a webhook.
fn webhook_format(format: &WebhookFormat) -> Option<&'static str> {
    Some(match format {
        WebhookFormat::Json => "Alerts as the API shows them",
        WebhookFormat::Ocsf => "OCSF Detection Findings",
    })
}

/// What each syslog transport is.
fn transport(transport: &SyslogTransport) -> Option<&'static str> {
    Some(match transport {
        SyslogTransport::Tls => "TLS (RFC 5425)",
        SyslogTransport::Tcp => "TCP (RFC 6587)",
        SyslogTransport::Udp => "UDP (RFC 5426); messages may be lost unnoticed",
    })
}

/// What each format of syslog messages is.
fn syslog_format(format: &SyslogFormat) -> Option<&'static str> {
    Some(match format {
        SyslogFormat::Cef => "ArcSight Common Event Format",
        SyslogFormat::Ocsf => "OCSF Detection Finding, as JSON",
    })
}

/// What each state of a delivery means.
fn delivery_state(state: &DeliveryState) -> Option<&'static str> {
    Some(match state {
        DeliveryState::Waiting => "Still to be delivered",
        DeliveryState::Delivered => "Accepted by the receiver",
        DeliveryState::GivenUp => "Not delivered, and no longer tried",
    })
}

const CHANNELS: &str = "alert-channels";

impl ChannelCommand {
    /// Runs the command.
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
                output.show(&answer, |_| Ok(format!("Deleted channel {name}.")))
            }
        }
    }
}

fn test(name: &str, client: &Client, output: Output) -> Result<(), CliError> {
    let action = "test the channel";
    let answer = client.post(action, &Path::of(&[CHANNELS, name, "test"]), &NoBody {})?;
    let tried: Delivery = view(action, &answer)?;
    output.show(&answer, |_| Ok(format!("{name}: {}", tried.answer)))?;
    if tried.state == DeliveryState::Delivered {
        return Ok(());
    }
    Err(CliError::input(format!("the test message could not be delivered by channel {name}")))
}

impl Common {
    fn ca(&self) -> Result<Option<String>, CliError> {
        self.ca.as_deref().map(read).transpose()
    }

    fn write(
        &self,
        name: &str,
        settings: ChannelSettings,
        secret: Option<String>,
        client: &Client,
        output: Output,
    ) -> Result<(), CliError> {
        let action = "save the channel";
        let state = if self.disabled { RuleState::Disabled } else { RuleState::Enabled };
        let body = ChannelInput { settings, state, secret };
        let answer = client.put(action, &Path::of(&[CHANNELS, name]), &body)?;
        let mut created = None;
        output.show(&answer, |_| {
            let WrittenChannel { secret, .. } = view(action, &answer)?;
            created.clone_from(&secret);
            Ok(secret.unwrap_or_else(|| {
                format!("Saved channel {name}. Test it with: xshield channel test {name}")
            }))
        })?;
        if created.is_some() {
            note("This is the webhook's secret; the receiver needs it. It is not shown again.");
        }
        Ok(())
    }
}

fn secret(file: Option<&PathBuf>) -> Result<Option<String>, CliError> {
    let text = file.map(|file| read(file)).transpose()?;
    Ok(text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Mail {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let secret = secret(self.password_file.as_ref())?;
        let settings = ChannelSettings::Mail(MailSettings {
            host: self.host,
            port: self.port,
            security: self.security,
            allow_unencrypted: self.allow_unencrypted,
            allow_private: self.common.allow_private,
            username: self.username,
            from: self.from,
            to: self.to,
            ca: self.common.ca()?,
        });
        self.common.write(&self.name, settings, secret, client, output)
    }
}

impl Webhook {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let secret = secret(self.secret_file.as_ref())?;
        let settings = ChannelSettings::Webhook(WebhookSettings {
            url: self.url,
            format: self.format,
            allow_private: self.common.allow_private,
            ca: self.common.ca()?,
        });
        self.common.write(&self.name, settings, secret, client, output)
    }
}

impl Syslog {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let settings = ChannelSettings::Syslog(SyslogSettings {
            host: self.host,
            port: self.port,
            transport: self.transport,
            allow_unencrypted: self.allow_unencrypted,
            allow_private: self.common.allow_private,
            format: self.format,
            facility: self.facility,
            ca: self.common.ca()?,
        });
        self.common.write(&self.name, settings, None, client, output)
    }
}

fn table(channels: Vec<Channel>, now: Timestamp) -> Table {
    let header = &["NAME", "KIND", "TO", "STATE", "WAITING", "LAST DELIVERY", "LAST ANSWER"];
    let mut table = Table::new(header, "There are no channels.");
    for channel in channels {
        let state = match (channel.state.known(), channel.failures) {
            (Some(RuleState::Enabled), 0) => good("works"),
            (Some(RuleState::Enabled), failures) => bad(format!(
                "failed {}, next attempt {}",
                counted(failures, "time"),
                relative_or_dash(channel.next_attempt, now)
            )),
            (Some(RuleState::Disabled), _) => warning("disabled"),
            (None, _) => cell(word(&channel.state)),
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

fn kind(settings: &Open<ChannelSettings>) -> String {
    match settings {
        Open::Known(ChannelSettings::Mail(_)) => "mail".to_owned(),
        Open::Known(ChannelSettings::Webhook(_)) => "webhook".to_owned(),
        Open::Known(ChannelSettings::Syslog(_)) => "syslog".to_owned(),
        Open::Unknown(settings) => field(settings, "kind"),
    }
}

fn receiver(settings: &Open<ChannelSettings>) -> String {
    match settings {
        Open::Known(ChannelSettings::Mail(mail)) => mail.to.join(", "),
        Open::Known(ChannelSettings::Webhook(webhook)) => webhook.url.to_string(),
        Open::Known(ChannelSettings::Syslog(syslog)) => syslog.host.clone(),
        Open::Unknown(settings) => {
            let named = ["url", "host"].into_iter().find(|name| settings[name].is_string());
            named.map_or_else(|| "-".to_owned(), |name| field(settings, name))
        }
    }
}

/// Deliveries of alerts: sent, pending, given up.
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
        /// Only those in this state.
        #[arg(long, value_parser = words_of(delivery_state))]
        state: Option<DeliveryState>,
        /// How many to show at most.
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
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            DeliveryAction::List { channel, state, limit } => {
                let action = "list deliveries";
                let query = DeliveryQuery { channel, state };
                let path = Path::of(&["deliveries"]).of_query(&query)?;
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
    let header = &["ID", "CREATED", "CHANNEL", "KIND", "ALERTS", "STATE", "ATTEMPTS", "ANSWER"];
    let mut table = Table::new(header, "No deliveries.");
    for delivery in deliveries {
        let state = match delivery.state.known() {
            Some(DeliveryState::Delivered) => good("delivered"),
            Some(DeliveryState::Waiting) => warning("waiting"),
            Some(DeliveryState::GivenUp) => bad("given-up"),
            None => cell(word(&delivery.state)),
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
