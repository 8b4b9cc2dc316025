//! Operators' decisions on claims of hosts.

use std::net::IpAddr;

use xshield_api::claims::Claim as ShownClaim;
use xshield_model::Timestamp;
use xshield_model::claim::{Claim, ClaimStanding, Fact, Reason};
use xshield_policy::inventory::Asset;
use xshield_policy::names::Name;
use xshield_store::assets::StoredAsset;
use xshield_store::{Conn, Store, addresses, assets, claims};

use super::described::described;
use super::words::shown;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;

/// The subject of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// An address, or its removal.
    Address(IpAddr),
    /// The pending name.
    Name,
    /// The pending system.
    Os,
    /// The pending program.
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

    fn from_str(text: &str) -> std::result::Result<Self, String> {
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

/// The data for a decision.
struct DecisionData {
    held: Asset,
    known: Vec<Claim>,
}

async fn data(conn: &mut Conn, asset: &StoredAsset) -> Result<DecisionData> {
    let tags = assets::tags_of(conn, std::iter::once(&asset.id)).await?.remove(&asset.id);
    let known = claims::of(conn, &asset.id).await?;
    Ok(DecisionData { held: described(asset, tags.unwrap_or_default()), known })
}

impl DecisionData {
    fn claim(&self, decision: &Decision) -> Result<&Claim> {
        // A pending claim takes precedence over one decided earlier.
        let about = |standing: ClaimStanding| {
            self.known
                .iter()
                .find(|claim| claim.standing == standing && decision.is_about(&claim.fact))
        };
        about(ClaimStanding::Waiting).or_else(|| about(ClaimStanding::Refused)).ok_or_else(|| {
            let name = &self.held.name;
            OperationError::conflict(
                "nothing-waits",
                format!(
                    "nothing of that kind is pending for asset {name}: xshield asset show \
                     {name}"
                ),
            )
        })
    }
}

/// Claims of all assets that wait for an operator; at most 10,000.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn) -> Result<Vec<ShownClaim>> {
    let waiting = claims::waiting(conn).await?;
    Ok(waiting.iter().map(|(asset, claim)| shown(asset, claim)).collect())
}

/// A decision that is being made.
struct OpenDecision {
    change: AuditedChange,
    asset: StoredAsset,
    data: DecisionData,
    decision: Decision,
    now: Timestamp,
}

impl OpenDecision {
    async fn begin(
        store: &Store,
        by: &By<Operator>,
        asset: &str,
        what: &str,
        now: Timestamp,
    ) -> Result<Self> {
        let decision =
            what.parse().map_err(|reason: String| OperationError::invalid("/what", reason))?;
        let mut change = AuditedChange::begin(store, by, now).await?;
        let asset = lookup::asset(&mut change, asset).await?;
        let data = data(&mut change, &asset).await?;
        Ok(Self { change, asset, data, decision, now })
    }

    /// Holds `held` from now on, notes how the claim stands, and returns the asset's name.
    async fn end(
        mut self,
        action: &'static str,
        claim: &Claim,
        held: &Asset,
        standing: Option<ClaimStanding>,
    ) -> Result<Name> {
        let Self { change, data, now, .. } = &mut self;
        let before = &data.held.addresses;
        addresses::put(change, &held.id, before, &held.addresses, *now).await?;
        assets::hold(change, held).await?;
        settle(change, data, claim, standing).await?;
        self.change.commit(entry(action, &self.asset, claim)).await?;
        Ok(self.asset.name)
    }
}

/// Accepts a host's claim about `what`, and returns the asset's name from then on. An address is taken from
/// the asset that holds it.
///
/// # Errors
/// When nothing of the kind is pending, the name is another asset's, or the database fails.
pub async fn accept(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    asset: &str,
    what: &str,
    now: Timestamp,
) -> Result<Name> {
    let open = OpenDecision::begin(store, by, asset, what, now).await?;
    let claim = open.data.claim(&open.decision)?.clone();
    let name = if let Fact::Name(name) = &claim.fact {
        give_name(open.change, &open.asset, name).await?;
        name.clone()
    } else {
        let (held, standing) = accepted(&open.data.held, &claim.fact);
        open.end("asset.accept", &claim, &held, standing).await?
    };
    compiler.inventory_changed();
    Ok(name)
}

/// An asset of which a fact is accepted, and how the claim stands then: what is held needs no claim, but
/// an address counts only as long as one accepts it.
fn accepted(held: &Asset, fact: &Fact) -> (Asset, Option<ClaimStanding>) {
    let mut held = held.clone();
    match fact {
        Fact::Name(name) => held.name.clone_from(name),
        Fact::Os(os) => held.os.clone_from(os),
        Fact::Source(source) => held.source = *source,
        Fact::Address(address) => {
            held.addresses.push(*address);
            return (held, Some(ClaimStanding::Accepted));
        }
        Fact::Gone(address) => held.addresses.retain(|held| held != address),
    }
    (held, None)
}

/// Rejects a host's claim about `what`, and withdraws an address that it holds. Returns the asset's name.
///
/// # Errors
/// When nothing of the kind is pending or held, or the database fails.
pub async fn refuse(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    asset: &str,
    what: &str,
    now: Timestamp,
) -> Result<Name> {
    let open = OpenDecision::begin(store, by, asset, what, now).await?;
    let OpenDecision { data, decision, .. } = &open;
    let claim = match decision {
        Decision::Address(address)
            if data.held.addresses.contains(address)
                && !data.known.iter().any(|claim| claim.fact == Fact::Gone(*address)) =>
        {
            let fact = Fact::Address(*address);
            let standing = ClaimStanding::Refused;
            Claim { fact, standing, reason: Reason::Outside, other: None, since: now }
        }
        _ => data.claim(decision)?.clone(),
    };
    let mut held = data.held.clone();
    if let Fact::Address(address) = claim.fact {
        held.addresses.retain(|held| *held != address);
    }
    let name = open.end("asset.refuse", &claim, &held, Some(ClaimStanding::Refused)).await?;
    compiler.inventory_changed();
    Ok(name)
}

