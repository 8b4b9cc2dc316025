//! ArcSight Common Event Format, version 0.

use std::net::IpAddr;

use xshield_model::Timestamp;
use xshield_model::alert::{Alert, EventView, FirstSeen, Severity};
use xshield_policy::Direction;
use xshield_wire::threat::ThreatAction;

/// The alert as a CEF line.
#[must_use]
pub fn line(alert: &Alert, number: i64) -> String {
    let severity = match alert.severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
    };
    let mut line = format!(
        "CEF:0|Xshield|Xshield Platform|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        alert.kind.as_str(),
        header(&alert.name),
    );
    let mut fields = Fields::default();
    fields.add("rt", alert.at.0.saturating_mul(1000));
    fields.add("externalId", number);
    fields.add("msg", &alert.summary);
    fields.labelled("cs6", "alertRule", &alert.rule);
    if alert.withheld > 0 {
        fields.labelled("cn3", "withheld", alert.withheld);
    }
    if let Some(event) = &alert.event {
        of_event(&mut fields, event);
    }
    line.push_str(&fields.0);
    line
}

fn of_event(fields: &mut Fields, event: &EventView) {
    let milliseconds = |at: Timestamp| at.0.saturating_mul(1000);
    match event.first_seen() {
        FirstSeen::At(at) => fields.add("start", milliseconds(at)),
        FirstSeen::Since(since) => {
            fields.labelled("deviceCustomDate1", "since", milliseconds(since));
        }
    }
    fields.add("end", milliseconds(event.last_seen));
    fields.add("cnt", event.packets);
    fields.add("proto", event.protocol);
    fields.add("dvchost", &event.asset);
    fields.add(
        "act",
        match event.action {
            ThreatAction::Blocked => "blocked",
            ThreatAction::Recorded => "recorded",
        },
    );
    let (source, destination, process) = match event.direction {
        Direction::Inbound => (Some(event.remote), event.local, "dproc"),
        Direction::Outbound => (event.local, Some(event.remote), "sproc"),
    };
    fields.add("deviceDirection", u8::from(event.direction == Direction::Outbound));
    fields.address("src", "c6a2", "Source IPv6 Address", source);
    fields.address("dst", "c6a3", "Destination IPv6 Address", destination);
    if let Some(port) = event.destination_port() {
        fields.add("dpt", port);
    }
    fields.some(process, event.process.as_deref());
    fields.some("request", event.request.as_deref());
    if !event.feeds.is_empty() {
        fields.labelled("cs1", "threatFeeds", event.feed_names().join(" "));
    }
    if let Some(entry) = event.entry {
        fields.labelled("cs2", "threatEntry", entry);
    }
    if let Some(rule) = &event.rule {
        fields.labelled("cs3", "policyRule", rule);
    }
    if let Some(via) = event.via {
        fields.labelled("cs4", "viaProxy", via);
    }
    if let Some(service) = &event.service {
        fields.labelled("cs5", "service", service);
    }
    if let Some(confidence) = event.confidence {
        fields.labelled("cn1", "confidence", confidence.percent());
    }
    fields.labelled("cn2", "threatRevision", event.revision);
}

/// The extension, field by field.
#[derive(Default)]
struct Fields(String);

impl Fields {
    fn add(&mut self, name: &str, value: impl ToString) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(name);
        self.0.push('=');
        for c in value.to_string().chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '=' => self.0.push_str("\\="),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                c if c.is_control() => self.0.push(' '),
                c => self.0.push(c),
            }
        }
    }

    fn some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn labelled(&mut self, name: &str, label: &str, value: impl ToString) {
        self.add(&format!("{name}Label"), label);
        self.add(name, value);
    }

    /// `src` and `dst` are IPv4 in CEF; IPv6 has custom fields.
    fn address(&mut self, four: &str, six: &str, label: &str, address: Option<IpAddr>) {
        match address {
            Some(address @ IpAddr::V4(_)) => self.add(four, address),
            Some(address @ IpAddr::V6(_)) => self.labelled(six, label, address),
            None => {}
        }
    }
}

/// A field of the header: `|` and `\` escaped, on one line.
fn header(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | '|' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
