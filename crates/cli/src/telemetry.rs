//! `xshield ruleset`, `programmed` and `ports`: the ruleset of a host, what its kernel has, and its listening
//! ports.

use clap::Args;
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::open::Open;
use xshield_api::telemetry::{Compiled, Hits, Listening, Programmed};
use xshield_policy::{DirectionRules, Mode, Peer, Peers, Rule, Ruleset, StanceRules, Subject};
use xshield_wire::foreign;
use xshield_wire::message::{DirectionState, ListeningPort};

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{KeyValueList, Output, Screen, Table, cell, good, number, warning};
use crate::times::relative;
use crate::words::field;

/// Compiled rulesets.
#[derive(Debug, Args)]
pub struct RulesetCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: RulesetAction,
}

#[derive(Debug, clap::Subcommand)]
enum RulesetAction {
    /// Show the ruleset that an asset should have.
    Show {
        /// Name or id.
        asset: String,
    },
}

impl RulesetCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let RulesetAction::Show { asset } = self.action;
        let action = "show the ruleset";
        let answer = Client::of_this_call()?.get(action, &Path::of_asset(&asset, &["ruleset"]))?;
        self.output.show(&answer, |screen| {
            let Compiled { compiled_at, ruleset, .. } = view(action, &answer)?;
            let compiled = relative(compiled_at, Timestamp::now());
            Ok(format!(
                "{asset}: revision {}, compiled {compiled}\n{}",
                ruleset.revision,
                ruleset_text(&ruleset, screen)
            ))
        })
    }
}

fn ruleset_text(ruleset: &Ruleset, screen: &Screen) -> String {
    let mut sheet = KeyValueList::new();
    let mut table = Table::new(
        &["DIRECTION", "MODE", "VERDICT", "RULE", "PEERS", "SERVICES", "PROCESS"],
        "No rule applies to this asset.",
    );
    for (name, rules) in [("inbound", &ruleset.inbound), ("outbound", &ruleset.outbound)] {
        sheet.line(name, state_text(name, DirectionState::of(rules)));
        for (stance, rules) in shown_rules(rules) {
            for (verdict, rules) in [("block", &rules.blocks), ("allow", &rules.allows)] {
                for rule in rules {
                    let verdict = if verdict == "allow" { good(verdict) } else { warning(verdict) };
                    let mut row = vec![cell(name), cell(stance), verdict];
                    row.extend(rule_cells(rule));
                    table.row(row);
                }
            }
        }
    }
    format!("{}\n{}", sheet.render(), table.render(screen))
}

/// The rules by mode; for test mode, those that are additional.
fn shown_rules(rules: &DirectionRules) -> Vec<(&'static str, StanceRules)> {
    let mut shown = vec![("enforce", rules.enforced.clone())];
    if let Some(tested) = &rules.tested {
        let besides = |tested: &[Rule], enforced: &[Rule]| {
            tested.iter().filter(|rule| !enforced.contains(rule)).cloned().collect()
        };
        let blocks = besides(&tested.blocks, &rules.enforced.blocks);
        let allows = besides(&tested.allows, &rules.enforced.allows);
        shown.push(("test", StanceRules { subject: tested.subject, blocks, allows }));
    }
    shown
}

fn state_text(direction: &str, state: DirectionState) -> String {
    let internet = if direction == "inbound" { "from the internet" } else { "to the internet" };
    let text = |subject| match subject {
        Subject::Nothing => "traffic without a matching rule is allowed".to_owned(),
        Subject::Internet => format!("traffic {internet} without a matching rule is denied"),
        Subject::Everything => "traffic without a matching rule is denied".to_owned(),
    };
    let subject = text(state.subject);
    match (state.mode, state.tested) {
        (Mode::Enforce, None) => format!("{subject} (enforce)"),
        (Mode::Enforce, Some(tested)) => {
            format!("{subject} (enforce); {} (test: recorded, not dropped)", text(tested))
        }
        (Mode::Test, _) => format!("{subject} (test: recorded, not dropped)"),
    }
}

fn rule_cells(rule: &Rule) -> [comfy_table::Cell; 4] {
    let services: Vec<_> = rule.services.iter().map(ToString::to_string).collect();
    let program = match rule.program() {
        None => "-".to_owned(),
        // As in the heading of the column.
        Some(program) if program.user().is_none() && program.unit().is_none() => program.into(),
        Some(program) => program.to_string(),
    };
    [cell(rule.id.as_str()), cell(peers_text(&rule.peers)), cell(services.join(" ")), cell(program)]
}

