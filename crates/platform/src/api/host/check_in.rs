//! `POST /host/v1/check-in`: how a host stands, and what is pending for it.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use xshield_wire::message::{CheckIn, CheckInAnswer, InForce, Status, VERSION};

use super::clock;
use super::session::host_name;
use super::signed::{FromHost, read_message};
use crate::api::Client;
use crate::claims::lineage::{Arrival, Lineage, Machine};
use crate::claims::{Said, copied_notice};
use crate::holding;
use crate::jobs::compile;
use crate::keys::random;
use crate::problem::{Answer, Problem};
use crate::state::App;
use crate::store::assets::{self, CheckedIn, StoredAsset};
use crate::store::audit::{self, Deed};
use crate::store::{
    claims, commands, commit, host_configuration, pending, problems, rulesets, threat_assets,
};
use crate::threat::orders;
use crate::waking::Pending;

/// No host has more addresses.
const MAX_ADDRESSES: usize = 256;
/// No host has more to say at once.
const MAX_PROBLEMS: usize = 1000;
/// No host has more ways to the platform.
const MAX_ROUTES: usize = 100;
/// Texts for people are cut here, in characters.
const MAX_TEXT: usize = 2000;

pub(super) async fn check_in(
    State(app): State<App>,
    Extension(Client(from)): Extension<Client>,
    request: FromHost,
) -> Answer<Json<CheckInAnswer>> {
    let FromHost { asset, body, now, signed_at, .. } = request;
    let mut message = bounded(read_message(&body)?)?;
    message.problems.extend(clock::problem(signed_at, now));
    let said = said(&message)?;

    let mut tx = app.store.write().await?;
    // As it is now: an operator may have decided something since the request arrived.
    let Some(asset) = assets::by_id(&mut tx, asset.id.as_str()).await? else {
        return Err(Problem::not_found("asset", asset.name.as_str()));
    };
    match assets::check_in(&mut tx, &asset.id, &message, now).await? {
        CheckedIn::Stored => {}
        CheckedIn::Replayed(last) => return Err(replayed(&message, last)),
    }
    let mut lineage = claims::lineage(&mut tx, &asset.id).await?;
    let knew_a_copy = lineage.copy.is_some();
    let (previous, boot) = (message.previous, message.host.boot_id.as_str());
    let machine = lineage.take(Arrival { sequence: message.sequence, previous, boot }, now);
    claims::put_lineage(&mut tx, &asset.id, &lineage).await?;
    if lineage.copy.is_some() && !knew_a_copy {
        let deed = Deed {
            actor: &format!("host:{}", asset.id),
            action: "asset.copied",
            target: asset.name.as_str(),
            before: String::new(),
            after: "two machines have its identity key; the later one is refused".to_owned(),
        };
        audit::record(&mut tx, deed, now).await?;
    }
    let changed = match machine {
        Machine::Same => {
            let from = from.ip().to_canonical();
            let policies = app.spoken.policies(&mut tx).await?;
            holding::take(&app, &mut tx, &asset, &said, from, &policies, now).await?.changed
        }
        Machine::Unclear => false,
        Machine::Copy => {
            drop(tx);
            return Err(copy(&app, &asset, &lineage).await?);
        }
    };
    problems::note(&mut tx, &asset.id, &asset.problems, &message.problems, now).await?;
    if let Some(standing) = &message.threat {
        threat_assets::put_standing(&mut tx, &asset.id, standing, now).await?;
    }
    let commands = commands::tell(&mut tx, &asset.id, now).await?;
    // What changes from here on is not told by this answer, or told once more.
    let told = pending::of(&mut tx, &asset.id).await?.unwrap_or_default();
    let told = told.with_threats(&app.threat);
    let configuration = host_configuration::of(&mut tx, &asset.id).await?;
    let Some(asset) = assets::by_id(&mut tx, asset.id.as_str()).await? else {
        return Err(Problem::not_found("asset", asset.name.as_str()));
    };
    let findings = holding::findings(&mut tx, &asset, now).await?;
    commit(tx).await?;

    if changed {
        app.compiling.inventory_changed();
    }
    let threat = orders::wanted(&app, &asset, message.threat.as_ref(), now).await?;
    let version = configuration.as_ref().map(|configuration| configuration.version);
    let mut answer = CheckInAnswer {
        version: VERSION,
        wanted: wanted(&app, &asset, changed).await?,
        commands,
        next_check_in: jittered(app.settings.check_in_every),
        time: now.unix(),
        threat,
        configuration: configuration.filter(|_| version != message.configuration),
        seen: None,
        problems: findings,
    };
    answer.seen = Some(Pending { wanted: answer.wanted, ..told }.token());
    Ok(Json(answer))
}

