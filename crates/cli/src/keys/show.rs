//! Enforcement keys as tables and text.

use comfy_table::Cell;
use xshield_api::Timestamp;
use xshield_api::keys::{Host, Key, KeyKind, KeyState};

use crate::tags::tags_text;
use crate::terminal::{KeyValueList, Table, bad, cell, good, number, warning};
use crate::times::{relative, relative_or_dash};
use crate::words::word;

fn state(key: &Key) -> Cell {
    match (key.state.known(), key.kind.known()) {
        (Some(KeyState::Active), _) => good("active"),
        // That is its purpose.
        (Some(KeyState::UsedUp), Some(KeyKind::Token)) => cell("used"),
        (Some(KeyState::Revoked), _) => bad("revoked"),
        (Some(other), _) => warning(word(other).replace('-', " ")),
        (None, _) => warning(word(&key.state)),
    }
}

/// How many hosts registered, of how many that may.
fn registrations(key: &Key) -> String {
    match key.max_registrations {
        Some(most) => format!("{} of {most}", key.registrations),
        None => key.registrations.to_string(),
    }
}

fn expires(key: &Key, now: Timestamp) -> String {
    key.expires_at.map_or_else(|| "never".to_owned(), |at| relative(at, now))
}

/// Keys, one per line.
pub(super) fn table(keys: Vec<Key>, now: Timestamp) -> Table {
    let header =
        &["ID", "KIND", "NAME", "STATE", "TAGS", "EXPIRES", "REGISTERED", "HOSTS NOW", "LAST USED"];
    let mut table = Table::new(header, "There are no enforcement keys.");
    for key in keys {
        table.row(vec![
            cell(&key.id),
            cell(word(&key.kind)),
            cell(&key.name),
            state(&key),
            cell(tags_text(&key.tags)),
            cell(expires(&key, now)),
            cell(registrations(&key)),
            number(key.hosts),
            cell(relative_or_dash(key.last_used_at, now)),
        ]);
    }
    table
}

