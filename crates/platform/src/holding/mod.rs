//! What the platform holds of hosts: takes their word in, carries out what operators decide about it,
//! and says what is to be said, all by the rules of [`crate::claims`].

mod decide;
mod register;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use decide::{Decision, accept, refuse, rename};
pub(crate) use register::free_name;
use xshield_model::Timestamp;
use xshield_model::claim::{Claim, Standing};
use xshield_operations::parsed_policies::Policies;
use xshield_policy::document::Policy;
use xshield_policy::inventory::Asset;
use xshield_store::assets::StoredAsset;
use xshield_store::audit::Deed;
use xshield_store::{Conn, addresses, assets, audit, claims};
use xshield_wire::message::Problem;

use crate::claims::{
    Judged, MOST_WAIT, Names, Said, World, copied_notice, judge, notices, notices_to_holder,
};
use crate::problem::Answer;
use crate::state::App;

/// For so many seconds after a copy asked last, both sides are told of it.
pub(crate) const COPY_TOLD_FOR: i64 = 86_400;

/// What became of a host's word.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Whether anything that policy reads has changed.
    pub(crate) changed: bool,
    /// What there was no room to write down one by one.
    pub(crate) problem: Option<Problem>,
}

/// Takes a host's word in: holds what the rules allow, lets the rest wait, and writes both down.
///
/// # Errors
/// When the database fails.
pub(crate) async fn take(
    app: &App,
    conn: &mut Conn,
    asset: &StoredAsset,
    said: &Said,
    from: IpAddr,
    policies: &Policies,
    now: Timestamp,
) -> Answer<Taken> {
    let tags = assets::tags_of(conn, std::iter::once(&asset.id)).await?.remove(&asset.id);
    let held = described(asset, tags.unwrap_or_default());
    let known = claims::of(conn, &asset.id).await?;
    let waits = known.iter().any(|claim| claim.standing == Standing::Waiting);
    if said.is_held(&held) && !waits {
        addresses::seen(conn, &asset.id, from, now).await?;
        return Ok(Taken::default());
    }
    let world = world(app, conn, asset, said, from, policies, now).await?;
    let judged = judge(&held, said, &known, &world, now);
    let is_new = |claim: &Claim| is_new(claim, &known);
    let changes = judged.held != held || judged.claims.iter().any(is_new);
    if changes && !app.limits.change(&asset.id) {
        addresses::seen(conn, &asset.id, from, now).await?;
        return Ok(Taken { changed: false, problem: Some(changes_wait(app)) });
    }
    hold(conn, &held, &judged, &known, now).await?;
    addresses::seen(conn, &asset.id, from, now).await?;
    Ok(Taken { changed: judged.held != held, problem: more_wait(&judged) })
}

/// Each change concerns other hosts, and is written down: so many of one host, and no more.
fn changes_wait(app: &App) -> Problem {
    let minutes = app.settings.host_change_every.div_ceil(60);
    Problem {
        code: "changes-wait".to_owned(),
        text: format!(
            "this host says something else about itself (addresses, name, system) again and again; \
             what it says now is taken at a later check-in, one change every {minutes} min: see what \
             changes its addresses"
        ),
    }
}

/// Whether a claim begins to wait.
fn is_new(claim: &Claim, known: &[Claim]) -> bool {
    claim.standing == Standing::Waiting && !known.iter().any(|old| old.fact == claim.fact)
}

/// A host may have more addresses that wait than anybody would decide about one by one.
fn more_wait(judged: &Judged) -> Option<Problem> {
    (judged.more_wait > 0).then(|| Problem {
        code: "addresses-wait".to_owned(),
        text: format!(
            "{} more addresses of this host are not held; beside them, the first {MOST_WAIT} wait \
             for an operator. If it should have them, name their networks in the policy's settings, \
             addresses",
            judged.more_wait
        ),
    })
}

/// An asset as policy sees it.
pub(crate) fn described(asset: &StoredAsset, tags: assets::Tags) -> Asset {
    Asset {
        id: asset.id.clone(),
        name: asset.name.clone(),
        tags,
        addresses: asset.addresses.clone(),
        os: asset.os.clone(),
        source: asset.source,
    }
}

