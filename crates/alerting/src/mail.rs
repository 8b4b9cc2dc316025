//! SMTP.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use xshield_model::channel::{MailSecurity, MailSettings};

use crate::destination::Destination;
use crate::outgoing::{Outgoing, Secret, SendError, reach};

/// The timeout for each command.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Sends a mail; returns the server's answer.
pub(crate) async fn send(
    settings: &MailSettings,
    out: &Outgoing<'_>,
    subject: &str,
    text: &str,
) -> Result<String, SendError> {
    let message = message(settings, out, subject, text)?;
    let transport = transport(settings, out, server(settings).await?)?;
    let answer =
        transport.send(message).await.map_err(|error| SendError::of("send mail", &error))?;
    let said: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), said.join(" ")))
}

fn message(
    settings: &MailSettings,
    out: &Outgoing<'_>,
    subject: &str,
    text: &str,
) -> Result<Message, SendError> {
    let from = mailbox(&settings.from)?;
    let id = format!("<{}@{}>", out.id, from.email.domain());
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(out.created_at.unix());
    let mut builder = Message::builder()
        .from(from)
        .subject(subject)
        .date(made)
        .message_id(Some(id))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for to in &settings.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(text.to_owned()).map_err(|error| SendError::of("write the mail", &error))
}

fn mailbox(text: &str) -> Result<Mailbox, SendError> {
    text.parse().map_err(|error| SendError::of("read a mail address", &error))
}

/// The address of the server: one that is allowed, and that answers if there are several.
async fn server(settings: &MailSettings) -> Result<IpAddr, SendError> {
    let reach = reach(settings.allow_private);
    let destination = Destination { host: &settings.host, port: settings.port(), reach };
    match destination.addresses().await?.as_slice() {
        [only] => Ok(only.ip()),
        _ => {
            let peer = destination.connect().await?.peer_addr();
            Ok(peer.map_err(|error| SendError::of("reach the receiver", &error))?.ip())
        }
    }
}

fn transport(
    settings: &MailSettings,
    out: &Outgoing<'_>,
    server: IpAddr,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
    let tls = match settings.security {
        MailSecurity::Starttls => Tls::Required(parameters(settings)?),
        MailSecurity::Tls => Tls::Wrapper(parameters(settings)?),
        MailSecurity::Plain => Tls::None,
    };
    let hello = url::Url::parse(out.platform).ok().and_then(|url| match url.host()? {
        url::Host::Domain(name) => Some(ClientId::Domain(name.to_owned())),
        url::Host::Ipv4(address) => Some(ClientId::Ipv4(address)),
        url::Host::Ipv6(address) => Some(ClientId::Ipv6(address)),
    });
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.to_string())
        .port(settings.port())
        .tls(tls)
        .hello_name(hello.unwrap_or_default())
        .timeout(Some(ANSWERS_WITHIN));
    if let Some(username) = &settings.username {
        let Some(Secret(password)) = out.secret else { return Err(SendError::Secret) };
        let password = String::from_utf8(password.clone()).map_err(|_| SendError::Secret)?;
        builder = builder
            .credentials(Credentials::new(username.clone(), password))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    Ok(builder.build())
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, SendError> {
    let failed = |error: lettre::transport::smtp::Error| SendError::of("set up TLS", &error);
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(ca) = &settings.ca {
        builder = builder.certificate_store(CertificateStore::None);
        builder =
            builder.add_root_certificate(Certificate::from_pem(ca.as_bytes()).map_err(failed)?);
    }
    builder.build_rustls().map_err(failed)
}

/// Suppresses automatic replies (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
