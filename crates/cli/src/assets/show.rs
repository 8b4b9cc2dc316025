//! Assets as tables and text.

use comfy_table::Cell;
use xshield_api::Timestamp;
use xshield_api::assets::{Activity, Asset, PastProblem, Protected, Protection, Spark};
use xshield_api::open::Open;
use xshield_api::threat_status::{AssetThreat, List};
use xshield_api::words::counted;
use xshield_wire::message::{InForce, Status};

use super::claims::{claim_text, is_trouble};
use crate::tags::tags_text;
use crate::terminal::{KeyValueList, Table, bad, cell, good, number, warning};
use crate::times::{relative, relative_or_dash};
use crate::words::{field, word};

/// Assets, one per line.
pub(super) fn table(assets: Vec<Asset>, now: Timestamp) -> Table {
    let header = &[
        "NAME",
        "SPARK",
        "STATUS",
        "INBOUND",
        "OUTBOUND",
        "SEGMENTS",
        "REVISION",
        "CHECK-IN",
        "ADDRESSES",
        "TAGS",
    ];
    let mut table = Table::new(header, "No asset matches.");
    for asset in assets {
        let spark = &asset.spark;
        table.row(vec![
            cell(asset.name.as_str()),
            activity(spark),
            status(&asset),
            cell(closed(&asset, |protection| &protection.inbound).unwrap_or("-")),
            cell(closed(&asset, |protection| &protection.outbound).unwrap_or("-")),
            cell(in_short(segments(&asset), 3, " ")),
            revision(spark),
            cell(relative_or_dash(spark.last_check_in, now)),
            cell(in_short(&asset.addresses, 4, " ")),
            cell(tags_text(&asset.tags)),
        ]);
    }
    table
}

/// Level and mode of a direction.
fn closed(asset: &Asset, of: fn(&Protection) -> &Option<String>) -> Option<&str> {
    of(asset.protection.as_ref()?).as_deref()
}

fn segments(asset: &Asset) -> &[String] {
    asset.protection.as_ref().map_or(&[], |protection| &protection.segments)
}

/// The first of many; `--json` has all.
fn in_short(texts: &[impl ToString], most: usize, between: &str) -> String {
    let shown = texts.iter().take(most).map(ToString::to_string);
    let shown = shown.collect::<Vec<_>>().join(between);
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown}{between}and {more} more"),
    }
}

fn activity(spark: &Spark) -> Cell {
    let text = word(&spark.activity);
    match spark.activity.known() {
        Some(Activity::Active | Activity::Online) => good(text),
        Some(Activity::Offline | Activity::Decommissioned) => bad(text),
        Some(Activity::Late | Activity::Inactive | Activity::Never) | None => warning(text),
    }
}

fn activity_text(spark: &Spark) -> String {
    let activity = word(&spark.activity);
    match (spark.missed, spark.interval) {
        (Some(0), Some(interval)) => format!("{activity}, every {interval} s"),
        (Some(missed), Some(interval)) => {
            let missed = counted(missed, "check-in");
            format!("{activity}, missed {missed} of one every {interval} s")
        }
        _ => activity,
    }
}

fn status(asset: &Asset) -> Cell {
    if asset.pending_identity.is_some() {
        return bad("identity changed");
    }
    if let Some(refusal) = &asset.spark.refused {
        return bad(format!("check-in refused: {}", refusal.detail));
    }
    let waiting = asset.claims.iter().filter(|claim| is_trouble(claim)).count();
    let text = protection_text(asset);
    let text = match (waiting, asset.spark.problems.len()) {
        (0, 0) => text,
        (0, problems) => format!("{text}, {}", counted(problems, "problem")),
        (waiting, _) => format!("{text}, {waiting} waiting"),
    };
    match asset.protection.as_ref().and_then(|protection| protection.state.known()) {
        Some(Protected::Enforced) if waiting == 0 && asset.spark.problems.is_empty() => good(text),
        Some(Protected::Enforced | Protected::LastKnown | Protected::TestOnly) => warning(text),
        Some(Protected::No) | None => bad(text),
    }
}