/// The maximum number of peers in a row.
const MANY: usize = 8;

fn peers_text(peers: &Peers) -> String {
    let listed = match peers {
        Peers::Any => return "any".to_owned(),
        Peers::Listed(listed) if listed.is_empty() => return "nobody".to_owned(),
        Peers::Listed(listed) => listed,
    };
    let text = |peer: &Peer| match peer {
        Peer::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Peer::Net(net) => net.to_string(),
        Peer::Domain(domain) => domain.to_string(),
        Peer::Intranet => "intranet".to_owned(),
        Peer::Internet => "internet".to_owned(),
    };
    let mut texts: Vec<_> = listed.iter().take(MANY).map(text).collect();
    if listed.len() > MANY {
        texts.push(format!("and {} more (--json shows all)", listed.len() - MANY));
    }
    texts.join(" ")
}

/// Show the rules that were read back from an asset's kernel, with hit counts.
#[derive(Debug, Args)]
pub struct ProgrammedCommand {
    #[command(flatten)]
    output: Output,
    /// Name or id.
    asset: String,
    /// Also print the tables in nft's own syntax.
    #[arg(long)]
    nft: bool,
}

const UNTOLD: &str = "The last report has no nft listing; request it with: xshield asset resend";

impl ProgrammedCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "show the programmed rules";
        let path = Path::of_asset(&self.asset, &["programmed"]);
        let answer = Client::of_this_call()?.get(action, &path)?;
        self.output.show(&answer, |screen| {
            let programmed: Programmed = view(action, &answer)?;
            // The text of the host is requested explicitly: it is printed at the end, each line indented.
            let nft = answer["report"]["text"].as_str();
            let mut text = programmed_text(&programmed, Timestamp::now(), screen);
            if self.nft {
                text.push_str("\n\n");
                for line in nft.unwrap_or(UNTOLD).split('\n') {
                    text.push_str(&format!("  {}\n", foreign::lines(line)));
                }
            }
            Ok(text)
        })
    }
}

fn programmed_text(programmed: &Programmed, now: Timestamp, screen: &Screen) -> String {
    let report = &programmed.report;
    let mut sheet = KeyValueList::new();
    sheet.line("revision", report.in_force.revision.to_string());
    sheet.line("read back", relative(programmed.read_at, now));
    sheet.line("inbound", state_text("inbound", report.inbound));
    sheet.line("outbound", state_text("outbound", report.outbound));
    for rule in &report.unenforceable {
        let text = format!("{} {}: {}", rule.direction, rule.rule, rule.reason);
        sheet.line("not enforceable", text);
    }
    let header = &["DIRECTION", "RULE", "PACKETS", "BYTES", "LAST HIT"];
    let mut table = Table::new(header, "No rule has matched a packet yet.");
    for Hits { hits, last_hit } in &programmed.hits {
        table.row(vec![
            cell(hits.direction.to_string()),
            cell(hits.rule.as_str()),
            number(hits.packets),
            number(hits.bytes),
            cell(relative(*last_hit, now)),
        ]);
    }
    format!("{}\n{}", sheet.render(), table.render(screen))
}

/// Show the ports on which an asset's programs listen.
#[derive(Debug, Args)]
pub struct PortsCommand {
    #[command(flatten)]
    output: Output,
    /// Name or id.
    asset: String,
}

impl PortsCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "show the listening ports";
        let path = Path::of_asset(&self.asset, &["ports"]);
        let answer = Client::of_this_call()?.get(action, &path)?;
        self.output.show(&answer, |screen| ports_text(action, &answer, screen))
    }
}

