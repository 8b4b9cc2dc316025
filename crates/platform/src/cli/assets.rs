//! `xshield asset`: the managed hosts and how they stand.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Cell;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use xshield_platform::clock::Timestamp;

use super::client::{Client, Path, view};
use super::error::CliError;
use super::tags::{TagChange, tags_text};
use super::terminal::{Output, Sheet, Table, bad, cell, good, number, warning};
use super::times::{relative, relative_or_dash};

/// Managed hosts.
#[derive(Debug, Args)]
pub(crate) struct AssetCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List assets.
    List(List),
    /// Show all that is known of an asset.
    Show {
        /// Name or id.
        asset: String,
    },
    /// Set tags (KEY=VALUE) and take tags away (KEY-).
    Tag {
        /// Name or id.
        asset: String,
        /// E.g. role=web, owner-.
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        changes: Vec<TagChange>,
    },
    /// Forget an asset and everything it reported; a host that still runs registers again.
    Delete {
        /// Name or id.
        asset: String,
    },
    /// Accept the new identity key of a host, e.g. after it was installed anew.
    ApproveIdentity {
        /// Name or id.
        asset: String,
    },
    /// Turn the new identity key of a host away, for good.
    RejectIdentity {
        /// Name or id.
        asset: String,
    },
    /// Take an asset out of service: its host is refused, its history stays.
    Decommission {
        /// Name or id.
        asset: String,
    },
    /// Take an asset into service again.
    Reinstate {
        /// Name or id.
        asset: String,
    },
    /// Show what a host wanted you to know, also what is over.
    Problems {
        /// Name or id.
        asset: String,
    },
    /// Have a host send its programmed rules and listening ports again.
    Resend {
        /// Name or id.
        asset: String,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only those with this in their name.
    #[arg(long)]
    name: Option<String>,
    /// Only those with this tag, KEY or KEY=VALUE; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only those that stand so.
    #[arg(long)]
    status: Option<Standing>,
    /// Only those in this segment of the committed policy.
    #[arg(long)]
    segment: Option<String>,
    /// At most so many; all when left out.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Standing {
    /// Ran within five minutes.
    Active,
    /// Ran, but longer ago.
    Inactive,
    /// Never ran.
    Never,
    /// Says that its ruleset is in the kernel.
    Enforcing,
    /// Another program owns its firewall.
    Blocked,
    /// Something failed.
    Failed,
    /// Has not got a policy.
    NoPolicy,
    /// Does not have the ruleset it should have.
    Outdated,
    /// Another identity waits for an operator.
    IdentityChanged,
    /// A resident agent that checks in as it said.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// Taken out of service.
    Decommissioned,
}

#[derive(Deserialize)]
struct Asset {
    id: String,
    name: String,
    source: String,
    tags: BTreeMap<String, String>,
    addresses: Vec<String>,
    os: String,
    kernel: String,
    identity: String,
    pending_identity: Option<PendingIdentity>,
    created_at: Timestamp,
    events_lost: u64,
    spark: Spark,
    #[serde(default)]
    threat: Option<Threat>,
}

#[derive(Deserialize)]
struct Threat {
    inbound: Option<String>,
    outbound: Option<String>,
    wanted: Option<ThreatList>,
    in_force: Option<ThreatList>,
    up_to_date: bool,
    budget: Option<u64>,
    verified_at: Option<Timestamp>,
    failure: Option<String>,
}

#[derive(Deserialize)]
struct ThreatList {
    revision: u64,
    entries: u64,
    whole_entries: u64,
    least_confidence: u8,
}

#[derive(Deserialize)]
struct PendingIdentity {
    identity: String,
    since: Timestamp,
}

