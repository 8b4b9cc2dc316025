//! Processes a host's claims: accepts what the rules allow, the rest is pending.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_model::Timestamp;
use xshield_model::claim::{Claim, ClaimStanding};
use xshield_policy::document::Policy;
use xshield_policy::inventory::Asset;
use xshield_store::assets::StoredAsset;
use xshield_store::audit::NewAuditEntry;
use xshield_store::{Conn, addresses, assets, audit, claims};
use xshield_wire::message::Problem;

use super::described::described;
use super::judge::{Judged, MOST_WAIT, World, judge};
use super::said::Said;
use crate::error::Result;
use crate::parsed_policies::Policies;

/// The conditions for accepting claims.
#[derive(Debug, Clone)]
pub struct Terms<F> {
    /// Where hosts reach the platform: no host has these addresses.
    pub endpoints: Vec<SocketAddr>,
    /// Whether another change of the asset is allowed now.
    pub may_change: F,
    /// Seconds per allowed change.
    pub change_every: u64,
}

/// The result for a host's claims.
#[derive(Debug, Default)]
pub struct Taken {
    /// Whether anything that policy uses has changed.
    pub changed: bool,
    /// A summary of what exceeded the limits.
    pub problem: Option<Problem>,
}

/// Processes a host's claims: accepts what the rules allow, makes the rest pending, and records both.
///
/// # Errors
/// When the database fails.
pub async fn take<F: FnOnce() -> bool>(
    terms: Terms<F>,
    conn: &mut Conn,
    asset: &StoredAsset,
    said: &Said,
    from: IpAddr,
    policies: &Policies,
    now: Timestamp,
) -> Result<Taken> {
    let tags = assets::tags_of(conn, std::iter::once(&asset.id)).await?.remove(&asset.id);
    let held = described(asset, tags.unwrap_or_default());
    let known = claims::of(conn, &asset.id).await?;
    let waits = known.iter().any(|claim| claim.standing == ClaimStanding::Waiting);
    if said.is_held(&held) && !waits {
        addresses::seen(conn, &asset.id, from, now).await?;
        return Ok(Taken::default());
    }
    let Terms { endpoints, may_change, change_every } = terms;
    let world = world(&endpoints, conn, asset, said, from, policies, now).await?;
    let judged = judge(&held, said, &known, &world, now);
    let is_new = |claim: &Claim| is_new(claim, &known);
    let changes = judged.held != held || judged.claims.iter().any(is_new);
    if changes && !may_change() {
        addresses::seen(conn, &asset.id, from, now).await?;
        return Ok(Taken { changed: false, problem: Some(changes_wait(change_every)) });
    }
    hold(conn, &held, &judged, &known, now).await?;
    addresses::seen(conn, &asset.id, from, now).await?;
    Ok(Taken { changed: judged.held != held, problem: more_wait(&judged) })
}

/// Each change affects other hosts and is recorded: the rate per host is limited.
fn changes_wait(change_every: u64) -> Problem {
    let minutes = change_every.div_ceil(60);
    Problem {
        code: "changes-wait".to_owned(),
        text: format!(
            "this host keeps changing what it reports about itself (addresses, name, system); \
             the current values are accepted at a later check-in, one change every {minutes} \
             min: find out what changes its addresses"
        ),
    }
}

/// Whether a claim becomes pending.
fn is_new(claim: &Claim, known: &[Claim]) -> bool {
    claim.standing == ClaimStanding::Waiting && !known.iter().any(|old| old.fact == claim.fact)
}

/// A host may have more pending addresses than anybody would decide one by one.
fn more_wait(judged: &Judged) -> Option<Problem> {
    (judged.more_wait > 0).then(|| Problem {
        code: "addresses-wait".to_owned(),
        text: format!(
            "{} more addresses of this host are not accepted; besides these, the first \
             {MOST_WAIT} are pending for an operator. If it should have them, add their networks \
             to the policy's settings, addresses",
            judged.more_wait
        ),
    })
}

