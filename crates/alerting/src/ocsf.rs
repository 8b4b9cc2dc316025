//! OCSF 1.3.0, class 2004 Detection Finding.
//!
//! Not 4001 Network Activity: that class is for flows, one record each, and has no fields for what was found
//! and why. A match is a finding (the list's rule said so), with the flow as its evidence.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use xshield_model::Timestamp;
use xshield_model::alert::{Alert, EventView, FirstSeen, Severity};
use xshield_model::threat_match::ListedBy;
use xshield_policy::protocol::SCTP;
use xshield_policy::{Direction, Protocol};
use xshield_wire::threat::{PolicyVerdict, ThreatAction};

/// The version of the schema.
pub const VERSION: &str = "1.3.0";

/// The alert as a Detection Finding.
#[must_use]
pub fn finding(alert: &Alert, number: i64) -> Value {
    let (severity_id, severity) = match alert.severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    };
    let uid = format!("xshield-alert-{number}");
    let mut finding = json!({
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": 200_401,
        "type_name": "Detection Finding: Create",
        "time": milliseconds(alert.at),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
        "message": alert.summary,
        "metadata": {
            "version": VERSION,
            "uid": uid,
            "product": {
                "name": "Xshield Platform",
                "vendor_name": "Xshield",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "finding_info": {
            "uid": uid,
            "title": alert.name,
            "types": [alert.kind.as_str()],
            "created_time": milliseconds(alert.at),
            "analytic": { "name": alert.rule, "type_id": 1, "type": "Rule" },
        },
        "unmapped": { "withheld": alert.withheld },
    });
    if let (Some(event), Some(fields)) = (&alert.event, finding.as_object_mut()) {
        add_event(fields, event);
    }
    finding
}

/// The finding as JSON, of at most `most` bytes: if there are too many feeds, the last ones are omitted, and
/// counted.
#[must_use]
pub fn text(alert: &Alert, number: i64, most: usize) -> String {
    let mut finding = finding(alert, number);
    let mut left_out = 0;
    loop {
        let text = finding.to_string();
        let enrichments = finding.get_mut("enrichments").and_then(Value::as_array_mut);
        if text.len() <= most || enrichments.and_then(Vec::pop).is_none() {
            return text;
        }
        left_out += 1;
        finding["unmapped"]["feeds_left_out"] = json!(left_out);
    }
}

fn add_event(finding: &mut Map<String, Value>, event: &EventView) {
    // What policy denied did not get through, though the list only recorded it.
    let (action, disposition) = match (event.action, event.policy) {
        (ThreatAction::Blocked, _) | (_, Some(PolicyVerdict::Denied)) => {
            ((2, "Denied"), (2, "Blocked"))
        }
        (ThreatAction::Recorded, _) => ((1, "Allowed"), (15, "Detected")),
    };
    finding["metadata"]["profiles"] = json!(["security_control"]);
    finding.extend([
        ("action_id".to_owned(), json!(action.0)),
        ("action".to_owned(), json!(action.1)),
        ("disposition_id".to_owned(), json!(disposition.0)),
        ("disposition".to_owned(), json!(disposition.1)),
    ]);
    let first_seen = match event.first_seen() {
        FirstSeen::At(at) => {
            finding["finding_info"]["first_seen_time"] = json!(milliseconds(at));
            at
        }
        // A time span begins then; the first packet came later.
        FirstSeen::Since(since) => since,
    };
    finding["finding_info"]["last_seen_time"] = json!(milliseconds(event.last_seen));
    finding.insert("start_time".to_owned(), json!(milliseconds(first_seen)));
    finding.insert("end_time".to_owned(), json!(milliseconds(event.last_seen)));
    // Since `long_t` has eight bytes, `integer_t` is assumed to have four.
    finding.insert("count".to_owned(), json!(i32::try_from(event.packets).unwrap_or(i32::MAX)));
    if let Some(confidence) = event.confidence {
        finding.insert("confidence_score".to_owned(), json!(confidence.percent()));
    }
    finding.insert("evidences".to_owned(), json!([evidence(event)]));
    finding.insert(
        "resources".to_owned(),
        json!([{ "type": "host", "name": event.asset, "uid": event.asset_id }]),
    );
    let peer = match event.direction {
        Direction::Inbound => "evidences[].src_endpoint.ip",
        Direction::Outbound => "evidences[].dst_endpoint.ip",
    };
    finding.insert(
        "observables".to_owned(),
        json!([{ "name": peer, "type_id": 2, "type": "IP Address", "value": event.remote }]),
    );
    let enrichment = |listed: &ListedBy| {
        json!({
            "name": peer,
            "value": event.remote,
            "provider": listed.feed,
            "type": "threat-list",
            "data": { "entry": listed.entry, "confidence": listed.confidence },
        })
    };
    let enrichments: Vec<Value> = event.feeds.iter().map(enrichment).collect();
    finding.insert("enrichments".to_owned(), Value::from(enrichments));
    finding["unmapped"]["blockable_at_host"] = json!(event.blockable_at_host);
    finding["unmapped"]["threat_revision"] = json!(event.revision);
    finding["unmapped"]["packets"] = json!(event.packets);
    for (name, value) in [
        ("policy_rule", event.rule.clone()),
        ("via_proxy", event.via.map(|via| via.to_string())),
        ("request", event.request.clone()),
    ] {
        if let Some(value) = value {
            finding["unmapped"][name] = Value::from(value);
        }
    }
}

fn evidence(event: &EventView) -> Value {
    let mut peer = json!({ "ip": event.remote });
    let mut host = json!({ "name": event.asset, "uid": event.asset_id });
    if is_host_name(&event.asset) {
        host["hostname"] = json!(event.asset);
    }
    if let Some(local) = event.local {
        host["ip"] = json!(local);
    }
    if let Some(via) = event.via {
        peer["intermediate_ips"] = json!([via]);
    }
    let (source, mut destination, direction) = match event.direction {
        Direction::Inbound => (peer, host, (1, "Inbound")),
        Direction::Outbound => (host, peer, (2, "Outbound")),
    };
    if let Some(port) = event.destination_port() {
        destination["port"] = json!(port);
    }
    let (number, name) = match (event.protocol, event.remote) {
        (Protocol::Tcp, _) => (6, Some("tcp")),
        (Protocol::Udp, _) => (17, Some("udp")),
        (Protocol::Icmp, IpAddr::V4(_)) => (1, Some("icmp")),
        (Protocol::Icmp, IpAddr::V6(_)) => (58, Some("ipv6-icmp")),
        (Protocol::Other(SCTP), _) => (SCTP, Some("sctp")),
        (Protocol::Other(number), _) => (number, None),
    };
    let mut connection = json!({
        "direction_id": direction.0,
        "direction": direction.1,
        "protocol_num": number,
        "protocol_ver_id": if event.remote.is_ipv4() { 4 } else { 6 },
    });
    if let Some(name) = name {
        connection["protocol_name"] = json!(name);
    }
    let mut evidence = json!({
        "src_endpoint": source,
        "dst_endpoint": destination,
        "connection_info": connection,
    });
    // Not as a `process`: that requires a process id, which is not known any more.
    for (name, value) in [("process", &event.process), ("service", &event.service)] {
        if let Some(value) = value {
            evidence["data"][name] = json!(value);
        }
    }
    evidence
}

/// Whether a name is valid as a host name in the schema: labels of letters, digits and inner hyphens.
fn is_host_name(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn milliseconds(time: Timestamp) -> i64 {
    time.0.saturating_mul(1000)
}

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