#[derive(Deserialize)]
struct Spark {
    activity: String,
    last_check_in: Option<Timestamp>,
    version: String,
    status: Status,
    in_force: Option<Held>,
    wanted: Option<Held>,
    up_to_date: bool,
    nothing_enforced: Option<String>,
    problems: Vec<HostProblem>,
    #[serde(default)]
    interval: Option<u32>,
    #[serde(default)]
    missed: Option<u64>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Status {
    state: String,
    #[serde(default, alias = "by")]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Held {
    revision: u64,
    digest: String,
}

/// One way to the platform.
#[derive(Deserialize)]
struct Route {
    route: String,
    in_use: bool,
    last_failure: Option<RouteFailure>,
}

#[derive(Deserialize)]
struct RouteFailure {
    at: i64,
    reason: String,
}

/// What a resident agent uses.
#[derive(Deserialize)]
struct Usage {
    cpu: u32,
    memory: u64,
}

#[derive(Deserialize)]
struct PastProblem {
    code: String,
    text: String,
    first_seen: Timestamp,
    last_seen: Timestamp,
    times: u64,
    current: bool,
}

#[derive(Deserialize)]
struct HostProblem {
    code: String,
    text: String,
}

impl AssetCommand {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let output = self.output;
        match self.action {
            Action::List(list) => list.run(&client, output),
            Action::Show { asset } => {
                let action = "show the asset";
                let answer = client.get(action, &asset_path(&asset, &[]))?;
                show(action, &answer, output)
            }
            Action::Tag { asset, changes } => {
                let action = "change the asset's tags";
                let body = json!({ "tags": tag_changes(changes) });
                let answer = client.patch(action, &asset_path(&asset, &[]), &body)?;
                output.show(&answer, |_| {
                    let asset: Asset = view(action, &answer)?;
                    Ok(format!("{}: {}", asset.name, tags_text(&asset.tags)))
                })
            }
            Action::Delete { asset } => {
                let answer = client.delete("delete the asset", &asset_path(&asset, &[]))?;
                output.show(&answer, |_| Ok(format!("Asset {asset} is forgotten.")))
            }
            Action::ApproveIdentity { asset } => {
                let path = asset_path(&asset, &["identity", "approve"]);
                let answer = client.post("approve the new identity", &path, &json!({}))?;
                output.show(&answer, |_| {
                    Ok(format!("The new identity of {asset} is accepted; the old one is refused."))
                })
            }
            Action::RejectIdentity { asset } => {
                let path = asset_path(&asset, &["identity", "reject"]);
                let answer = client.post("reject the new identity", &path, &json!({}))?;
                output.show(&answer, |_| {
                    Ok(format!("The new identity is turned away; {asset} keeps the one it had."))
                })
            }
            Action::Decommission { asset } => {
                let path = asset_path(&asset, &["decommission"]);
                let answer = client.post("decommission the asset", &path, &json!({}))?;
                output.show(&answer, |_| {
                    Ok(format!(
                        "{asset} is out of service; back with: xshield asset reinstate {asset}"
                    ))
                })
            }
            Action::Reinstate { asset } => {
                let path = asset_path(&asset, &["reinstate"]);
                let answer = client.post("reinstate the asset", &path, &json!({}))?;
                output.show(&answer, |_| Ok(format!("{asset} is in service again.")))
            }
            Action::Problems { asset } => {
                let action = "show the problems";
                let answer = client.get(action, &asset_path(&asset, &["problems"]))?;
                output.show(&answer, |screen| {
                    Ok(problems(view(action, &answer)?, Timestamp::now()).render(screen))
                })
            }
            Action::Resend { asset } => {
                let path = asset_path(&asset, &["commands"]);
                let answer =
                    client.post("give the command", &path, &json!({ "kind": "resend" }))?;
                output.show(&answer, |_| {
                    Ok(format!("{asset} sends everything again after its next check-in."))
                })
            }
        }
    }
}

/// `/api/v1/assets/{asset}` and what is below it.
pub(super) fn asset_path(asset: &str, below: &[&str]) -> Path {
    let mut segments = vec!["assets", asset];
    segments.extend(below);
    Path::of(&segments)
}

fn tag_changes(changes: Vec<TagChange>) -> Map<String, Value> {
    let one = |change| match change {
        TagChange::Set(tag) => {
            let (key, value) = tag.into_pair();
            (String::from(key), Value::from(String::from(value)))
        }
        TagChange::Remove(key) => (String::from(key), Value::Null),
    };
    changes.into_iter().map(one).collect()
}

impl List {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "list assets";
        let status = self.status.and_then(|status| status.to_possible_value());
        let path = Path::of(&["assets"])
            .with_some("name", self.name)
            .with_some("tag", Some(self.tags.join(",")).filter(|tags| !tags.is_empty()))
            .with_some("status", status.map(|status| status.get_name().to_owned()))
            .with_some("segment", self.segment);
        let answer = client.list(action, &path, self.limit)?;
        output.show(&answer, |screen| {
            Ok(table(view(action, &answer["items"])?, Timestamp::now()).render(screen))
        })
    }
}