/// Whether an asset is protected, and why not; if the platform does not say, the state that its host reports.
fn protection_text(Asset { protection, spark, .. }: &Asset) -> String {
    match protection {
        Some(protection) => protection.words.clone(),
        None => status_text(&spark.status),
    }
}

fn status_text(status: &Open<Status>) -> String {
    match status {
        Open::Known(Status::Enforcing) => "enforcing".to_owned(),
        Open::Known(Status::NoPolicy) => "no-policy".to_owned(),
        Open::Known(Status::Blocked { by }) => format!("blocked: {by}"),
        Open::Known(Status::Failed { reason }) => format!("failed: {reason}"),
        Open::Unknown(status) => {
            let fields = status.as_object().into_iter().flatten();
            let reasons = fields.filter(|(name, _)| *name != "state");
            let reasons = reasons.map(|(name, value)| {
                format!(
                    " {name}={}",
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                )
            });
            format!("{}{}", field(status, "state"), reasons.collect::<String>())
        }
    }
}

/// The revision in force, and the desired one if it differs.
fn revision(spark: &Spark) -> Cell {
    let number = |held: &Option<InForce>| {
        held.as_ref().map_or_else(|| "-".to_owned(), |held| held.revision.to_string())
    };
    let (got, want) = (number(&spark.in_force), number(&spark.wanted));
    match (spark.up_to_date, got == want) {
        (true, _) => cell(got),
        (false, true) => warning(format!("{got} (older)")),
        (false, false) => warning(format!("{got} → {want}")),
    }
}

const NOW: &[&str] = &["CODE", "DESCRIPTION", "SINCE", "LAST SEEN", "TIMES"];
const PAST: &[&str] = &["CODE", "DESCRIPTION", "FIRST SEEN", "LAST SEEN", "TIMES"];

/// Current problems, then past ones.
pub(super) fn problems(all: Vec<PastProblem>, now: Timestamp) -> [Table; 2] {
    let (current, past): (Vec<_>, Vec<_>) = all.into_iter().partition(|problem| problem.current);
    let table = |problems: Vec<PastProblem>, header, none| {
        let mut table = Table::new(header, none);
        for problem in problems {
            table.row(vec![
                if problem.current { bad(problem.code) } else { cell(problem.code) },
                cell(problem.text),
                cell(relative(problem.first_seen, now)),
                cell(relative(problem.last_seen, now)),
                number(problem.times),
            ]);
        }
        table
    };
    [table(current, NOW, "The host reports no problem."), table(past, PAST, "No past problems.")]
}

