//! What hosts report about themselves and operators decide on.

use clap::Args;
use xshield_api::Timestamp;
use xshield_api::assets::Asset;
use xshield_api::claims::{self as api, Claim, ClaimStanding, Named, Reason};
use xshield_api::open::Open;
use xshield_policy::names::Name;

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{Output, Table, cell};
use crate::times::relative;
use crate::words::word;

/// The claim of an asset.
#[derive(Debug, Args)]
pub(super) struct About {
    /// Name or id.
    asset: String,
    /// An address, or name, os or source.
    what: String,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Accept it.
    Accept,
    /// Refuse it.
    Refuse,
}

impl About {
    pub(super) fn decide(
        &self,
        client: &Client,
        output: Output,
        decision: Decision,
    ) -> Result<(), CliError> {
        let Self { asset, what } = self;
        let (action, word) = match decision {
            Decision::Accept => ("accept what the host reports", "accept"),
            Decision::Refuse => ("refuse what the host reports", "refuse"),
        };
        let body = api::About { what: what.clone() };
        let answer = client.post(action, &Path::of_asset(asset, &["claims", word]), &body)?;
        output.show(&answer, |_| {
            let Asset { name, .. } = view(action, &answer)?;
            Ok(match (decision, what.as_str()) {
                (Decision::Accept, "name") => format!("The asset is now called {name}."),
                (Decision::Accept, _) => format!("{name}: accepted {what}."),
                (Decision::Refuse, _) => format!("{name}: refused {what}, now and in future."),
            })
        })
    }
}

/// Renames an asset.
pub(super) fn rename(
    client: &Client,
    output: Output,
    asset: &str,
    name: Name,
) -> Result<(), CliError> {
    let path = Path::of_asset(asset, &["rename"]);
    let body = Named { name };
    let answer = client.post("rename the asset", &path, &body)?;
    output.show(&answer, |_| Ok(format!("{asset} is now called {}.", body.name)))
}

/// Lists pending claims.
pub(super) fn list(client: &Client, output: Output) -> Result<(), CliError> {
    let action = "list what waits for a decision";
    let answer = client.get(action, &Path::of(&["claims"]))?;
    output
        .show(&answer, |screen| Ok(table(view(action, &answer)?, Timestamp::now()).render(screen)))
}

fn table(claims: Vec<Claim>, now: Timestamp) -> Table {
    let header = &["ASSET", "HOST REPORTS", "WAITS BECAUSE", "SINCE"];
    let mut table = Table::new(header, "Nothing waits for a decision.");
    for claim in claims {
        table.row(vec![
            cell(claim.asset.as_str()),
            cell(says(&claim)),
            cell(reason(&claim.reason)),
            cell(relative(claim.since, now)),
        ]);
    }
    table
}

/// A claim in a line of its asset's sheet.
pub(super) fn claim_text(claim: &Claim, now: Timestamp) -> String {
    let since = relative(claim.since, now);
    match claim.standing.known() {
        Some(ClaimStanding::Waiting) => {
            format!("{}; reported {since}, waiting: {}", says(claim), reason(&claim.reason))
        }
        _ => format!("{}; {}", says(claim), word(&claim.standing)),
    }
}

fn says(claim: &Claim) -> String {
    match claim.fact.as_str() {
        "address-gone" => format!("address {} is gone", claim.value),
        fact => format!("{fact} {}", claim.value),
    }
}

fn reason(reason: &Open<Reason>) -> String {
    let Some(known) = reason.known() else { return word(reason) };
    let text = match known {
        Reason::Renamed => "the asset has another name",
        Reason::NameInPolicy => "the policy names an asset of that name",
        Reason::NameTaken => "another asset has that name",
        Reason::Outside => "outside the networks from which addresses are accepted",
        Reason::Platform => "hosts reach the platform at that address",
        Reason::Management => "the policy names it as a management source",
        Reason::OtherAsset => "another asset has that address",
        Reason::Shared => "other hosts report it too, and none was seen using it",
        Reason::Segments => "the asset would be in other segments",
    };
    text.to_owned()
}

/// Whether an operator should look at a claim.
pub(super) fn is_trouble(claim: &Claim) -> bool {
    claim.standing == ClaimStanding::Waiting && claim.reason.known() != Some(&Reason::Shared)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::terminal::Screen;

    #[test]
    fn pending_claims_in_a_table() {
        let claims = json!([
            {"asset": "db-1", "fact": "name", "value": "localhost", "standing": "waiting",
             "reason": "renamed", "since": "2027-01-15T07:00:00Z"},
            {"asset": "web-1", "fact": "address-gone", "value": "10.66.0.5",
             "standing": "waiting", "reason": "segments", "since": "2027-01-15T07:58:00Z"},
        ]);
        let claims = serde_json::from_value(claims).unwrap();
        let text = table(claims, Timestamp(1_800_000_000)).render(&Screen::plain());
        insta::assert_snapshot!(text, @r"
        ASSET  HOST REPORTS               WAITS BECAUSE                         SINCE
        db-1   name localhost             the asset has another name            1 h ago
        web-1  address 10.66.0.5 is gone  the asset would be in other segments  2 min ago
        ");
    }
}