fn table(assets: Vec<Asset>, now: Timestamp) -> Table {
    let header = &["NAME", "SPARK", "STATUS", "REVISION", "CHECK-IN", "ADDRESSES", "TAGS"];
    let mut table = Table::new(header, "There are no such assets.");
    for asset in assets {
        let spark = &asset.spark;
        table.row(vec![
            cell(&asset.name),
            activity(spark),
            status(&asset),
            revision(spark),
            cell(relative_or_dash(spark.last_check_in, now)),
            cell(asset.addresses.join(" ")),
            cell(tags_text(&asset.tags)),
        ]);
    }
    table
}

fn activity(spark: &Spark) -> Cell {
    match spark.activity.as_str() {
        state @ ("active" | "online") => good(state),
        other @ ("offline" | "decommissioned") => bad(other),
        other => warning(other),
    }
}

fn activity_text(spark: &Spark) -> String {
    match (spark.missed, spark.interval) {
        (Some(0), Some(interval)) => format!("{}, every {interval} s", spark.activity),
        (Some(missed), Some(interval)) => {
            format!("{}, missed {missed} check-ins of one every {interval} s", spark.activity)
        }
        _ => spark.activity.clone(),
    }
}

fn status(asset: &Asset) -> Cell {
    if asset.pending_identity.is_some() {
        return bad("identity changed");
    }
    let spark = &asset.spark;
    match (spark.status.state.as_str(), spark.problems.len()) {
        ("enforcing", 0) => good("enforcing"),
        ("enforcing", problems) => warning(format!("enforcing, {problems} problems")),
        ("no-policy", _) => warning("no policy"),
        (_, _) => bad(status_text(&spark.status)),
    }
}

fn status_text(status: &Status) -> String {
    match &status.reason {
        Some(reason) => format!("{}: {reason}", status.state),
        None => status.state.clone(),
    }
}

/// In force, and what it should be when that is another one.
fn revision(spark: &Spark) -> Cell {
    let number = |held: &Option<Held>| {
        held.as_ref().map_or_else(|| "-".to_owned(), |held| held.revision.to_string())
    };
    let (got, want) = (number(&spark.in_force), number(&spark.wanted));
    match (spark.up_to_date, got == want) {
        (true, _) => cell(got),
        (false, true) => warning(format!("{got} (older)")),
        (false, false) => warning(format!("{got} → {want}")),
    }
}

fn problems(all: Vec<PastProblem>, now: Timestamp) -> Table {
    let header = &["LAST SEEN", "FIRST SEEN", "TIMES", "STATE", "CODE", "WHAT"];
    let mut table = Table::new(header, "The host never told of a problem.");
    for problem in all {
        let state = if problem.current { bad("current") } else { cell("over") };
        table.row(vec![
            cell(relative(problem.last_seen, now)),
            cell(relative(problem.first_seen, now)),
            number(problem.times),
            state,
            cell(problem.code),
            cell(problem.text),
        ]);
    }
    table
}

fn show(action: &str, answer: &Value, output: Output) -> Result<(), CliError> {
    output.show(answer, |_| Ok(sheet(view(action, answer)?, Timestamp::now()).render()))
}