/// Everything known about a key.
pub(super) fn sheet(key: Key, now: Timestamp) -> KeyValueList {
    let mut sheet = KeyValueList::new();
    sheet.line("id", &key.id);
    sheet.line("kind", word(&key.kind));
    sheet.line("name", &key.name);
    sheet.line("state", word(&key.state).replace('-', " "));
    sheet.line("tags", tags_text(&key.tags));
    if let Some(name) = &key.bound_name {
        sheet.line("for host", name.as_str());
    }
    let networks = key
        .allowed_networks
        .as_ref()
        .map(|networks| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    sheet.line("registers from", networks.unwrap_or_else(|| "anywhere".to_owned()));
    sheet.line("created", format!("{} by {}", relative(key.created_at, now), key.created_by));
    sheet.line("expires", expires(&key, now));
    if let Some(at) = key.revoked_at {
        sheet.line("revoked", relative(at, now));
    }
    if let Some(next) = &key.replaced_by {
        sheet.line("replaced by", next);
    }
    let last = key.last_registered_at.map(|at| format!(", last {}", relative(at, now)));
    sheet.line("registered", format!("{}{}", registrations(&key), last.unwrap_or_default()));
    let from = key.last_used_from.as_ref().map(|from| format!(" from {from}"));
    let used = relative_or_dash(key.last_used_at, now);
    sheet.line("last used", format!("{used}{}", from.unwrap_or_default()));
    sheet.line("hosts now", key.hosts.to_string());
    sheet
}

/// Which registered hosts still use a replaced key.
pub(super) fn users(key: &Key, first: &[Host]) -> String {
    let names: Vec<&str> = first.iter().map(|host| host.name.as_str()).collect();
    let more = key.hosts.saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    match key.hosts {
        0 => "No registered host uses the old key. ".to_owned(),
        _ => format!(
            "Registered hosts that use the old key keep working: {}{more}. ",
            names.join(", ")
        ),
    }
}

/// The hosts that use a key.
pub(super) fn hosts(hosts: Vec<Host>, now: Timestamp) -> Table {
    let mut table = Table::new(&["HOST", "LAST SESSION", "FROM"], "No host uses it now.");
    for host in hosts {
        table.row(vec![
            cell(host.name.as_str()),
            cell(relative(host.last_session, now)),
            cell(host.from.map_or_else(|| "-".to_owned(), |from| from.to_string())),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::terminal::Screen;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn key(id: &str, changes: Value) -> Value {
        let mut key = json!({
            "id": id, "kind": "key", "name": "web", "state": "active",
            "tags": {"role": "web", "env": "prod"}, "bound_name": null, "max_registrations": null,
            "allowed_networks": null, "created_at": "2027-01-15T07:57:00Z",
            "created_by": "user:admin", "expires_at": "2027-04-15T08:00:00Z", "revoked_at": null,
            "replaced_by": null, "registrations": 3, "last_registered_at": "2027-01-15T07:00:00Z",
            "hosts": 2, "last_used_at": "2027-01-15T08:00:00Z", "last_used_from": "10.0.0.1",
        });
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn keys_in_a_table() {
        let keys = json!([
            key("abc", json!({})),
            key(
                "def",
                json!({"name": "old", "state": "revoked", "tags": {}, "expires_at": null,
                              "hosts": 0, "last_used_at": null})
            ),
            key(
                "ghi",
                json!({"state": "expiring", "expires_at": "2027-01-20T08:00:00Z",
                              "max_registrations": 10})
            ),
            key(
                "jkl",
                json!({"kind": "token", "name": "db-2", "state": "used-up", "tags": {},
                              "registrations": 1, "max_registrations": 1, "hosts": 1})
            ),
        ]);
        let keys = serde_json::from_value(keys).unwrap();
        insta::assert_snapshot!(table(keys, NOW).render(&Screen::plain()), @r"
        ID   KIND   NAME  STATE     TAGS               EXPIRES     REGISTERED  HOSTS NOW  LAST USED
        abc  key    web   active    env=prod role=web  in 90 days  3                   2  now
        def  key    old   revoked   -                  never       3                   0  -
        ghi  key    web   expiring  env=prod role=web  in 5 days   3 of 10             2  now
        jkl  token  db-2  used      -                  in 90 days  1 of 1              1  now
        ");
    }

    #[test]
    fn hosts_that_still_use_a_key() {
        let host = |name: &str| {
            serde_json::from_value(
                json!({"asset": "as-1", "name": name, "last_session": NOW, "from": null}),
            )
            .unwrap()
        };
        for (hosts, first, told) in [
            (0, vec![], "No registered host uses the old key. "),
            (
                2,
                vec![host("a"), host("b")],
                "Registered hosts that use the old key keep working: a, b. ",
            ),
            (
                7,
                vec![host("a")],
                "Registered hosts that use the old key keep working: a and 6 more. ",
            ),
        ] {
            let key = serde_json::from_value(key("abc", json!({"hosts": hosts}))).unwrap();
            assert_eq!(users(&key, &first), told);
        }
    }

    #[test]
    fn one_key_as_a_sheet() {
        let changes = json!({"kind": "token", "state": "used-up", "bound_name": "db-2",
                             "registrations": 1, "max_registrations": 1,
                             "allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]});
        let key = serde_json::from_value(key("abc", changes)).unwrap();
        insta::assert_snapshot!(sheet(key, NOW).render(), @r"
        id              abc
        kind            token
        name            web
        state           used up
        tags            env=prod role=web
        for host        db-2
        registers from  10.0.0.0/8
                        2001:db8::/32
        created         3 min ago by user:admin
        expires         in 90 days
        registered      1 of 1, last 1 h ago
        last used       now from 10.0.0.1
        hosts now       2
        ");
    }
}
