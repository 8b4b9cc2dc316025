//! `xshield asset`: the managed hosts and their state.

mod claims;
mod show;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::assets::{Asset, AssetChange, AssetQuery, AssetStanding};
use xshield_api::claims::{Approval, Rejection, Running};
use xshield_api::commands::NewAssetCommand;
use xshield_policy::names::{Name, TagKey, TagValue};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::CommandKind;

use crate::choice::words_of;
use crate::client::{Client, NoBody, Path, view};
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
    /// Show everything known about an asset.
    Show {
        /// Name or id.
        asset: String,
    },
    /// Set tags (KEY=VALUE) and remove tags (KEY-).
    Tag {
        /// Name or id.
        asset: String,
        /// E.g. role=web, owner-.
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        changes: Vec<TagChange>,
    },
    /// Delete an asset and everything it reported; a host that still runs registers again.
    Delete {
        /// Name or id.
        asset: String,
    },
    /// List what hosts report about themselves and an operator has to decide about.
    Claims,
    /// Accept what a host reports about itself: an address, or its name, os or source.
    Accept(claims::About),
    /// Refuse what a host reports about itself, now and in future; an accepted address is removed.
    Refuse(claims::About),
    /// Rename an asset.
    Rename {
        /// Name or id.
        asset: String,
        /// The new name.
        name: Name,
    },
    /// Accept an identity key for an asset, e.g. after its host was reinstalled.
    ApproveIdentity(ApproveIdentity),
    /// Reject an identity key that waits for approval, permanently.
    RejectIdentity {
        /// Name or id.
        asset: String,
        /// The fingerprint of the identity key; `xshield asset show` lists the keys that wait.
        #[arg(long, value_name = "sha256:…")]
        fingerprint: IdentityFingerprint,
    },
    /// Decommission an asset: its host is refused, its history stays.
    Decommission {
        /// Name or id.
        asset: String,
    },
    /// Reinstate a decommissioned asset.
    Reinstate {
        /// Name or id.
        asset: String,
    },
    /// Show the problems that a host reported, current and past.
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
    /// Approve it even if the machine that has the asset still checks in: that one loses the asset.
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
    /// Only those with this status.
    #[arg(long, value_parser = words_of(standing))]
    status: Option<AssetStanding>,
    /// Only those in this segment of the committed policy.
    #[arg(long)]
    segment: Option<String>,
    /// Only those that match a criteria expression, e.g. "environment = 'prod' and role = 'web'".
    #[arg(long = "where", value_name = "CRITERIA")]
    criteria: Option<String>,
    /// How many to show at most; all when left out.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// What each status means.
pub(crate) fn standing(standing: &AssetStanding) -> Option<&'static str> {
    Some(match standing {
        AssetStanding::Unprotected => {
            "Not protected: neither its host nor the policy enforces anything"
        }
        AssetStanding::Problems => "Its host reports problems",
        AssetStanding::Active => "Ran within the last five minutes",
        AssetStanding::Inactive => "Ran, but longer ago",
        AssetStanding::Never => "Never ran",
        AssetStanding::Enforcing => "Reports that its ruleset is in the kernel",
        AssetStanding::Blocked => "Another program manages its firewall",
        AssetStanding::Failed => "Could not enforce its ruleset",
        AssetStanding::NoPolicy => "Has no policy yet",
        AssetStanding::Outdated => "Does not have the desired ruleset",
        AssetStanding::IdentityChanged => "Another identity key waits for approval",
        AssetStanding::Waiting => "What its host reports about itself waits for a decision",
        AssetStanding::Refused => "Its check-ins are refused",
        AssetStanding::Online => "Has a resident agent that checks in on time",
        AssetStanding::Late => "Has a resident agent that missed one or two check-ins",
        AssetStanding::Offline => "Has a resident agent that missed three check-ins or more",
        AssetStanding::Decommissioned => "Decommissioned",
    })
}

