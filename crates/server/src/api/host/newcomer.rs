//! A host with an unknown identity key: whether it becomes an asset.

use std::net::IpAddr;

use axum::http::StatusCode;
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_operations::claims::free_name;
use xshield_operations::ids::new_id;
use xshield_operations::parsed_policies::Policies;
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::Name;
use xshield_store::assets::{NewAsset, StoredAsset};
use xshield_store::audit::NewAuditEntry;
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::identities::{Attempt, PendingIdentityOutcome};
use xshield_store::{Conn, assets, audit, enforcement_keys, enrolment, identities};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::SessionRequest;

use super::signed::decommissioned;
use crate::problem::{Answer, ErrorResponse};

/// A host with an enforcement key and an identity key that belongs to no asset.
#[derive(Clone, Copy)]
pub(super) struct Newcomer<'a> {
    /// Its verified request.
    pub(super) request: &'a SessionRequest,
    /// The name that it claims.
    pub(super) name: &'a Name,
    /// The policies that may refer to that name.
    pub(super) policies: &'a Policies,
    /// The remote address of the connection.
    pub(super) from: IpAddr,
    /// The platform's time.
    pub(super) now: Timestamp,
}

impl Newcomer<'_> {
    /// Makes it an asset if the key allows it and no other machine has its name.
    ///
    /// # Errors
    /// A problem with the reason.
    pub(super) async fn enrol(self, conn: &mut Conn, key: &StoredKey) -> Answer<AssetId> {
        self.is_admitted(key)?;
        if enrolment::is_replay(conn, self.request).await? {
            return Err(replayed());
        }
        match assets::by_name(conn, self.name.as_str()).await? {
            None => {
                let name = self.held_name(conn, key).await?;
                self.register(conn, &name, key).await
            }
            Some(namesake) => Err(self.wait(conn, &namesake, key).await?),
        }
    }

    /// Whether the key still accepts new hosts, and this one.
    fn is_admitted(self, key: &StoredKey) -> Answer<()> {
        let key_word = word(key.kind);
        if let Some(end) = key.expires_at.filter(|_| key.has_expired(self.now)) {
            return Err(refuse(
                StatusCode::UNAUTHORIZED,
                "enforcement-key-expired",
                "Enforcement key expired",
                format!(
                    "{key_word} {:?} expired at {} and registers no new host; put a current key \
                     into the host's configuration",
                    key.id,
                    end.to_rfc3339()
                ),
            ));
        }
        if key.is_used_up() {
            return Err(used_up(key));
        }
        if !key.admits.networks.contains(self.from) {
            return Err(refuse(
                StatusCode::FORBIDDEN,
                "network-not-allowed",
                "Network not allowed for this enforcement key",
                format!(
                    "{key_word} {:?} registers no host from {}; use a key whose networks contain \
                     it: xshield key show {}",
                    key.id, self.from, key.id
                ),
            ));
        }
        match &key.admits.name {
            Some(name) if name != self.name => Err(refuse(
                StatusCode::FORBIDDEN,
                "name-not-allowed",
                "Enforcement key bound to another host",
                format!(
                    "{key_word} {:?} only registers {name}, and this host is named {}; if it is \
                     the intended host, set name: {name} in its configuration",
                    key.id, self.name
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The name that the asset gets: for a key bound to a name, that name.
    async fn held_name(self, conn: &mut Conn, key: &StoredKey) -> Answer<Name> {
        match &key.admits.name {
            Some(given) if given == self.name => Ok(given.clone()),
            _ => Ok(free_name(conn, self.name, self.policies).await?),
        }
    }

    async fn register(self, conn: &mut Conn, name: &Name, key: &StoredKey) -> Answer<AssetId> {
        if !enforcement_keys::count_registration(conn, &key.id, self.now).await? {
            return Err(used_up(key));
        }
        let id = new_id("as-").map_err(|error| ErrorResponse::internal(&error))?;
        let id: AssetId = id.parse().map_err(|error| ErrorResponse::internal(&error))?;
        let identity = self.request.identity;
        let asset = NewAsset { id: &id, name, source: Source::Spark, identity, tags: &key.tags };
        assets::insert(conn, &asset, self.now).await?;
        enrolment::note_registration(conn, &id, &key.id).await?;
        let new_entry = NewAuditEntry {
            actor: &format!("host:{id}"),
            action: "asset.register",
            target: name.as_str(),
            before: String::new(),
            after: format!(
                "{id} with {} {} from {}, {}",
                word(key.kind),
                key.id,
                self.from,
                self.fingerprint()
            ),
        };
        audit::record(conn, new_entry, self.now).await?;
        Ok(id)
    }

    /// Records that it claims another machine's name.
    async fn wait(
        self,
        conn: &mut Conn,
        namesake: &StoredAsset,
        key: &StoredKey,
    ) -> Answer<ErrorResponse> {
        let attempt = Attempt { identity: self.request.identity, key: &key.id, from: self.from };
        let noted = identities::note(conn, &namesake.id, attempt, self.now).await?;
        if noted == PendingIdentityOutcome::New {
            let new_entry = NewAuditEntry {
                actor: &format!("host:{}", namesake.id),
                action: "asset.identity-changed",
                target: self.name.as_str(),
                before: IdentityFingerprint::of(&namesake.identity).to_string(),
                after: format!(
                    "{} with {} {} from {}",
                    self.fingerprint(),
                    word(key.kind),
                    key.id,
                    self.from
                ),
            };
            audit::record(conn, new_entry, self.now).await?;
        }
        if namesake.decommissioned_at.is_some() {
            return Ok(decommissioned(self.name.as_str()));
        }
        Ok(self.name_taken(noted))
    }

    /// The refusal for a host whose name belongs to another machine. It names no command that would hand over
    /// the asset: the operator has to compare fingerprints first.
    fn name_taken(self, noted: PendingIdentityOutcome) -> ErrorResponse {
        let (name, fingerprint) = (self.name, self.fingerprint());
        let another = format!(
            "another machine is registered as {name}. If this is a different machine, set a name \
             of its own with name: in its configuration"
        );
        let (slug, what_next) = match noted {
            PendingIdentityOutcome::New | PendingIdentityOutcome::Waiting => (
                "identity-changed",
                format!(
                    "If it is the same machine, reinstalled, an operator can approve its new \
                     identity key by its fingerprint, {fingerprint}: xshield asset show {name}"
                ),
            ),
            PendingIdentityOutcome::Rejected => (
                "identity-rejected",
                format!(
                    "An operator has rejected this machine's identity key, fingerprint {fingerprint}"
                ),
            ),
            PendingIdentityOutcome::NoRoom => (
                "identity-changed",
                format!(
                    "Too many identity keys are pending for that name already, so this one, \
                     fingerprint {fingerprint}, is not recorded; an operator must reject some: \
                     xshield asset show {name}"
                ),
            ),
        };
        let title = "Name already registered by another machine";
        refuse(StatusCode::FORBIDDEN, slug, title, format!("{another}. {what_next}"))
    }

    fn fingerprint(self) -> IdentityFingerprint {
        IdentityFingerprint::of(&self.request.identity)
    }
}

fn word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Key => "enforcement key",
        KeyKind::Token => "registration token",
    }
}

fn used_up(key: &StoredKey) -> ErrorResponse {
    let detail = match key.kind {
        KeyKind::Token => format!(
            "registration token {:?} has already been used for its host; create one for this \
             host: xshield key token",
            key.id
        ),
        KeyKind::Key => format!(
            "enforcement key {:?} has registered as many hosts as it may; use another key",
            key.id
        ),
    };
    let title = "Enforcement key used up";
    refuse(StatusCode::FORBIDDEN, "enforcement-key-used-up", title, detail)
}

fn replayed() -> ErrorResponse {
    refuse(
        StatusCode::CONFLICT,
        "registration-replayed",
        "Request older than the asset's deletion",
        "the platform has already seen this request, or a later one, from a host whose asset was \
         deleted since; a new request registers the host"
            .to_owned(),
    )
}

fn refuse(status: StatusCode, slug: &'static str, title: &str, detail: String) -> ErrorResponse {
    metrics::counter!("xshield_refused_total", "reason" => slug).increment(1);
    ErrorResponse::new(status, slug, title).detail(detail)
}
