//! Validates channel settings beyond what the types express.

use lettre::message::Mailbox;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use xshield_model::alert_rule::RuleError;
use xshield_model::channel::{
    ChannelSettings, MailSecurity, MailSettings, SyslogSettings, SyslogTransport, WebhookSettings,
};

/// Validates what the types can't express.
///
/// # Errors
/// Names the field.
pub fn check(settings: &ChannelSettings) -> Result<(), RuleError> {
    match settings {
        ChannelSettings::Mail(mail) => check_mail(mail),
        ChannelSettings::Webhook(webhook) => check_webhook(webhook),
        ChannelSettings::Syslog(syslog) => check_syslog(syslog),
    }
}

fn check_mail(mail: &MailSettings) -> Result<(), RuleError> {
    host("/settings/host", &mail.host)?;
    ca(mail.ca.as_deref())?;
    if mail.security == MailSecurity::Plain {
        if !mail.allow_unencrypted {
            return refuse(
                "/settings/security",
                "unencrypted mail can be read and changed in transit: \
                               use starttls or tls, or set allow_unencrypted",
            );
        }
        if mail.username.is_some() {
            return refuse(
                "/settings/username",
                "a password is not sent over an unencrypted connection: \
                               use starttls or tls",
            );
        }
    }
    if mail.to.is_empty() || mail.to.len() > 50 {
        return refuse("/settings/to", "expected 1 to 50 recipients");
    }
    mailbox("/settings/from", &mail.from)?;
    mail.to.iter().try_for_each(|to| mailbox("/settings/to", to))
}

fn check_webhook(webhook: &WebhookSettings) -> Result<(), RuleError> {
    if webhook.url.scheme() != "https" || webhook.url.host_str().is_none() {
        return refuse("/settings/url", "expected an https URL");
    }
    if !webhook.url.username().is_empty() || webhook.url.password().is_some() {
        return refuse(
            "/settings/url",
            "the URL contains a password, and URLs are shown; deliveries are signed instead",
        );
    }
    ca(webhook.ca.as_deref())
}

fn check_syslog(syslog: &SyslogSettings) -> Result<(), RuleError> {
    host("/settings/host", &syslog.host)?;
    if syslog.transport != SyslogTransport::Tls && !syslog.allow_unencrypted {
        return refuse(
            "/settings/transport",
            "messages can be read and changed in transit: use tls, \
                           or set allow_unencrypted",
        );
    }
    if syslog.facility > 23 {
        return refuse("/settings/facility", "expected a number from 0 to 23");
    }
    ca(syslog.ca.as_deref())
}

fn refuse(field: &'static str, reason: &str) -> Result<(), RuleError> {
    Err(RuleError { field, reason: reason.to_owned() })
}

fn host(field: &'static str, host: &str) -> Result<(), RuleError> {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = host == "localhost" || host.parse::<xshield_policy::DomainName>().is_ok();
    if is_address || is_name {
        return Ok(());
    }
    refuse(field, "expected a DNS name or an address, without a port")
}

fn mailbox(field: &'static str, text: &str) -> Result<(), RuleError> {
    match text.parse::<Mailbox>() {
        Ok(_) if !text.contains(char::is_control) => Ok(()),
        Ok(_) => refuse(field, "control characters are not allowed in an address"),
        Err(error) => {
            Err(RuleError { field, reason: format!("{text:?} is not a mail address: {error}") })
        }
    }
}

fn ca(pem: Option<&str>) -> Result<(), RuleError> {
    let Some(pem) = pem else { return Ok(()) };
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    let fine = certificates.next().is_some_and(|first| first.is_ok())
        && certificates.all(|one| one.is_ok());
    if fine { Ok(()) } else { refuse("/settings/ca", "expected certificates in PEM format") }
}
