//! Messages about claims, for operators and people on a host.

use std::collections::BTreeMap;

use xshield_api::claims::Claim as ShownClaim;
use xshield_model::claim::{Claim, ClaimStanding, Fact, Reason};
use xshield_policy::AssetId;
use xshield_policy::names::Name;
use xshield_wire::message::Problem;

/// Names of assets, by id.
pub type Names = BTreeMap<AssetId, Name>;

/// A claim as shown by the API.
#[must_use]
pub fn shown(asset: &Name, claim: &Claim) -> ShownClaim {
    ShownClaim {
        asset: asset.clone(),
        fact: claim.fact.kind().to_owned(),
        value: claim.fact.value(),
        standing: claim.standing.into(),
        reason: claim.reason.into(),
        since: claim.since,
    }
}

/// Messages about the claims of an asset's own host. Nothing is reported for decided claims, or for one that
/// is the same on many hosts.
#[must_use]
pub fn notices(asset: &Name, claims: &[Claim], names: &Names) -> Vec<Problem> {
    let told = claims
        .iter()
        .filter(|claim| claim.standing == ClaimStanding::Waiting && claim.reason != Reason::Shared);
    told.map(|claim| own(asset, claim, names)).collect()
}

/// Messages for an asset about the claims of another host. `claims`: of others, about this one.
#[must_use]
pub fn notices_to_holder(asset: &Name, claims: &[(Name, Claim)]) -> Vec<Problem> {
    let told = claims.iter().filter(|(_, claim)| {
        claim.standing == ClaimStanding::Waiting && claim.reason != Reason::Shared
    });
    told.map(|(claimant, claim)| {
        let text = format!(
            "another host, asset {claimant}, claims {}, which asset {asset} has; nothing was \
             changed. To accept the claim: xshield asset accept {claimant} {}; to reject it: \
             xshield asset refuse {claimant} {}",
            in_words(&claim.fact),
            word(&claim.fact),
            word(&claim.fact)
        );
        Problem { code: code(&claim.fact, "claimed"), text }
    })
    .collect()
}

fn own(asset: &Name, claim: &Claim, names: &Names) -> Problem {
    let what = in_words(&claim.fact);
    let other = claim.other.as_ref();
    let other = other.and_then(|id| names.get(id)).map_or("another asset", Name::as_str);
    let why = match claim.reason {
        Reason::Renamed => format!("the asset is named {asset}"),
        Reason::NameInPolicy => {
            format!("policy refers to an asset of that name; this one is named {asset}")
        }
        Reason::NameTaken => {
            format!("that is the name of another asset; this one is named {asset}")
        }
        Reason::Outside => "that is outside the networks in which claims of hosts are accepted, \
             and no check-in came from there"
            .to_owned(),
        Reason::Platform => "that is where hosts reach the platform".to_owned(),
        Reason::Management => "policy names that as a management source".to_owned(),
        Reason::OtherAsset | Reason::Shared => format!("asset {other} has that address"),
        Reason::Segments => "the asset would be in other segments".to_owned(),
    };
    let word = word(&claim.fact);
    let what_next = format!(
        "until an operator decides, nothing changes: xshield asset accept {asset} {word}, or \
         xshield asset refuse {asset} {word}"
    );
    Problem {
        code: code(&claim.fact, "waits"),
        text: format!("the host of asset {asset} claims {what}, but {why}; {what_next}"),
    }
}

fn code(fact: &Fact, what: &str) -> String {
    format!("{}-{what}", fact.kind())
}

/// As `xshield asset accept` takes it.
fn word(fact: &Fact) -> String {
    match fact {
        Fact::Name(_) | Fact::Os(_) | Fact::Source(_) => fact.kind().to_owned(),
        Fact::Address(address) | Fact::Gone(address) => address.to_string(),
    }
}

fn in_words(fact: &Fact) -> String {
    match fact {
        Fact::Name(name) => format!("the name {name}"),
        Fact::Address(address) => format!("address {address}"),
        Fact::Gone(address) => format!("address {address} no longer"),
        Fact::Os(os) => format!("the system {os}"),
        Fact::Source(_) => format!("another program: {}", fact.value()),
    }
}

/// The message about an asset whose identity another machine has, too.
#[must_use]
pub fn copied_notice(asset: &Name) -> Problem {
    Problem {
        code: "identity-copied".to_owned(),
        text: format!(
            "two machines check in as asset {asset}: one is a copy of the other, identity key \
             included. The original is served, the copy is refused. Run ctspark remove (ctagent \
             remove --clean) on the copy: then it registers as a separate asset"
        ),
    }
}