async fn world(
    endpoints: &[SocketAddr],
    conn: &mut Conn,
    asset: &StoredAsset,
    said: &Said,
    from: IpAddr,
    policies: &Policies,
    now: Timestamp,
) -> Result<World> {
    let none = Policy::default();
    let committed = policies.committed.as_deref().unwrap_or(&none);
    let management = committed.settings().management.iter().flat_map(|rule| &rule.from);
    let single = management.filter(|net| net.0.prefix_len() == net.0.max_prefix_len());
    let namesake = assets::by_name(conn, said.name.as_str()).await?;
    Ok(World {
        policies: policies.all(),
        networks: committed.settings().address_networks(),
        platform: endpoints.iter().map(|endpoint| endpoint.ip()).collect(),
        management: single.map(|net| net.0.addr()).collect(),
        from: Some(from),
        holders: addresses::holders(conn, &asset.id, &said.addresses, now).await?,
        namesake: namesake.map(|other| other.id).filter(|other| *other != asset.id),
        registers: asset.last_check_in.is_none(),
    })
}

/// Records the result for a host's claims. `held` and `known`: the values before.
async fn hold(
    conn: &mut Conn,
    held: &Asset,
    judged: &Judged,
    known: &[Claim],
    now: Timestamp,
) -> Result<()> {
    let actor = format!("host:{}", held.id);
    let new_entry = |action, before: String, after: String| NewAuditEntry {
        actor: &actor,
        action,
        target: judged.held.name.as_str(),
        before,
        after,
    };
    if judged.held.addresses != held.addresses {
        addresses::put(conn, &held.id, &held.addresses, &judged.held.addresses, now).await?;
        let (before, after) = changed_addresses(&held.addresses, &judged.held.addresses);
        audit::record(conn, new_entry("asset.addresses", before, after), now).await?;
        for (address, other) in judged.taken.iter().take(NAMED) {
            let before = format!("{address} was held by {other}, which no longer has it");
            let after = format!("{address} is held by {}", held.id);
            audit::record(conn, new_entry("asset.address-moved", before, after), now).await?;
        }
    }
    let facts = |asset: &Asset| (asset.os.clone(), asset.source);
    if facts(&judged.held) != facts(held) {
        assets::hold(conn, &judged.held).await?;
        let words = |asset: &Asset| format!("{}, {:?}", asset.os, asset.source).to_lowercase();
        audit::record(conn, new_entry("asset.facts", words(held), words(&judged.held)), now)
            .await?;
    }
    claims::put(conn, &held.id, known, &judged.claims).await?;
    let new = judged.claims.iter().filter(|claim| is_new(claim, known));
    let new: Vec<_> = new.map(|c| c.fact.to_string()).collect();
    if !new.is_empty() {
        let new_entry =
            new_entry("asset.claim", String::new(), format!("waits: {}", in_short(&new, ", ")));
        audit::record(conn, new_entry, now).await?;
    }
    Ok(())
}

/// The addresses before and after; if there are many, only those added and removed.
fn changed_addresses(before: &[IpAddr], after: &[IpAddr]) -> (String, String) {
    if before.len().max(after.len()) <= NAMED {
        return (joined(before), joined(after));
    }
    let (held, holds): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().copied().collect(), after.iter().copied().collect());
    let gone: Vec<_> = held.difference(&holds).copied().collect();
    let new: Vec<_> = holds.difference(&held).copied().collect();
    let some = |word, changed: &[IpAddr], all: usize| match changed {
        [] => format!("{all} addresses"),
        changed => format!("{all} addresses, {word} {}", joined(changed)),
    };
    (some("of them gone:", &gone, before.len()), some("new:", &new, after.len()))
}

/// The number of facts listed individually in the audit log; the rest is counted.
const NAMED: usize = 50;

fn joined(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    in_short(&addresses, " ")
}

fn in_short(texts: &[String], between: &str) -> String {
    let named = texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join(between);
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}{between}and {more} more"),
    }
}