fn sheet(asset: Asset, now: Timestamp) -> Sheet {
    let Asset { spark, .. } = &asset;
    let held = |held: &Option<Held>| {
        held.as_ref().map_or_else(
            || "none".to_owned(),
            |held| format!("revision {}, digest {}", held.revision, held.digest),
        )
    };
    let mut sheet = Sheet::new();
    sheet.line("name", &asset.name);
    sheet.line("id", &asset.id);
    sheet.line("source", format!("{} {}", asset.source, spark.version));
    sheet.line("tags", tags_text(&asset.tags));
    sheet.line("addresses", asset.addresses.join("\n"));
    sheet.line("system", format!("{}, kernel {}", asset.os, asset.kernel));
    sheet.line("registered", relative(asset.created_at, now));
    sheet.line("last check-in", relative_or_dash(spark.last_check_in, now));
    sheet.line("activity", activity_text(spark));
    sheet.line("status", status_text(&spark.status));
    sheet.line("in force", held(&spark.in_force));
    sheet
        .line("wanted", if spark.up_to_date { "the same".to_owned() } else { held(&spark.wanted) });
    if let Some(reason) = &spark.nothing_enforced {
        sheet.line("enforces nothing", reason);
    }
    for route in &spark.routes {
        let failure = route.last_failure.as_ref().map(|failure| {
            format!(", failed {}: {}", relative(Timestamp(failure.at), now), failure.reason)
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
    if let Some(threat) = &asset.threat {
        threat_lines(&mut sheet, threat, now);
    }
    sheet.line("events lost", asset.events_lost.to_string());
    sheet.line("identity", &asset.identity);
    if let Some(pending) = &asset.pending_identity {
        let since = relative(pending.since, now);
        sheet.line("waiting identity", format!("{}, since {since}", pending.identity));
        sheet.line("", format!("accept it with: xshield asset approve-identity {}", asset.name));
    }
    sheet
}

fn threat_lines(sheet: &mut Sheet, threat: &Threat, now: Timestamp) {
    let list = |list: &Option<ThreatList>| match list {
        None => "none".to_owned(),
        Some(list) if list.least_confidence == 0 => {
            format!("revision {}, all {} entries", list.revision, list.entries)
        }
        Some(list) => format!(
            "revision {}, A PART: {} of {} entries, those below {} % are left out",
            list.revision, list.entries, list.whole_entries, list.least_confidence
        ),
    };
    sheet.line("threat list", list(&threat.in_force));
    if !threat.up_to_date {
        sheet.line("threat wanted", list(&threat.wanted));
    }
    if let (Some(inbound), Some(outbound)) = (&threat.inbound, &threat.outbound) {
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
    use super::*;
    use crate::cli::terminal::Screen;

    fn asset(name: &str, spark: Value) -> Value {
        json!({
            "id": format!("id-{name}"), "name": name, "source": "spark",
            "tags": {"role": "web"}, "addresses": ["10.0.0.1", "2001:db8::1"],
            "os": "debian 12", "kernel": "6.1.0", "identity": "AAAA", "pending_identity": null,
            "created_at": "2027-01-10T08:00:00Z", "events_lost": 0, "spark": spark,
        })
    }

    fn spark(activity: &str, status: Value, in_force: Option<u64>, wanted: Option<u64>) -> Value {
        let held = |revision: Option<u64>| revision.map(|r| json!({"revision": r, "digest": "d"}));
        json!({
            "activity": activity, "inactive_since": null, "version": "0.1.0",
            "last_check_in": (activity != "never").then_some("2027-01-15T07:58:00Z"),
            "status": status, "in_force": held(in_force), "wanted": held(wanted),
            "up_to_date": in_force == wanted, "nothing_enforced": null, "problems": [],
        })
    }

    #[test]
    fn assets_in_a_table() {
        let mut changed =
            asset("moved", spark("inactive", json!({"state": "enforcing"}), Some(1), Some(2)));
        changed["pending_identity"] = json!({"identity": "BBBB", "since": "2027-01-15T07:00:00Z"});
        let assets = json!([
            asset("web", spark("active", json!({"state": "enforcing"}), Some(2), Some(2))),
            asset(
                "db",
                spark("active", json!({"state": "blocked", "by": "firewalld"}), None, Some(2))
            ),
            asset("new", spark("never", json!({"state": "no-policy"}), None, None)),
            changed,
        ]);
        let assets = serde_json::from_value(assets).unwrap();
        let text = table(assets, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        NAME   SPARK     STATUS              REVISION  CHECK-IN   ADDRESSES             TAGS
        web    active    enforcing           2         2 min ago  10.0.0.1 2001:db8::1  role=web
        db     active    blocked: firewalld  - → 2     2 min ago  10.0.0.1 2001:db8::1  role=web
        new    never     no policy           -         -          10.0.0.1 2001:db8::1  role=web
        moved  inactive  identity changed    1 → 2     2 min ago  10.0.0.1 2001:db8::1  role=web
        ");
    }

    #[test]
    fn one_asset_as_a_sheet() {
        let mut failed =
            spark("active", json!({"state": "failed", "reason": "disk full"}), Some(1), Some(2));
        failed["problems"] = json!([{"code": "dns-stale", "text": "no answer for a.example"}]);
        let mut asset = asset("web", failed);
        asset["pending_identity"] = json!({"identity": "BBBB", "since": "2027-01-15T07:00:00Z"});
        let asset = serde_json::from_value(asset).unwrap();
        insta::assert_snapshot!(sheet(asset, Timestamp(1_800_000_000)).render(), @r"
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
        status            failed: disk full
        in force          revision 1, digest d
        wanted            revision 2, digest d
        problem           dns-stale: no answer for a.example
        events lost       0
        identity          AAAA
        waiting identity  BBBB, since 1 h ago
                          accept it with: xshield asset approve-identity web
        ");
    }

    #[test]
    fn tag_changes_become_what_the_api_takes() {
        let changes = ["role=web", "owner-"].map(|text| text.parse().unwrap());
        assert_eq!(Value::from(tag_changes(changes.into())), json!({"role": "web", "owner": null}));
    }
}