/// Renames an asset. This also decides the claim about its name.
///
/// # Errors
/// When another asset has the name, or the database fails.
pub async fn rename(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    asset: &str,
    name: &Name,
    now: Timestamp,
) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, asset).await?;
    give_name(change, &asset, name).await?;
    compiler.inventory_changed();
    Ok(())
}

async fn give_name(mut change: AuditedChange, asset: &StoredAsset, name: &Name) -> Result<()> {
    if let Some(other) = assets::by_name(&mut change, name.as_str()).await?
        && other.id != asset.id
    {
        let detail = format!("asset {} has that name; rename or delete it first", other.name);
        return Err(OperationError::conflict_at("/name", "name-taken", detail));
    }
    let data = data(&mut change, asset).await?;
    let held = Asset { name: name.clone(), ..data.held.clone() };
    assets::hold(&mut change, &held).await?;
    let claims_left: Vec<Claim> = data
        .known
        .iter()
        .filter(|claim| claim.fact != Fact::Name(name.clone()))
        .cloned()
        .map(|claim| match claim.fact {
            Fact::Name(_) => Claim { standing: ClaimStanding::Refused, ..claim },
            _ => claim,
        })
        .collect();
    claims::put(&mut change, &asset.id, &data.known, &claims_left).await?;
    let (before, after) = (asset.name.to_string(), name.to_string());
    let entry = AuditEntry { action: "asset.rename", target: name.as_str(), before, after };
    change.commit(entry).await
}

/// Records the state of a claim, or deletes it.
async fn settle(
    conn: &mut Conn,
    data: &DecisionData,
    claim: &Claim,
    standing: Option<ClaimStanding>,
) -> Result<()> {
    let mut left: Vec<Claim> =
        data.known.iter().filter(|known| known.fact != claim.fact).cloned().collect();
    left.extend(standing.map(|standing| Claim { standing, ..claim.clone() }));
    Ok(claims::put(conn, &data.held.id, &data.known, &left).await?)
}

fn entry<'a>(action: &'static str, asset: &'a StoredAsset, claim: &Claim) -> AuditEntry<'a> {
    let (before, after) = (String::new(), claim.fact.to_string());
    AuditEntry { action, target: asset.name.as_str(), before, after }
}

#[cfg(test)]
mod tests {
    use xshield_store::commit;

    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, audited, by, register, store};

    async fn waits(store: &Store, asset: &str, facts: &[Fact]) {
        let claim = |fact: &Fact| Claim {
            fact: fact.clone(),
            standing: ClaimStanding::Waiting,
            reason: Reason::Outside,
            other: None,
            since: NOW,
        };
        let claims: Vec<Claim> = facts.iter().map(claim).collect();
        let mut tx = store.write().await.unwrap();
        claims::put(&mut tx, &asset.parse().unwrap(), &[], &claims).await.unwrap();
        commit(tx).await.unwrap();
    }

    fn code(error: OperationError) -> &'static str {
        match error {
            OperationError::Conflict { code, .. } => code,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_pending_claim_is_decided_once_and_audited() {
        let (_dir, store) = store().await;
        let by = by::<Operator>();
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        register(&store, &[("web", "web"), ("db", "db")]).await;
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let name: Name = "web2".parse().unwrap();
        waits(&store, "as-web", &[Fact::Address(address), Fact::Name(name.clone())]).await;
        let waiting = list(&mut store.read().await.unwrap()).await.unwrap();
        assert_eq!(waiting.len(), 2);

        let held = async || {
            let asset = lookup::asset(&mut store.read().await.unwrap(), "as-web").await.unwrap();
            (asset.name.to_string(), asset.addresses)
        };
        accept(&store, &compiler, &by, "web", "203.0.113.9", NOW).await.unwrap();
        assert_eq!(held().await, ("web".to_owned(), vec![address]));
        refuse(&store, &compiler, &by, "web", "203.0.113.9", NOW).await.unwrap();
        assert_eq!(held().await.1, [] as [IpAddr; 0], "taken away again");
        assert_eq!(accept(&store, &compiler, &by, "web", "name", NOW).await.unwrap(), name);
        assert_eq!(held().await.0, "web2");

        let nothing = accept(&store, &compiler, &by, "web2", "os", NOW).await.unwrap_err();
        assert_eq!(code(nothing), "nothing-waits");
        let unknown = refuse(&store, &compiler, &by, "web2", "colour", NOW).await.unwrap_err();
        assert!(
            matches!(&unknown, OperationError::Invalid { field, .. } if field == "/what"),
            "{unknown}"
        );
        let taken = "db".parse().unwrap();
        let taken = rename(&store, &compiler, &by, "web2", &taken, NOW).await.unwrap_err();
        assert_eq!(code(taken), "name-taken");
        assert_eq!(
            audited(&store).await,
            [
                "user:ann asset.accept web:  -> address 203.0.113.9",
                "user:ann asset.refuse web:  -> address 203.0.113.9",
                "user:ann asset.rename web2: web -> web2",
            ]
        );
    }
}