/// Everything known about one asset.
pub(super) fn sheet(asset: Asset, now: Timestamp) -> KeyValueList {
    let Asset { spark, .. } = &asset;
    let held = |held: &Option<InForce>| {
        held.as_ref().map_or_else(
            || "none".to_owned(),
            |held| format!("revision {}, digest {}", held.revision, held.digest.to_base64()),
        )
    };
    let mut sheet = KeyValueList::new();
    sheet.line("name", asset.name.as_str());
    sheet.line("id", asset.id.as_str());
    sheet.line("source", format!("{} {}", word(&asset.source), spark.version));
    sheet.line("tags", tags_text(&asset.tags));
    sheet.line("addresses", in_short(&asset.addresses, 50, "\n"));
    for claim in &asset.claims {
        sheet.line("host reports", claim_text(claim, now));
    }
    sheet.line("system", format!("{}, kernel {}", asset.os, asset.kernel));
    sheet.line("registered", relative(asset.created_at, now));
    sheet.line("last check-in", relative_or_dash(spark.last_check_in, now));
    sheet.line("activity", activity_text(spark));
    if let Some(refusal) = &spark.refused {
        sheet.line("check-in refused", &refusal.detail);
        let (first, last) = (relative(refusal.first_at, now), relative(refusal.last_at, now));
        sheet.line("", format!("times: {}, first {first}, last {last}", refusal.times));
    }
    sheet.line("protection", protection_text(&asset));
    let named = in_short(segments(&asset), 50, " ");
    sheet.line("segments", if named.is_empty() { "none".to_owned() } else { named });
    let inbound = closed(&asset, |protection| &protection.inbound);
    let outbound = closed(&asset, |protection| &protection.outbound);
    sheet.line("inbound", inbound.unwrap_or("no policy"));
    sheet.line("outbound", outbound.unwrap_or("no policy"));
    sheet.line("status", status_text(&spark.status));
    sheet.line("in force", held(&spark.in_force));
    sheet
        .line("wanted", if spark.up_to_date { "the same".to_owned() } else { held(&spark.wanted) });
    for route in &spark.routes {
        let failure = route.last_failure.as_ref().map(|failure| {
            format!(
                ", failed {}: {}",
                relative(Timestamp::from_unix(failure.at), now),
                failure.reason
            )
        });
        let used = if route.in_use { " (in use)" } else { "" };
        sheet.line("route", format!("{}{used}{}", route.route, failure.unwrap_or_default()));
    }
    if let Some(usage) = &spark.usage {
        let core = f64::from(usage.cpu) / 10.0;
        sheet.line("agent uses", format!("{core} % of a core, {} MiB", usage.memory / 1024));
    }
    for problem in &spark.problems {
        sheet.line("problem", format!("{}: {}", problem.code, problem.text));
    }
    for finding in asset.findings.iter().flatten() {
        sheet.line("finding", format!("{}: {}", finding.code, finding.text));
    }
    if let Some(threat) = &asset.threat {
        threat_lines(&mut sheet, threat, now);
    }
    sheet.line("events lost", asset.events_lost.to_string());
    if let Some(key) = &asset.registered_with {
        sheet.line("registered with", format!("key {key}"));
    }
    sheet.line("fingerprint", asset.fingerprint.to_string());
    waiting_lines(&mut sheet, &asset, now);
    sheet
}

/// The pending identity keys, and what to do about them.
fn waiting_lines(sheet: &mut KeyValueList, asset: &Asset, now: Timestamp) {
    for (index, waiting) in asset.waiting_identities.iter().flatten().enumerate() {
        let label = if index == 0 { "waiting" } else { "also waiting" };
        let from =
            waiting.from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
        let key = match waiting.key.as_str() {
            "" => "an unknown key".to_owned(),
            key => format!("key {key}"),
        };
        sheet.line(label, waiting.fingerprint.to_string());
        sheet.line(
            "",
            format!(
                "requests: {}, first {}, last {}; from {from} with {key}",
                waiting.attempts,
                relative(waiting.since, now),
                relative(waiting.last_seen, now),
            ),
        );
    }
    let Some(pending) = &asset.pending_identity else { return };
    let name = &asset.name;
    let is_another = asset.spark.last_check_in.is_some_and(|last| last > pending.since);
    let advice = if is_another {
        format!(
            "{name} itself has checked in since: there are two machines. Give the other one\n\
             a name of its own with name: in its configuration."
        )
    } else {
        format!(
            "Another machine claims the name {name}. If it is a different one, set name: in\n\
             its configuration. If it is the same one, reinstalled, compare the fingerprint\n\
             that the machine shows (ctspark status, ctagentcmd status), then:\n\
             xshield asset approve-identity {name} --fingerprint sha256:…"
        )
    };
    sheet.line("", advice);
}

