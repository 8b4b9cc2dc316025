//! OCSF 1.3.0, class 2004 Detection Finding.
//!
//! Not 4001 Network Activity: that class is for flows, one record each, and has no place for what was
//! found and why. A match is a finding (the list's rule said so), with the flow as its evidence.

use serde_json::{Map, Value, json};
use xshield_policy::{Direction, Protocol};
use xshield_wire::threat::ThreatAction;

use super::alert::{Alert, EventView, Severity};
use crate::clock::Timestamp;

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
            "version": "1.3.0",
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

fn add_event(finding: &mut Map<String, Value>, event: &EventView) {
    let blocked = event.action == ThreatAction::Blocked;
    if blocked {
        finding["metadata"]["profiles"] = json!(["security_control"]);
        finding.insert("action_id".to_owned(), json!(2));
        finding.insert("disposition_id".to_owned(), json!(2));
        finding.insert("disposition".to_owned(), json!("Blocked"));
    } else {
        finding["metadata"]["profiles"] = json!(["security_control"]);
        finding.insert("action_id".to_owned(), json!(3));
        finding.insert("disposition_id".to_owned(), json!(15));
        finding.insert("disposition".to_owned(), json!("Detected"));
    }
    finding["finding_info"]["first_seen_time"] = json!(milliseconds(event.first_seen));
    finding["finding_info"]["last_seen_time"] = json!(milliseconds(event.last_seen));
    finding.insert("count".to_owned(), json!(event.packets));
    if let Some(confidence) = event.confidence {
        finding.insert("confidence_score".to_owned(), json!(confidence.percent()));
    }
    finding.insert("evidences".to_owned(), json!([evidence(event)]));
    finding.insert(
        "resources".to_owned(),
        json!([{ "type": "host", "name": event.asset, "uid": event.asset_id }]),
    );
    finding.insert(
        "observables".to_owned(),
        json!([{ "name": "peer", "type_id": 2, "type": "IP Address", "value": event.remote }]),
    );
    let enrichments: Vec<Value> = event
        .feeds
        .iter()
        .map(|listed| {
            json!({
                "name": "peer",
                "value": event.remote,
                "provider": listed.feed,
                "type": "threat-list",
                "data": { "entry": listed.entry, "confidence": listed.confidence },
            })
        })
        .collect();
    finding.insert("enrichments".to_owned(), Value::from(enrichments));
    finding["unmapped"]["blockable_at_host"] = json!(event.blockable_at_host);
    for (name, value) in [
        ("policy_rule", event.rule.clone()),
        ("service", event.service.clone()),
        ("via_proxy", event.via.map(|via| via.to_string())),
        ("request", event.request.clone()),
    ] {
        if let Some(value) = value {
            finding["unmapped"][name] = Value::from(value);
        }
    }
}

fn evidence(event: &EventView) -> Value {
    let port = Some(event.port).filter(|port| *port != 0);
    let mut peer = json!({ "ip": event.remote });
    let mut host = json!({ "hostname": event.asset, "uid": event.asset_id });
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
    if let Some(port) = port {
        destination["port"] = json!(port);
    }
    let number = match (event.protocol, event.remote) {
        (Protocol::Tcp, _) => 6,
        (Protocol::Udp, _) => 17,
        (Protocol::Icmp, std::net::IpAddr::V4(_)) => 1,
        (Protocol::Icmp, std::net::IpAddr::V6(_)) => 58,
        (Protocol::Other(number), _) => number,
    };
    let mut evidence = json!({
        "src_endpoint": source,
        "dst_endpoint": destination,
        "connection_info": {
            "direction_id": direction.0,
            "direction": direction.1,
            "protocol_num": number,
            "protocol_name": event.protocol.to_string(),
        },
    });
    if let Some(process) = &event.process {
        evidence["process"] = json!({ "name": process });
    }
    evidence
}

fn milliseconds(time: Timestamp) -> i64 {
    time.0.saturating_mul(1000)
}
