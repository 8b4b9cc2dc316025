//! Channels, and the record of what was delivered over them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_alerting::channel::{self, WEBHOOK_SECRET, webhook_secret};
use xshield_alerting::deliver::{self, sealed_for};
use xshield_api::channels::{
    Channel, ChannelInput, Channels, Delivery, DeliveryQuery, WrittenChannel,
};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_model::channel::ChannelSettings;
use xshield_model::role::Role;
use xshield_operations::OperationError;
use xshield_operations::alert_rules::checked_name;
use xshield_operations::ids::{new_id, random};
use xshield_operations::paging::{Pages as _, paged};
use xshield_store::audit::Deed;
use xshield_store::deliveries::{StoredChannel, StoredDelivery, Waiting};
use xshield_store::{Conn, alerts, audit, commit, deliveries};

use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::BothOf;
use crate::state::App;

const MOST_CHANNELS: usize = 100;
const LONGEST_SECRET: usize = 1024;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(test))
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
}

fn shown(caller: &Caller, channel: StoredChannel, waiting: Waiting) -> Channel {
    let allows_private = channel.settings.allows_private();
    Channel {
        name: channel.name,
        settings: channel.settings,
        state: channel.state,
        has_secret: channel.sealed_secret.is_some(),
        created_at: channel.created_at,
        created_by: channel.created_by,
        waiting: waiting.all,
        failures: channel.failures,
        next_attempt: Some(channel.next_attempt).filter(|_| channel.failures > 0),
        last_success: channel.last_success,
        last_failure: channel.last_failure,
        last_answer: heard(caller, allows_private, channel.last_answer),
    }
}

/// List channels
#[utoipa::path(get, path = "/api/v1/alert-channels", tag = "alerts",
    responses((status = 200, body = Channels)))]
async fn list(State(app): State<App>, allowed: Allowed<Viewer>) -> Answer<Json<Channels>> {
    let now = Timestamp::now();
    let mut conn = app.store.read().await?;
    let mut items = Vec::new();
    for channel in deliveries::channels(&mut conn).await? {
        let waiting = deliveries::waiting(&mut conn, &channel.id, now).await?;
        items.push(shown(allowed.caller(), channel, waiting));
    }
    Ok(Json(Channels { items }))
}

async fn known(conn: &mut Conn, name: &str) -> Answer<StoredChannel> {
    let channel = deliveries::channel(conn, name).await?;
    channel.ok_or_else(|| Problem::not_found("channel", name))
}

/// One channel
#[utoipa::path(get, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = Channel)))]
async fn get(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    Path(name): Path<String>,
) -> Answer<Json<Channel>> {
    let mut conn = app.store.read().await?;
    let channel = known(&mut conn, &name).await?;
    let waiting = deliveries::waiting(&mut conn, &channel.id, Timestamp::now()).await?;
    Ok(Json(shown(allowed.caller(), channel, waiting)))
}

/// Write a channel, in place of the one with its name
#[utoipa::path(put, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), request_body = ChannelInput,
    responses((status = 200, body = WrittenChannel)))]