impl AssetCommand {
    /// Runs the command.
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
                let body = AssetChange { tags: tag_changes(changes) };
                let answer = client.patch(action, &Path::of_asset(&asset, &[]), &body)?;
                output.show(&answer, |_| {
                    let asset: Asset = view(action, &answer)?;
                    Ok(format!("{}: {}", asset.name.as_str(), tags_text(&asset.tags)))
                })
            }
            Action::Delete { asset } => {
                let answer = client.delete("delete the asset", &Path::of_asset(&asset, &[]))?;
                output.show(&answer, |_| Ok(format!("Deleted asset {asset}.")))
            }
            Action::Claims => claims::list(&client, output),
            Action::Accept(about) => about.decide(&client, output, claims::Decision::Accept),
            Action::Refuse(about) => about.decide(&client, output, claims::Decision::Refuse),
            Action::Rename { asset, name } => claims::rename(&client, output, &asset, name),
            Action::ApproveIdentity(approve) => approve.run(&client, output),
            Action::RejectIdentity { asset, fingerprint } => {
                let path = Path::of_asset(&asset, &["identity", "reject"]);
                let body = Rejection { fingerprint };
                let answer = client.post("reject the identity key", &path, &body)?;
                output.show(&answer, |_| {
                    Ok(format!("Rejected {fingerprint}; {asset} keeps its key."))
                })
            }
            Action::Decommission { asset } => {
                let path = Path::of_asset(&asset, &["decommission"]);
                let answer = client.post("decommission the asset", &path, &NoBody {})?;
                output.show(&answer, |_| {
                    Ok(format!(
                        "{asset} is decommissioned. To reinstate it: xshield asset reinstate \
                         {asset}"
                    ))
                })
            }
            Action::Reinstate { asset } => {
                let path = Path::of_asset(&asset, &["reinstate"]);
                let answer = client.post("reinstate the asset", &path, &NoBody {})?;
                output.show(&answer, |_| Ok(format!("{asset} is in service again.")))
            }
            Action::Problems { asset } => {
                let action = "show the problems";
                let answer = client.get(action, &Path::of_asset(&asset, &["problems"]))?;
                output.show(&answer, |screen| {
                    let [current, past] = problems(view(action, &answer)?, Timestamp::now());
                    Ok(format!(
                        "Current:\n{}\n\nPast:\n{}",
                        current.render(screen),
                        past.render(screen)
                    ))
                })
            }
            Action::Resend { asset } => {
                let path = Path::of_asset(&asset, &["commands"]);
                let body = NewAssetCommand {
                    kind: CommandKind::Resend,
                    duration_seconds: None,
                    expires_in_seconds: None,
                };
                let answer = client.post("send the command", &path, &body)?;
                output.show(&answer, |_| {
                    Ok(format!("{asset} sends all its reports again after its next check-in."))
                })
            }
        }
    }
}

fn tag_changes(changes: Vec<TagChange>) -> BTreeMap<TagKey, Option<TagValue>> {
    let one = |change| match change {
        TagChange::Set(tag) => {
            let (key, value) = tag.into_pair();
            (key, Some(value))
        }
        TagChange::Remove(key) => (key, None),
    };
    changes.into_iter().map(one).collect()
}

impl ApproveIdentity {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let Self { asset, fingerprint, replace_running } = self;
        let path = Path::of_asset(&asset, &["identity", "approve"]);
        let running = if replace_running { Running::Replace } else { Running::Keep };
        let body = Approval { fingerprint, running };
        let answer = client.post("approve the identity key", &path, &body)?;
        output.show(&answer, |_| {
            Ok(format!("{asset} is now the host with {fingerprint}; its previous key is refused."))
        })
    }
}

impl List {
    fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let action = "list assets";
        let path = Path::of(&["assets"]).of_query(&AssetQuery {
            name: self.name,
            tag: Some(self.tags.join(",")).filter(|tags| !tags.is_empty()),
            status: self.status,
            segment: self.segment,
            criteria: self.criteria,
        })?;
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
    use serde_json::json;

    use super::*;

    #[test]
    fn tag_changes_become_api_requests() {
        let changes = ["role=web", "owner-"].map(|text| text.parse().unwrap());
        assert_eq!(json!(tag_changes(changes.into())), json!({"role": "web", "owner": null}));
    }
}
