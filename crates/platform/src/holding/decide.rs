//! What operators decide about a host's word.

use std::net::IpAddr;

use xshield_model::Timestamp;
use xshield_model::claim::{Claim, Fact, Reason, Standing};
use xshield_policy::inventory::Asset;
use xshield_policy::names::Name;
use xshield_store::assets::StoredAsset;
use xshield_store::audit::Deed;
use xshield_store::{Conn, addresses, assets, audit, claims};

use super::described;
use crate::problem::{Answer, Problem};

/// What an operator decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// An address, or that it is gone.
    Address(IpAddr),
    /// The name that waits.
    Name,
    /// The system that waits.
    Os,
    /// The program that waits.
    Source,
}

impl Decision {
    fn is_about(&self, fact: &Fact) -> bool {
        match (self, fact) {
            (Self::Address(address), Fact::Address(other) | Fact::Gone(other)) => address == other,
            (Self::Name, Fact::Name(_))
            | (Self::Os, Fact::Os(_))
            | (Self::Source, Fact::Source(_)) => true,
            _ => false,
        }
    }
}

impl std::str::FromStr for Decision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "name" => Self::Name,
            "os" => Self::Os,
            "source" => Self::Source,
            _ => Self::Address(text.parse::<IpAddr>().map_err(|_| {
                format!("{text:?} is neither an address nor one of name, os, source")
            })?),
        })
    }
}

/// Everything at hand when an operator decides.
struct Matter {
    held: Asset,
    known: Vec<Claim>,
}

async fn matter(conn: &mut Conn, asset: &StoredAsset) -> Answer<Matter> {
    let tags = assets::tags_of(conn, std::iter::once(&asset.id)).await?.remove(&asset.id);
    let known = claims::of(conn, &asset.id).await?;
    Ok(Matter { held: described(asset, tags.unwrap_or_default()), known })
}

impl Matter {
    fn claim(&self, decision: &Decision) -> Answer<&Claim> {
        // What waits comes before what was decided earlier.
        let about = |standing: Standing| {
            self.known
                .iter()
                .find(|claim| claim.standing == standing && decision.is_about(&claim.fact))
        };
        about(Standing::Waiting).or_else(|| about(Standing::Refused)).ok_or_else(|| {
            let name = &self.held.name;
            Problem::conflict(
                "nothing-waits",
                format!("nothing of that kind waits on asset {name}: xshield asset show {name}"),
            )
        })
    }
}

/// Holds what a host claims.
///
/// # Errors
/// When nothing of the kind waits, or the name is another asset's.
pub(crate) async fn accept(
    conn: &mut Conn,
    asset: &StoredAsset,
    decision: &Decision,
    actor: &str,
    now: Timestamp,
) -> Answer<()> {
    let matter = matter(conn, asset).await?;
    let claim = matter.claim(decision)?.clone();
    let mut held = matter.held.clone();
    let mut standing = None;
    match &claim.fact {
        Fact::Name(name) => return rename(conn, asset, name, actor, now).await,
        Fact::Os(os) => held.os.clone_from(os),
        Fact::Source(source) => held.source = *source,
        Fact::Address(address) => {
            held.addresses.push(*address);
            standing = Some(Standing::Accepted);
        }
        Fact::Gone(address) => held.addresses.retain(|held| held != address),
    }
    addresses::put(conn, &held.id, &matter.held.addresses, &held.addresses, now).await?;
    assets::hold(conn, &held).await?;
    settle(conn, &matter, &claim, standing).await?;
    record(conn, asset, "asset.accept", &claim, actor, now).await
}

/// Turns what a host claims away, and takes an address away that it holds.
///
/// # Errors
/// When nothing of the kind waits or is held.
pub(crate) async fn refuse(
    conn: &mut Conn,
    asset: &StoredAsset,
    decision: &Decision,
    actor: &str,
    now: Timestamp,
) -> Answer<()> {
    let matter = matter(conn, asset).await?;
    let claim = match decision {
        Decision::Address(address)
            if matter.held.addresses.contains(address)
                && !matter.known.iter().any(|claim| claim.fact == Fact::Gone(*address)) =>
        {
            let fact = Fact::Address(*address);
            let standing = Standing::Refused;
            Claim { fact, standing, reason: Reason::Outside, other: None, since: now }
        }
        _ => matter.claim(decision)?.clone(),
    };
    if let Fact::Address(address) = claim.fact {
        let left: Vec<_> =
            matter.held.addresses.iter().copied().filter(|held| *held != address).collect();
        addresses::put(conn, &asset.id, &matter.held.addresses, &left, now).await?;
    }
    settle(conn, &matter, &claim, Some(Standing::Refused)).await?;
    record(conn, asset, "asset.refuse", &claim, actor, now).await
}

/// Gives an asset another name. What its host calls itself is decided about by that.
///
/// # Errors
/// When another asset has the name.
pub(crate) async fn rename(
    conn: &mut Conn,
    asset: &StoredAsset,
    name: &Name,
    actor: &str,
    now: Timestamp,
) -> Answer<()> {
    if let Some(other) = assets::by_name(conn, name.as_str()).await?
        && other.id != asset.id
    {
        return Err(Problem::conflict(
            "name-taken",
            format!("asset {} has that name; rename or delete it first", other.name),
        )
        .field("/name"));
    }
    let matter = matter(conn, asset).await?;
    let held = Asset { name: name.clone(), ..matter.held.clone() };
    assets::hold(conn, &held).await?;
    let claims_left: Vec<Claim> = matter
        .known
        .iter()
        .filter(|claim| claim.fact != Fact::Name(name.clone()))
        .cloned()
        .map(|claim| match claim.fact {
            Fact::Name(_) => Claim { standing: Standing::Refused, ..claim },
            _ => claim,
        })
        .collect();
    claims::put(conn, &asset.id, &matter.known, &claims_left).await?;
    let deed = Deed {
        actor,
        action: "asset.rename",
        target: name.as_str(),
        before: asset.name.to_string(),
        after: name.to_string(),
    };
    Ok(audit::record(conn, deed, now).await?)
}

/// Writes down how a claim stands; with nothing, forgets it.
async fn settle(
    conn: &mut Conn,
    matter: &Matter,
    claim: &Claim,
    standing: Option<Standing>,
) -> Answer<()> {
    let mut left: Vec<Claim> =
        matter.known.iter().filter(|known| known.fact != claim.fact).cloned().collect();
    left.extend(standing.map(|standing| Claim { standing, ..claim.clone() }));
    Ok(claims::put(conn, &matter.held.id, &matter.known, &left).await?)
}

async fn record(
    conn: &mut Conn,
    asset: &StoredAsset,
    action: &'static str,
    claim: &Claim,
    actor: &str,
    now: Timestamp,
) -> Answer<()> {
    let deed = Deed {
        actor,
        action,
        target: asset.name.as_str(),
        before: String::new(),
        after: claim.fact.to_string(),
    };
    Ok(audit::record(conn, deed, now).await?)
}
