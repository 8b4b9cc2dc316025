//! Alerts as mail. Names that hosts chose occur in subjects and texts: characters that could break a line, or
//! control a terminal, are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use xshield_model::alert::{Alert, EventView, FirstSeen};
use xshield_store::alerts::StoredAlert;

/// The maximum length of a subject, in characters.
const MAX_SUBJECT: usize = 160;
/// The maximum number of rows in a digest's table.
const MAX_ROWS: usize = 100;

/// Subject and text for one alert.
#[must_use]
pub fn one(alert: &Alert, platform: &str) -> (String, String) {
    let subject = subject(&format!("[Xshield] {}", alert.summary));
    let mut text = format!("{}\n\n", line(&alert.summary));
    let mut fact = |name: &str, value: String| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name:<14}{}", line(&value));
    };
    fact("When", alert.at.to_rfc3339());
    fact("Alert rule", alert.rule.clone());
    if let Some(counted) = alert.counted {
        fact("Counted", format!("{counted} within the rule's window"));
    }
    if let Some(event) = &alert.event {
        for (name, value) in facts(event) {
            fact(name, value);
        }
    }
    if alert.withheld > 0 {
        fact("Withheld", format!("{} similar alerts since the last one", alert.withheld));
    }
    text.push_str(&footer(platform));
    (subject, text)
}

fn facts(event: &EventView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Asset", event.asset.clone()),
        ("Direction", word(&event.direction)),
        ("Peer", event.remote.to_string()),
    ];
    if let Some(via) = event.via {
        facts.push((
            "Via proxy",
            format!(
                "{via}; the host's firewall only sees this address and can't block the peer: \
                 block it at the proxy"
            ),
        ));
    }
    let service = event
        .destination_port()
        .map_or_else(|| event.protocol.to_string(), |port| format!("{}/{port}", event.protocol));
    facts.push((
        "Service",
        match event.local {
            Some(local) if word(&event.direction) == "inbound" => format!("{service} at {local}"),
            _ => service,
        },
    ));
    for (name, value) in [
        ("Process", &event.process),
        ("Unit", &event.service),
        ("Request", &event.request),
        ("Allowed by", &event.rule),
    ] {
        if let Some(value) = value {
            facts.push((name, value.clone()));
        }
    }
    for listed in &event.feeds {
        facts.push(("Feed", format!("{}: {} ({})", listed.feed, listed.entry, listed.confidence)));
    }
    facts.push((
        "Action",
        if event.blockable_at_host {
            word(&event.action)
        } else {
            "recorded (not blockable at the host)".to_owned()
        },
    ));
    facts.push(("Packets", event.packets.to_string()));
    facts.push(match event.first_seen() {
        FirstSeen::At(at) => ("First seen", at.to_rfc3339()),
        FirstSeen::Since(since) => ("Since", since.to_rfc3339()),
    });
    facts.push(("Last seen", event.last_seen.to_rfc3339()));
    facts
}

/// Subject and text for many alerts: one row for each rule, asset and peer, the most frequent first.
#[must_use]
pub fn digest(alerts: &[StoredAlert], platform: &str) -> (String, String) {
    let mut groups: BTreeMap<(String, String), (u64, &Alert)> = BTreeMap::new();
    let mut assets = BTreeSet::new();
    let mut peers = BTreeSet::new();
    let mut withheld = 0_u64;
    for StoredAlert { alert, .. } in alerts {
        withheld = withheld.saturating_add(alert.withheld);
        let about = alert.event.as_ref().map_or_else(
            || alert.summary.clone(),
            |event| {
                assets.insert(event.asset.as_str());
                peers.insert(event.remote);
                format!("{} {}", event.asset, event.remote)
            },
        );
        let (count, last) = groups.entry((alert.rule.clone(), about)).or_insert((0, alert));
        *count += 1;
        *last = alert;
    }
    let subject = subject(&format!(
        "[Xshield] {} alerts on {} about {}",
        alerts.len(),
        counted(assets.len(), "asset", "assets"),
        counted(peers.len(), "address", "addresses"),
    ));
    let mut text = format!(
        "{} alerts from {} to {}, on {}, about {}.\n",
        alerts.len(),
        alerts.first().map(|first| first.alert.at.to_rfc3339()).unwrap_or_default(),
        alerts.last().map(|last| last.alert.at.to_rfc3339()).unwrap_or_default(),
        counted(assets.len(), "asset", "assets"),
        counted(peers.len(), "address", "addresses"),
    );
    if withheld > 0 {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{withheld} more similar alerts were withheld.");
    }
    text.push('\n');
    let mut rows: Vec<_> = groups.into_iter().collect();
    rows.sort_by(|(_, (a, _)), (_, (b, _))| b.cmp(a));
    let more = rows.len().saturating_sub(MAX_ROWS);
    for ((rule, _), (count, last)) in rows.into_iter().take(MAX_ROWS) {
        let _ = writeln!(text, "{count:>6} x {} [{}]", line(&last.summary), line(&rule));
    }
    if more > 0 {
        let _ = writeln!(text, "       and {more} more rows: see 'xshield alert list'.");
    }
    text.push_str(&footer(platform));
    (subject, text)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn footer(platform: &str) -> String {
    format!(
        "\n-- \nXshield at {}\nDetails: xshield alert list, xshield threat events\n",
        line(platform)
    )
}

fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A text on one line, without control characters.
#[must_use]
pub fn line(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

fn subject(text: &str) -> String {
    let text = line(text);
    match text.char_indices().nth(MAX_SUBJECT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
