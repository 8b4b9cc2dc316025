//! `POST /host/v1/check-in`: the state of a host, and what is pending for it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use xshield_intelligence::Threats;
use xshield_intelligence::orders::{self, Orders};
use xshield_model::Timestamp;
use xshield_model::lineage::{Arrival, Lineage, Machine};
use xshield_operations::claims::{Said, Terms, copied_notice, findings, take as take_word};
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::ids::random;
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_store::assets::{CheckedIn, StoredAsset};
use xshield_store::audit::NewAuditEntry;
use xshield_store::pending::Pending;
use xshield_store::{
    Store, Tx, assets, audit, claims, commands, commit, host_configuration, pending, problems,
    rulesets, threat_assets,
};
use xshield_wire::message::{self, CheckIn, CheckInAnswer, InForce, Status, VERSION};

use super::session::host_name;
use super::signed::{RefusedRequest, SignedRequest};
use super::{clock, refused};
use crate::client::Client;
use crate::held_polls;
use crate::host_message::{read_message, strip_userinfo};
use crate::intake;
use crate::jobs::recover::{self, Recovery};
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::rotation::Told;
use crate::settings::Settings;

/// What a check-in needs of the platform.
#[derive(Clone)]
pub(crate) struct CheckInParts {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) compiler: Arc<RulesetCompiler>,
    pub(crate) parsed_policies: Arc<ParsedPolicies>,
    pub(crate) endpoints: Endpoints,
    pub(crate) threat: Arc<Threats>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) told: Option<Arc<Told>>,
}

/// Handles a check-in; refusals are shown to operators.
pub(super) async fn check_in(
    State(parts): State<CheckInParts>,
    Extension(Client(from)): Extension<Client>,
    request: Result<SignedRequest, RefusedRequest>,
) -> Answer<Json<CheckInAnswer>> {
    let (asset, answer) = match request {
        Ok(request) => {
            (Some(request.asset.id.clone()), take(&parts, from.ip().to_canonical(), request).await)
        }
        Err(RefusedRequest { asset, problem }) => (asset, Err(problem)),
    };
    if let (Some(asset), Err(refusal)) = (&asset, &answer) {
        refused::note(&parts.store, asset, refusal).await;
    }
    answer
}

async fn take(
    parts: &CheckInParts,
    from: IpAddr,
    request: SignedRequest,
) -> Answer<Json<CheckInAnswer>> {
    let SignedRequest { asset, body, now, signed_at, .. } = request;
    let mut message = bounded(read_message(&body)?);
    message.problems.extend(clock::problem(signed_at, now));
    let said = said(&mut message, &asset);
    let held = message.held.take();

    let mut tx = parts.store.write().await?;
    // Read again: an operator may have decided something since the request arrived.
    let Some(asset) = assets::by_id(&mut tx, asset.id.as_str()).await? else {
        return Err(ErrorResponse::not_found("asset", asset.name.as_str()));
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
        let new_entry = NewAuditEntry {
            actor: &format!("host:{}", asset.id),
            action: "asset.copied",
            target: asset.name.as_str(),
            before: String::new(),
            after: "two machines have this identity key; the later one is refused".to_owned(),
        };
        audit::record(&mut tx, new_entry, now).await?;
    }
    let changed = match machine {
        Machine::Same => {
            let policies = parts.parsed_policies.policies(&mut tx).await?;
            let terms = Terms {
                endpoints: parts.endpoints.get(),
                may_change: || parts.limits.change(&asset.id),
                change_every: parts.settings.host_change_every,
            };
            let taken = take_word(terms, &mut tx, &asset, &said, from, &policies, now).await?;
            if let Some(problem) = taken.problem {
                message.problems.push(problem);
                assets::put_problems(&mut tx, &asset.id, &message.problems).await?;
            }
            taken.changed
        }
        Machine::Unclear => false,
        Machine::Copy => {
            drop(tx);
            return Err(copy(parts, &asset, &lineage).await?);
        }
    };
    problems::note(&mut tx, &asset.id, &asset.problems, &message.problems, now).await?;
    if recover::has_forgotten(&asset, message.previous) {
        remember(&mut tx, &asset, now).await?;
    }
    if let Some(standing) = &message.threat {
        threat_assets::put_standing(&mut tx, &asset.id, standing, now).await?;
    }
    let commands = commands::tell(&mut tx, &asset.id, now).await?;
    // Changes after this point are missing from this response, or announced a second time.
    let told = pending::of(&mut tx, &asset.id).await?.unwrap_or_default();
    let told = parts.threat.added_to(told);
    let configuration = host_configuration::of(&mut tx, &asset.id).await?;
    let Some(asset) = assets::by_id(&mut tx, asset.id.as_str()).await? else {
        return Err(ErrorResponse::not_found("asset", asset.name.as_str()));
    };
    let findings = findings(&mut tx, &asset, now).await?;
    commit(tx).await?;

    if let Some(held) = held {
        parts.recovery.take(&asset, held).await?;
    }
    if changed {
        parts.compiler.host_changed();
    }
    let threat = orders::wanted(&parts.orders, &asset, message.threat.as_ref(), now).await?;
    let version = configuration.as_ref().map(|configuration| configuration.version);
    let mut answer = CheckInAnswer {
        version: VERSION,
        wanted: wanted(parts, &asset, changed).await?,
        commands,
        next_check_in: jittered(parts.settings.check_in_every),
        time: now.unix(),
        threat,
        configuration: configuration.filter(|_| version != message.configuration),
        seen: None,
        problems: findings,
        trust: parts.told.as_ref().and_then(|told| {
            let follows = message.trust >= Some(told.succession.sequence);
            (!follows).then(|| told.envelope.clone())
        }),
    };
    answer.seen = Some(held_polls::token(&Pending { wanted: answer.wanted, ..told }));
    Ok(Json(answer))
}