async fn put(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(input): JsonBody<ChannelInput>,
) -> Answer<Json<WrittenChannel>> {
    let name = checked_name(&name)?;
    channel::check(&input.settings).map_err(OperationError::from)?;
    let now = Timestamp::now();
    let actor = allowed.actor();
    let mut tx = app.store.write().await?;
    let before = deliveries::channel(&mut tx, &name).await?;
    permitted(allowed.caller(), &input.settings, before.as_ref())?;
    if before.is_none() && deliveries::channels(&mut tx).await?.len() >= MOST_CHANNELS {
        let detail = format!("there are {MOST_CHANNELS} channels already; delete one");
        return Err(Problem::conflict("too-many-channels", detail));
    }
    let id = match &before {
        Some(before) => before.id.clone(),
        None => new_id("ch-").map_err(|error| Problem::internal(&error))?,
    };
    let secret = secret_of(&input, before.as_ref())?;
    let seal = |secret: &[u8]| {
        let sealed = app.keys.seal.secret(&sealed_for(&id), secret);
        sealed.map_err(|error| Problem::internal(&error))
    };
    let sealed_secret = match &secret {
        SecretOf::Kept => before.as_ref().and_then(|before| before.sealed_secret.clone()),
        SecretOf::None => None,
        SecretOf::Given(bytes) | SecretOf::MadeUp(bytes, _) => Some(seal(bytes)?),
    };
    let channel = StoredChannel {
        name,
        id,
        settings: input.settings,
        sealed_secret,
        state: input.state,
        created_at: before.as_ref().map_or(now, |before| before.created_at),
        created_by: before.as_ref().map_or(actor.clone(), |before| before.created_by.clone()),
        next_attempt: Timestamp(0),
        failures: 0,
        last_success: before.as_ref().and_then(|before| before.last_success),
        last_failure: before.as_ref().and_then(|before| before.last_failure),
        last_answer: before.as_ref().map_or_else(String::new, |before| before.last_answer.clone()),
    };
    deliveries::put_channel(&mut tx, &channel).await?;
    let deed = Deed {
        actor: &actor,
        action: "alert-channel.put",
        target: &channel.name,
        before: before.map(|before| before.settings.summary()).unwrap_or_default(),
        after: channel.settings.summary(),
    };
    audit::record(&mut tx, deed, now).await?;
    let waiting = deliveries::waiting(&mut tx, &channel.id, now).await?;
    commit(tx).await?;
    app.alerts.due.notify_one();
    let made_up = match secret {
        SecretOf::MadeUp(_, text) => Some(text),
        _ => None,
    };
    Ok(Json(WrittenChannel { channel: shown(allowed.caller(), channel, waiting), secret: made_up }))
}

/// What leads to private addresses is for admins: what answers there, or does not, would tell operators
/// of networks that they can't reach.
fn permitted(
    caller: &Caller,
    after: &ChannelSettings,
    before: Option<&StoredChannel>,
) -> Answer<()> {
    let is_the_same = |before: &StoredChannel| {
        before.settings.allows_private() && before.settings.place() == after.place()
    };
    if !after.allows_private() || caller.role >= Role::Admin || before.is_some_and(is_the_same) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed")
        .field("/settings/allow_private")
        .detail("reaching private addresses takes the role admin"))
}

/// What a receiver said, as far as the caller may know it: the words of one in a private network are
/// for admins. A number in front, as SMTP and HTTP have, is everybody's.
fn heard(caller: &Caller, allows_private: bool, answer: String) -> String {
    if !allows_private || caller.role >= Role::Admin || answer.is_empty() {
        return answer;
    }
    let number = answer
        .split(' ')
        .next()
        .filter(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(number) => format!("{number} (the rest is for admins)"),
        None => "what was said or went wrong is for admins".to_owned(),
    }
}

/// The secret that a written channel has.
enum SecretOf {
    None,
    Kept,
    Given(Vec<u8>),
    MadeUp(Vec<u8>, String),
}

fn secret_of(input: &ChannelInput, before: Option<&StoredChannel>) -> Answer<SecretOf> {
    if input.secret.as_ref().is_some_and(|secret| secret.len() > LONGEST_SECRET) {
        return Err(Problem::invalid("/secret", format!("longer than {LONGEST_SECRET} bytes")));
    }
    let same = |before: &&StoredChannel| {
        before.sealed_secret.is_some() && before.settings.receiver() == input.settings.receiver()
    };
    let can_keep = before.filter(same).is_some();
    match (&input.settings, &input.secret) {
        (ChannelSettings::Mail(mail), secret) => match (&mail.username, secret) {
            (Some(_), Some(password)) => Ok(SecretOf::Given(password.clone().into_bytes())),
            (Some(_), None) if can_keep => Ok(SecretOf::Kept),
            (Some(_), None) => {
                let reason =
                    "password required: none is stored, or the stored one is for another server";
                Err(Problem::invalid("/secret", reason))
            }
            (None, Some(_)) => Err(Problem::invalid("/secret", "a password needs a username")),
            (None, None) => Ok(SecretOf::None),
        },
        (ChannelSettings::Webhook(_), Some(secret)) => {
            Ok(SecretOf::Given(webhook_secret(secret).map_err(OperationError::from)?))
        }
        (ChannelSettings::Webhook(_), None) if can_keep => Ok(SecretOf::Kept),
        (ChannelSettings::Webhook(_), None) => {
            let bytes = random::<32>().map_err(|error| Problem::internal(&error))?.to_vec();
            let text = format!("{WEBHOOK_SECRET}{}", STANDARD.encode(&bytes));
            Ok(SecretOf::MadeUp(bytes, text))
        }
        (ChannelSettings::Syslog(_), Some(_)) => {
            Err(Problem::invalid("/secret", "syslog has no secret"))
        }
        (ChannelSettings::Syslog(_), None) => Ok(SecretOf::None),
    }
}

