//! `xshield asset`: the managed hosts and how they stand.

mod claims;
mod show;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use xshield_api::Timestamp;
use xshield_api::assets::Asset;
use xshield_wire::fingerprint::IdentityFingerprint;

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::keys::warn_of_expiring_keys;
use crate::tags::{TagChange, tags_text};
use crate::terminal::Output;
use show::{problems, sheet, table};

/// Managed hosts.
#[derive(Debug, Args)]
pub struct AssetCommand {
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
    /// Show what hosts say of themselves and waits for an operator.
    Claims,
    /// Hold what a host says of itself: an address, or its name, os or source.
    Accept(claims::About),
    /// Do not hold what a host says of itself, now and later; take an address from it.
    Refuse(claims::About),
    /// Give an asset another name.
    Rename {
        /// Name or id.
        asset: String,
        /// The new name.
        name: String,
    },
    /// Accept an identity key for an asset, e.g. after its host was installed anew.
    ApproveIdentity(ApproveIdentity),
    /// Turn an identity key that waits for an asset away, for good.
    RejectIdentity {
        /// Name or id.
        asset: String,
        /// The fingerprint of the identity key; `xshield asset show` lists those that wait.
        #[arg(long, value_name = "sha256:…")]
        fingerprint: IdentityFingerprint,
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
struct ApproveIdentity {
    /// Name or id.
    asset: String,
    /// The fingerprint that the host itself shows: `ctspark status` or `ctagentcmd status`.
    #[arg(long, value_name = "sha256:…")]
    fingerprint: IdentityFingerprint,
    /// Also when the machine that has the asset goes on checking in: it loses the asset.
    #[arg(long)]
    replace_running: bool,
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
    /// Only those that match a criteria expression, e.g. "environment = 'prod' and role = 'web'".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<String>,
    /// At most so many; all when left out.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Standing {
    /// Not protected: nothing is enforced by its host or by the policy.
    Unprotected,
    /// Its host told of problems.
    Problems,
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
    /// What its host says of itself waits for an operator.
    Waiting,
    /// Its check-ins are refused.
    Refused,
    /// A resident agent that checks in as it said.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// Taken out of service.
    Decommissioned,
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
                let answer = client.get(action, &Path::of_asset(&asset, &[]))?;
                show(action, &answer, output)
            }
            Action::Tag { asset, changes } => {
                let action = "change the asset's tags";
                let body = json!({ "tags": tag_changes(changes) });
                let answer = client.patch(action, &Path::of_asset(&asset, &[]), &body)?;
                output.show(&answer, |_| {
                    let asset: Asset = view(action, &answer)?;
                    Ok(format!("{}: {}", asset.name.as_str(), tags_text(&asset.tags)))
                })
            }
            Action::Delete { asset } => {
                let answer = client.delete("delete the asset", &Path::of_asset(&asset, &[]))?;
                output.show(&answer, |_| Ok(format!("Asset {asset} is forgotten.")))
            }
            Action::Claims => claims::list(&client, output),
            Action::Accept(about) => about.decide(&client, output, claims::Decision::Accept),
            Action::Refuse(about) => about.decide(&client, output, claims::Decision::Refuse),
            Action::Rename { asset, name } => claims::rename(&client, output, &asset, &name),
            Action::ApproveIdentity(approve) => approve.run(&client, output),
            Action::RejectIdentity { asset, fingerprint } => {
                let path = Path::of_asset(&asset, &["identity", "reject"]);
                let body = json!({ "fingerprint": fingerprint });
                let answer = client.post("reject the identity key", &path, &body)?;
                output.show(&answer, |_| {
                    Ok(format!("{fingerprint} is turned away; {asset} keeps the key it had."))
                })
            }
            Action::Decommission { asset } => {
                let path = Path::of_asset(&asset, &["decommission"]);
                let answer = client.post("decommission the asset", &path, &json!({}))?;
                output.show(&answer, |_| {
                    Ok(format!(
                        "{asset} is out of service; back with: xshield asset reinstate {asset}"
                    ))
                })
            }
            Action::Reinstate { asset } => {
                let path = Path::of_asset(&asset, &["reinstate"]);
                let answer = client.post("reinstate the asset", &path, &json!({}))?;
                output.show(&answer, |_| Ok(format!("{asset} is in service again.")))
            }
            Action::Problems { asset } => {
                let action = "show the problems";
                let answer = client.get(action, &Path::of_asset(&asset, &["problems"]))?;
                output.show(&answer, |screen| {
                    let [current, past] = problems(view(action, &answer)?, Timestamp::now());
                    Ok(format!(
                        "Now:\n{}\n\nOver:\n{}",
                        current.render(screen),
                        past.render(screen)
                    ))
                })
            }
            Action::Resend { asset } => {
                let path = Path::of_asset(&asset, &["commands"]);
                let answer =
                    client.post("give the command", &path, &json!({ "kind": "resend" }))?;
                output.show(&answer, |_| {
                    Ok(format!("{asset} sends everything again after its next check-in."))
                })
            }
        }
    }
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

impl ApproveIdentity {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let Self { asset, fingerprint, replace_running } = self;
        let path = Path::of_asset(&asset, &["identity", "approve"]);
        let running = if replace_running { "replace" } else { "keep" };
        let body = json!({ "fingerprint": fingerprint, "running": running });
        let answer = client.post("approve the identity key", &path, &body)?;
        output.show(&answer, |_| {
            Ok(format!("{asset} is now the host with {fingerprint}; the key before is refused."))
        })
    }
}

impl List {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "list assets";
        let status = self.status.and_then(|status| status.to_possible_value());
        let path = Path::of(&["assets"])
            .with_some("name", self.name)
            .with_some("tag", Some(self.tags.join(",")).filter(|tags| !tags.is_empty()))
            .with_some("status", status.map(|status| status.get_name().to_owned()))
            .with_some("segment", self.segment)
            .with_some("where", self.criteria);
        let answer = client.list(action, &path, self.limit)?;
        if !output.is_json() {
            warn_of_expiring_keys(client);
        }
        output.show(&answer, |screen| {
            Ok(table(view(action, &answer["items"])?, Timestamp::now()).render(screen))
        })
    }
}

fn show(action: &str, answer: &Value, output: Output) -> Result<(), CliError> {
    output.show(answer, |_| Ok(sheet(view(action, answer)?, Timestamp::now()).render()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_changes_become_what_the_api_takes() {
        let changes = ["role=web", "owner-"].map(|text| text.parse().unwrap());
        assert_eq!(Value::from(tag_changes(changes.into())), json!({"role": "web", "owner": null}));
    }
}