/// The platform was restored from a backup since it last answered this host: whatever the host sends only
/// once is requested again.
async fn remember(tx: &mut Tx, asset: &StoredAsset, now: Timestamp) -> Answer<()> {
    let text = "the platform was restored from a backup that is older than its last response to \
         this host. What the host reported since then is lost; data that it only sends on change \
         is requested again";
    let told = message::Problem { code: "answers-forgotten".to_owned(), text: text.to_owned() };
    problems::note(tx, &asset.id, &asset.problems, &[told], now).await?;
    Ok(intake::ask_for_everything(tx, &asset.id, now).await?)
}

/// The desired state of the host. A new or changed host receives it at once, not at its next run.
async fn wanted(
    parts: &CheckInParts,
    asset: &StoredAsset,
    changed: bool,
) -> Answer<Option<InForce>> {
    let known = rulesets::get(&mut *parts.store.read().await?, &asset.id).await?;
    match known {
        Some(known) if !changed => Ok(Some(known.wanted())),
        _ => Ok(parts.compiler.compile_one(&asset.id).await?),
    }
}

fn replayed(message: &CheckIn, last: u64) -> ErrorResponse {
    metrics::counter!("xshield_refused_total", "reason" => "replayed").increment(1);
    ErrorResponse::new(StatusCode::CONFLICT, "replayed", "Check-in out of order")
        .field("/sequence")
        .detail(format!(
            "the last check-in of this asset had number {last}; {} is not higher",
            message.sequence
        ))
}

/// Truncates and filters what a host could send in excess; the truncation is added to its problems.
fn bounded(mut message: CheckIn) -> CheckIn {
    message.host.addresses.retain(is_own);
    for route in &mut message.routes {
        // Our hosts never send a proxy's credentials; nothing that might contain some is stored.
        if let Some((_, address)) = route.route.rsplit_once('@') {
            route.route = format!("proxy {address}");
        }
        if let Some(failure) = &mut route.last_failure {
            strip_userinfo(&mut failure.reason);
        }
    }
    message.problems.iter_mut().for_each(|problem| strip_userinfo(&mut problem.text));
    if let Some(failure) = message.threat.as_mut().and_then(|threat| threat.failure.as_mut()) {
        strip_userinfo(failure);
    }
    if let Status::Blocked { by: text } | Status::Failed { reason: text } = &mut message.status {
        strip_userinfo(text);
    }
    let cuts = message.fit();
    if !cuts.is_empty() {
        tracing::debug!(?cuts, "a check-in was truncated");
    }
    message
}

/// Whether an address can belong to a single host.
fn is_own(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// The host's claims, as far as policy uses them. An invalid name is ignored: the asset keeps the one it has.
fn said(message: &mut CheckIn, asset: &StoredAsset) -> Said {
    let name = host_name(&message.host.name).unwrap_or_else(|refused| {
        let text = format!(
            "the host's name can't be used as an asset name: {}; the asset is named {} until \
             name: in its configuration, or its system, gives a valid one",
            refused.detail.as_deref().unwrap_or_default(),
            asset.name
        );
        message.problems.push(message::Problem { code: "name-unusable".to_owned(), text });
        asset.name.clone()
    });
    Said {
        name,
        os: message.host.os.clone(),
        source: assets::source(message.program.kind),
        addresses: message.host.addresses.clone(),
    }
}

/// Another machine uses the asset's identity: it is refused, and only the attempt is recorded.
async fn copy(
    parts: &CheckInParts,
    asset: &StoredAsset,
    lineage: &Lineage,
) -> Answer<ErrorResponse> {
    let mut tx = parts.store.write().await?;
    claims::put_lineage(&mut tx, &asset.id, lineage).await?;
    commit(tx).await?;
    metrics::counter!("xshield_refused_total", "reason" => "identity-copied").increment(1);
    let told = copied_notice(&asset.name);
    Ok(ErrorResponse::new(
        StatusCode::FORBIDDEN,
        "identity-copied",
        "Another machine has the same identity key",
    )
    .detail(format!("this one seems to be the copy: {}", told.text)))
}

/// `seconds` plus or minus up to a tenth, so that hosts are spread over time.
fn jittered(seconds: u32) -> u32 {
    let span = seconds / 5;
    let random = random::<4>().map_or(0, u32::from_le_bytes);
    seconds - seconds / 10 + random.checked_rem(span + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_ten_percent() {
        for seconds in [0, 1, 9, 10, 240, 3600] {
            for _ in 0..100 {
                let next = jittered(seconds);
                assert!(next >= seconds - seconds / 10 && next <= seconds + seconds / 5, "{next}");
            }
        }
    }

    #[test]
    fn loopback_link_local_and_multicast_addresses_are_left_out() {
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