/// Delete a channel, what waits for it, and its record
#[utoipa::path(delete, path = "/api/v1/alert-channels/{name}", tag = "alerts",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = app.store.write().await?;
    let rules = alerts::rules(&mut tx).await?;
    if let Some(user) = rules.iter().find(|stored| stored.rule.channels.contains(&name)) {
        let detail = format!("the alert rule {:?} uses it; change that first", user.name);
        return Err(Problem::conflict("channel-in-use", detail));
    }
    if !deliveries::delete_channel(&mut tx, &name).await? {
        return Err(Problem::not_found("channel", &name));
    }
    let deed = Deed {
        actor: &allowed.actor(),
        action: "alert-channel.delete",
        target: &name,
        before: String::new(),
        after: String::new(),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a channel now, once; says what the other end answered
#[utoipa::path(post, path = "/api/v1/alert-channels/{name}/test", tag = "alerts",
    params(("name" = String, Path)), responses((status = 200, body = Delivery)))]
async fn test(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Delivery>> {
    let channel = known(&mut *app.store.read().await?, &name).await?;
    let tried = deliver::test(&app.delivery, &channel).await?;
    let mut tx = app.store.write().await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "alert-channel.test",
        target: &name,
        before: String::new(),
        after: format!("{:?}", tried.state).to_lowercase(),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    let allows_private = channel.settings.allows_private();
    Ok(Json(delivery(tried, Shown::Whole, |said| heard(allowed.caller(), allows_private, said))))
}

/// Whether the payload is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Whole,
    Listed,
}

fn delivery(
    stored: StoredDelivery,
    shown: Shown,
    heard: impl FnOnce(String) -> String,
) -> Delivery {
    Delivery {
        id: stored.id,
        channel: stored.channel,
        kind: stored.kind,
        state: stored.state,
        alerts: stored.alerts,
        attempts: stored.attempts,
        created_at: stored.created_at,
        last_attempt: stored.last_attempt,
        answer: heard(stored.answer),
        payload: stored.payload.filter(|_| shown == Shown::Whole),
    }
}

/// The names of the channels that may lead to private addresses.
async fn private_ones(conn: &mut Conn) -> Answer<HashSet<String>> {
    let channels = deliveries::channels(conn).await?.into_iter();
    let private = channels.filter(|channel| channel.settings.allows_private());
    Ok(private.map(|channel| channel.name).collect())
}

/// Deliveries, the newest first
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "alerts", params(DeliveryQuery, PageQuery),
    responses((status = 200, body = Page<Delivery>)))]
async fn list_deliveries(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    BothOf(query, page): BothOf<DeliveryQuery, PageQuery>,
) -> Answer<Json<Page<Delivery>>> {
    let limit = page.limit()?;
    let mut conn = app.store.read().await?;
    let channel = query.channel.as_deref();
    let found = deliveries::list(&mut conn, channel, query.state, page.after()?, limit + 1).await?;
    let private = private_ones(&mut conn).await?;
    let show = |stored: StoredDelivery| {
        let allows_private = private.contains(&stored.channel);
        delivery(stored, Shown::Listed, |said| heard(allowed.caller(), allows_private, said))
    };
    Ok(Json(paged(found, limit, |found| found.number, show)))
}

/// One delivery, with what was sent
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "alerts",
    params(("id" = String, Path)), responses((status = 200, body = Delivery)))]
async fn get_delivery(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Delivery>> {
    let mut conn = app.store.read().await?;
    let found = deliveries::get(&mut conn, &id).await?;
    let found = found.ok_or_else(|| Problem::not_found("delivery", &id))?;
    let allows_private = private_ones(&mut conn).await?.contains(&found.channel);
    Ok(Json(delivery(found, Shown::Whole, |said| heard(allowed.caller(), allows_private, said))))
}