fn ports_text(action: &str, answer: &Value, screen: &Screen) -> Result<String, CliError> {
    let Listening { mut ports, .. } = view(action, answer)?;
    let order = |port: &Open<ListeningPort>| {
        port.known().map(|port| (port.protocol, port.port, port.address))
    };
    ports.sort_by_key(order);
    let header = &["PROTOCOL", "ADDRESS", "PORT", "PROCESS", "PATH", "UID"];
    let mut table = Table::new(header, "No program listens, except on the loopback interface.");
    for port in ports {
        let port = match port {
            Open::Known(port) => port,
            Open::Unknown(port) => {
                let columns = ["protocol", "address", "port", "process", "path", "uid"];
                table.row(columns.iter().map(|name| cell(field(&port, name))).collect());
                continue;
            }
        };
        let or_dash = |text: Option<String>| cell(text.as_deref().unwrap_or("-"));
        let process = match (port.process, port.service) {
            (Some(process), Some(service)) => Some(format!("{process} ({service})")),
            (process, service) => process.or(service),
        };
        table.row(vec![
            cell(port.protocol.to_string()),
            cell(port.address.to_string()),
            number(port.port.into()),
            or_dash(process),
            or_dash(port.path),
            port.uid.map_or_else(|| cell("-"), |uid| number(uid.into())),
        ]);
    }
    Ok(table.render(screen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ruleset_as_text() {
        let many: Vec<_> = (0..12).map(|n| json!({"net": format!("10.0.0.{n}/32")})).collect();
        let ruleset = json!({
            "asset": "id-web", "revision": 3,
            "failsafe": {"platform": [], "management": []},
            "intranet": [], "intranet_domains": [],
            "inbound": {"subject": "everything", "mode": "enforce",
                "blocks": [{"id": "bad/telnet", "peers": "any", "services": ["tcp/23"]}],
                "allows": [{"id": "web/https", "peers": {"listed": [{"net": "10.0.0.0/8"}, "internet"]},
                            "services": ["tcp/443", "udp/443"], "process": "nginx"},
                           {"id": "web/none", "peers": {"listed": []}, "services": ["any"]},
                           {"id": "web/many", "peers": {"listed": many}, "services": ["icmp"]}]},
            "outbound": {"subject": "nothing", "mode": "test", "blocks": [], "allows": []},
        });
        let ruleset = serde_json::from_value(ruleset).unwrap();
        insta::assert_snapshot!(ruleset_text(&ruleset, &Screen::plain()), @r"
        inbound   traffic without a matching rule is denied (enforce)
        outbound  traffic without a matching rule is allowed (test: recorded, not dropped)

        DIRECTION  MODE     VERDICT  RULE        PEERS                                                                                                  SERVICES         PROCESS
        inbound    enforce  block    bad/telnet  any                                                                                                    tcp/23           -
        inbound    enforce  allow    web/https   10.0.0.0/8 internet                                                                                    tcp/443 udp/443  nginx
        inbound    enforce  allow    web/none    nobody                                                                                                 any              -
        inbound    enforce  allow    web/many    10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 and 4 more (--json shows all)  icmp             -
        ");
    }

    #[test]
    fn programmed_rules_as_text() {
        let programmed = json!({
            "read_at": "2027-01-15T07:59:00Z", "received_at": "2027-01-15T07:59:01Z",
            "report": {
                "in_force": {"revision": 3, "digest": "A".repeat(43) + "="},
                "inbound": {"subject": "everything", "mode": "enforce"},
                "outbound": {"subject": "internet", "mode": "test"},
                "hits": [], "text": "table inet xshield {}",
                "unenforceable": [{"rule": "web/out", "direction": "outbound", "reason": "no cgroup"}],
            },
            "hits": [{"rule": "web/https", "direction": "inbound", "packets": 1200, "bytes": 99,
                      "last_hit": "2027-01-15T07:59:00Z"}],
        });
        let programmed = serde_json::from_value(programmed).unwrap();
        let text = programmed_text(&programmed, Timestamp(1_800_000_000), &Screen::plain());
        insta::assert_snapshot!(text, @r"
        revision         3
        read back        1 min ago
        inbound          traffic without a matching rule is denied (enforce)
        outbound         traffic to the internet without a matching rule is denied (test: recorded, not dropped)
        not enforceable  outbound web/out: no cgroup

        DIRECTION  RULE       PACKETS  BYTES  LAST HIT
        inbound    web/https     1200     99  1 min ago
        ");
    }

    #[test]
    fn ports_in_a_table() {
        let answer = json!({"read_at": "2027-01-15T07:59:00Z", "received_at": "2027-01-15T07:59:00Z", "ports": [
            {"protocol": "udp", "address": "0.0.0.0", "port": 53, "process": null, "path": null, "uid": 0},
            {"protocol": "tcp", "address": "::", "port": 443, "process": "nginx\u{1b}[2J",
             "path": "/usr/sbin/nginx", "uid": 33},
            {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "process": "sshd",
             "path": "/usr/sbin/sshd", "uid": 0},
        ]});
        insta::assert_snapshot!(ports_text("", &answer, &Screen::plain()).unwrap(), @r"
        PROTOCOL  ADDRESS  PORT  PROCESS    PATH             UID
        tcp       0.0.0.0    22  sshd       /usr/sbin/sshd     0
        tcp       ::        443  nginx�[2J  /usr/sbin/nginx   33
        udp       0.0.0.0    53  -          -                  0
        ");
    }
}