fn threat_lines(sheet: &mut KeyValueList, threat: &AssetThreat, now: Timestamp) {
    let list = |list: &Option<List>| match list {
        None => "none".to_owned(),
        Some(list) if list.least_confidence == 0 => {
            format!("revision {}, all {}", list.revision, counted(list.entries, "entry"))
        }
        Some(list) => format!(
            "revision {}, INCOMPLETE: {} of {}; entries below {} % confidence are omitted",
            list.revision,
            list.entries,
            counted(list.whole_entries, "entry"),
            list.least_confidence
        ),
    };
    sheet.line("threat list", list(&threat.in_force));
    if !threat.up_to_date {
        sheet.line("threat wanted", list(&threat.wanted));
    }
    if let (Some(inbound), Some(outbound)) = (&threat.inbound, &threat.outbound) {
        let (inbound, outbound) = (word(inbound), word(outbound));
        sheet.line("threat mode", format!("inbound {inbound}, outbound {outbound}"));
    }
    if let Some(bytes) = threat.budget {
        sheet.line("threat budget", format!("{} MiB", bytes >> 20));
    }
    if let Some(at) = threat.verified_at {
        sheet.line("threat verified", relative(at, now));
    }
    if let Some(failure) = &threat.failure {
        sheet.line("threat failure", failure);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::terminal::Screen;

    /// A fingerprint that consists of one digit.
    fn fingerprint(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    /// The text with such fingerprints shortened, and the digest of zeros as a `d`.
    fn cut(mut text: String) -> String {
        for digit in ["a", "b", "c"] {
            text = text.replace(&digit.repeat(64), &digit.repeat(2));
        }
        text.replace(&format!("{}=", "A".repeat(43)), "d")
    }

    fn asset(name: &str, spark: Value) -> Value {
        let state = match (spark["activity"].as_str(), spark["status"]["state"].as_str()) {
            (Some("inactive"), _) => ("last-known", "enforcing when last seen"),
            (_, Some("enforcing")) => ("enforced", "enforcing"),
            (_, Some("failed")) => {
                ("last-known", "failed: disk full; the previous ruleset stays in force")
            }
            (_, Some("blocked")) => ("no", "not protected: blocked: firewalld"),
            _ => ("no", "not protected: the host has registered but not checked in yet"),
        };
        let protection = json!({
            "state": state.0, "words": state.1, "reason": null, "segments": ["web"],
            "inbound": "secure-all-ports (enforce)", "outbound": "unsecured",
        });
        json!({
            "protection": protection,
            "id": format!("id-{name}"), "name": name, "source": "spark",
            "tags": {"role": "web"}, "addresses": ["10.0.0.1", "2001:db8::1"],
            "os": "debian 12", "kernel": "6.1.0", "identity": "key", "fingerprint": fingerprint("a"),
            "pending_identity": null, "decommissioned_at": null, "claims": [],
            "created_at": "2027-01-10T08:00:00Z", "events_lost": 0, "spark": spark,
        })
    }

    fn spark(activity: &str, status: Value, in_force: Option<u64>, wanted: Option<u64>) -> Value {
        let held = |revision: Option<u64>| {
            revision.map(|r| json!({"revision": r, "digest": format!("{}=", "A".repeat(43))}))
        };
        json!({
            "activity": activity, "inactive_since": null, "version": "0.1.0", "interval": null,
            "missed": null, "routes": [], "usage": null, "compile_failure": null, "refused": null,
            "last_check_in": (activity != "never").then_some("2027-01-15T07:58:00Z"),
            "status": status, "in_force": held(in_force), "wanted": held(wanted),
            "up_to_date": in_force == wanted, "nothing_enforced": null, "problems": [],
        })
    }

    fn refusal() -> Value {
        json!({"reason": "signature-wrong", "detail": "Wrong request signature", "times": 7,
               "first_at": "2027-01-15T07:00:00Z", "last_at": "2027-01-15T07:59:00Z"})
    }

    #[test]
    fn assets_in_a_table() {
        let mut changed =
            asset("moved", spark("inactive", json!({"state": "enforcing"}), Some(1), Some(2)));
        changed["pending_identity"] = json!({"identity": "key", "fingerprint": fingerprint("b"), "since": "2027-01-15T07:00:00Z"});
        let mut refused =
            asset("old", spark("active", json!({"state": "enforcing"}), Some(2), Some(2)));
        refused["spark"]["refused"] = refusal();
        refused["addresses"] = (1..=9).map(|last| format!("10.0.0.{last}")).collect();
        let assets = json!([
            asset("web", spark("active", json!({"state": "enforcing"}), Some(2), Some(2))),
            asset(
                "db",
                spark("active", json!({"state": "blocked", "by": "firewalld"}), None, Some(2))
            ),
            asset("new", spark("never", json!({"state": "no-policy"}), None, None)),
            changed,
            refused,
        ]);
        let assets = serde_json::from_value(assets).unwrap();
        let text = table(assets, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        NAME   SPARK     STATUS                                                         INBOUND                     OUTBOUND   SEGMENTS  REVISION  CHECK-IN   ADDRESSES                                       TAGS
        web    active    enforcing                                                      secure-all-ports (enforce)  unsecured  web       2         2 min ago  10.0.0.1 2001:db8::1                            role=web
        db     active    not protected: blocked: firewalld                              secure-all-ports (enforce)  unsecured  web       - → 2     2 min ago  10.0.0.1 2001:db8::1                            role=web
        new    never     not protected: the host has registered but not checked in yet  secure-all-ports (enforce)  unsecured  web       -         -          10.0.0.1 2001:db8::1                            role=web
        moved  inactive  identity changed                                               secure-all-ports (enforce)  unsecured  web       1 → 2     2 min ago  10.0.0.1 2001:db8::1                            role=web
        old    active    check-in refused: Wrong request signature                      secure-all-ports (enforce)  unsecured  web       2         2 min ago  10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 and 5 more  role=web
        ");
    }

    #[test]
    fn one_asset_as_a_sheet() {
        let mut failed =
            spark("active", json!({"state": "failed", "reason": "disk full"}), Some(1), Some(2));
        failed["refused"] = refusal();
        failed["problems"] = json!([{"code": "dns-stale", "text": "no answer for a.example"}]);
        let mut asset = asset("web", failed);
        asset["pending_identity"] = json!({"identity": "key", "fingerprint": fingerprint("b"), "since": "2027-01-15T07:59:00Z"});
        asset["waiting_identities"] = json!([
            {"identity": "key", "fingerprint": fingerprint("b"), "key": "abc", "from": "10.0.0.9", "attempts": 12,
             "since": "2027-01-15T07:59:00Z", "last_seen": "2027-01-15T08:00:00Z"},
            {"identity": "key", "fingerprint": fingerprint("c"), "key": "", "from": null, "attempts": 1,
             "since": "2027-01-15T07:59:30Z", "last_seen": "2027-01-15T07:59:30Z"},
        ]);
        asset["registered_with"] = "abc".into();
        let asset = serde_json::from_value(asset).unwrap();
        insta::assert_snapshot!(cut(sheet(asset, Timestamp(1_800_000_000)).render()), @r"
        name              web
        id                id-web
        source            spark 0.1.0
        tags              role=web
        addresses         10.0.0.1
                          2001:db8::1
        system            debian 12, kernel 6.1.0
        registered        5 days ago
        last check-in     2 min ago
        activity          active
        check-in refused  Wrong request signature
                          times: 7, first 1 h ago, last 1 min ago
        protection        failed: disk full; the previous ruleset stays in force
        segments          web
        inbound           secure-all-ports (enforce)
        outbound          unsecured
        status            failed: disk full
        in force          revision 1, digest d
        wanted            revision 2, digest d
        problem           dns-stale: no answer for a.example
        events lost       0
        registered with   key abc
        fingerprint       sha256:aa
        waiting           sha256:bb
                          requests: 12, first 1 min ago, last now; from 10.0.0.9 with key abc
        also waiting      sha256:cc
                          requests: 1, first 30 s ago, last 30 s ago; from an unknown address with an unknown key
                          Another machine claims the name web. If it is a different one, set name: in
                          its configuration. If it is the same one, reinstalled, compare the fingerprint
                          that the machine shows (ctspark status, ctagentcmd status), then:
                          xshield asset approve-identity web --fingerprint sha256:…
        ");
    }
}