/// What the host should have. A host that is new or has changed hears it at once, not at its next
/// run.
async fn wanted(app: &App, asset: &StoredAsset, changed: bool) -> Answer<Option<InForce>> {
    let known = rulesets::wanted(&mut *app.store.read().await?, &asset.id).await?;
    if changed || known.is_none() {
        return compile::compile_one(app, &asset.id).await;
    }
    Ok(known)
}

fn replayed(message: &CheckIn, last: u64) -> Problem {
    metrics::counter!("xshield_refused_total", "reason" => "replayed").increment(1);
    Problem::new(StatusCode::CONFLICT, "replayed", "The check-in is not newer than the last one")
        .field("/sequence")
        .detail(format!(
            "the platform has had check-in {last} of this asset; {} is not above it",
            message.sequence
        ))
}

/// Cuts and filters what a host could say too much of.
fn bounded(mut message: CheckIn) -> Answer<CheckIn> {
    if message.host.addresses.len() > MAX_ADDRESSES {
        let reason = format!("more than {MAX_ADDRESSES} addresses");
        return Err(Problem::invalid("/host/addresses", reason));
    }
    if message.problems.len() > MAX_PROBLEMS {
        let reason = format!("more than {MAX_PROBLEMS} problems");
        return Err(Problem::invalid("/problems", reason));
    }
    message.host.addresses.retain(is_own);
    message.host.addresses.sort_unstable();
    message.host.addresses.dedup();
    if message.routes.len() > MAX_ROUTES {
        let reason = format!("more than {MAX_ROUTES} routes");
        return Err(Problem::invalid("/routes", reason));
    }
    for problem in &mut message.problems {
        cut(&mut problem.code);
        cut(&mut problem.text);
    }
    for route in &mut message.routes {
        // Ours never say a proxy's credentials; nothing that might is stored.
        if let Some((_, address)) = route.route.rsplit_once('@') {
            route.route = format!("proxy {address}");
        }
        cut(&mut route.route);
        if let Some(failure) = &mut route.last_failure {
            cut(&mut failure.reason);
        }
    }
    cut(&mut message.host.os);
    cut(&mut message.host.kernel);
    cut(&mut message.host.boot_id);
    cut(&mut message.program.version);
    if let Some(failure) = message.threat.as_mut().and_then(|threat| threat.failure.as_mut()) {
        cut(failure);
    }
    if let Status::Blocked { by: text } | Status::Failed { reason: text } = &mut message.status {
        cut(text);
    }
    Ok(message)
}

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
    }
}

/// Whether an address can be one host's own.
fn is_own(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// What the host says of itself, as far as policy reads it.
fn said(message: &CheckIn) -> Answer<Said> {
    Ok(Said {
        name: host_name(&message.host.name)?,
        os: message.host.os.clone(),
        source: assets::source(message.program.kind),
        addresses: message.host.addresses.clone(),
    })
}

/// Another machine speaks with the asset's identity: it is refused, and nothing of what it said
/// stays but that it asked.
async fn copy(app: &App, asset: &StoredAsset, lineage: &Lineage) -> Answer<Problem> {
    let mut tx = app.store.write().await?;
    claims::put_lineage(&mut tx, &asset.id, lineage).await?;
    commit(tx).await?;
    metrics::counter!("xshield_refused_total", "reason" => "identity-copied").increment(1);
    let told = copied_notice(&asset.name);
    Ok(Problem::new(
        StatusCode::FORBIDDEN,
        "identity-copied",
        "Another machine has the same identity key",
    )
    .detail(format!("this one seems to be the copy: {}", told.text)))
}

/// `seconds` and up to a tenth more or less, so that hosts spread.
fn jittered(seconds: u32) -> u32 {
    let span = seconds / 5;
    let random = random::<4>().map_or(0, u32::from_le_bytes);
    seconds - seconds / 10 + random.checked_rem(span + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        for seconds in [0, 1, 9, 10, 240, 3600] {
            for _ in 0..100 {
                let next = jittered(seconds);
                assert!(next >= seconds - seconds / 10 && next <= seconds + seconds / 5, "{next}");
            }
        }
    }

    #[test]
    fn addresses_that_nobody_owns_are_left_out() {
        let own = |text: &str| is_own(&text.parse().unwrap());
        for text in ["10.0.0.1", "8.8.8.8", "2001:db8::1", "fd00::1"] {
            assert!(own(text), "{text}");
        }
        for text in
            ["127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "ff02::1", "::"]
        {
            assert!(!own(text), "{text}");
        }
    }
}