async fn world(
    app: &App,
    conn: &mut Conn,
    asset: &StoredAsset,
    said: &Said,
    from: IpAddr,
    policies: &Policies,
    now: Timestamp,
) -> Answer<World> {
    let none = Policy::default();
    let committed = policies.committed.as_deref().unwrap_or(&none);
    let management = committed.settings().management.iter().flat_map(|rule| &rule.from);
    let single = management.filter(|net| net.0.prefix_len() == net.0.max_prefix_len());
    let namesake = assets::by_name(conn, said.name.as_str()).await?;
    Ok(World {
        policies: policies.all(),
        networks: committed.settings().address_networks(),
        platform: app.endpoints.get().iter().map(|endpoint| endpoint.ip()).collect(),
        management: single.map(|net| net.0.addr()).collect(),
        from: Some(from),
        holders: addresses::holders(conn, &asset.id, &said.addresses, now).await?,
        namesake: namesake.map(|other| other.id).filter(|other| *other != asset.id),
        registers: asset.last_check_in.is_none(),
    })
}

/// Writes down what a host's word came to. `held` and `known`: as they were.
async fn hold(
    conn: &mut Conn,
    held: &Asset,
    judged: &Judged,
    known: &[Claim],
    now: Timestamp,
) -> Answer<()> {
    let actor = format!("host:{}", held.id);
    let deed = |action, before: String, after: String| Deed {
        actor: &actor,
        action,
        target: judged.held.name.as_str(),
        before,
        after,
    };
    if judged.held.addresses != held.addresses {
        addresses::put(conn, &held.id, &held.addresses, &judged.held.addresses, now).await?;
        let (before, after) = changed_addresses(&held.addresses, &judged.held.addresses);
        audit::record(conn, deed("asset.addresses", before, after), now).await?;
        for (address, other) in judged.taken.iter().take(NAMED) {
            let before = format!("{address} was held by {other}, which no longer has it");
            let after = format!("{address} is held by {}", held.id);
            audit::record(conn, deed("asset.address-moved", before, after), now).await?;
        }
    }
    let facts = |asset: &Asset| (asset.os.clone(), asset.source);
    if facts(&judged.held) != facts(held) {
        assets::hold(conn, &judged.held).await?;
        let words = |asset: &Asset| format!("{}, {:?}", asset.os, asset.source).to_lowercase();
        audit::record(conn, deed("asset.facts", words(held), words(&judged.held)), now).await?;
    }
    claims::put(conn, &held.id, known, &judged.claims).await?;
    let new = judged.claims.iter().filter(|claim| is_new(claim, known));
    let new: Vec<_> = new.map(|c| c.fact.to_string()).collect();
    if !new.is_empty() {
        let deed = deed("asset.claim", String::new(), format!("waits: {}", in_short(&new, ", ")));
        audit::record(conn, deed, now).await?;
    }
    Ok(())
}

/// The addresses before and after; where they are many, those that went and came.
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

/// Facts that are named one by one in the audit log; the rest is counted.
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

/// What the platform finds about an asset that its operators, and whoever looks at its host, should
/// know.
///
/// # Errors
/// When the database fails.
pub(crate) async fn findings(
    conn: &mut Conn,
    asset: &StoredAsset,
    now: Timestamp,
) -> Answer<Vec<Problem>> {
    let claims = claims::of(conn, &asset.id).await?;
    let mut names = Names::new();
    for other in claims.iter().filter_map(|claim| claim.other.as_ref()) {
        if let Some(other) = assets::by_id(conn, other.as_str()).await? {
            names.insert(other.id, other.name);
        }
    }
    let mut found = notices(&asset.name, &claims, &names);
    found.extend(notices_to_holder(&asset.name, &claims::about(conn, &asset.id).await?));
    if claims::lineage(conn, &asset.id).await?.copied_within(COPY_TOLD_FOR, now) {
        found.push(copied_notice(&asset.name));
    }
    Ok(found)
}
