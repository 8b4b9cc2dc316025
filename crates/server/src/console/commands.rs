//! Commands for hosts: selected in a table, confirmed, followed until each host has an outcome.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use xshield_api::commands::{Command, NewCommand, Selection};
use xshield_api::open::Open;
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_model::command::{Progress, TargetState};
use xshield_operations::commands::{self, AtAsset, Prepared};
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Pages as _;
use xshield_operations::selection::selected;
use xshield_policy::AssetId;
use xshield_store::Store;
use xshield_store::{from_word, word};
use xshield_wire::message::CommandKind;

use super::display::{State, Tone, When};
use super::form::Form;
use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::{Operator, Viewer};
use crate::download;
use crate::keys::DataDir;
use crate::problem::{Answer, ErrorResponse};
use crate::query::QueryOf;
use crate::signals::HostEffects;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/commands", get(list).post(give))
        .route("/commands/confirm", post(confirm))
        .route("/commands/{id}/cancel", post(cancel))
        .route("/diagnostics/{id}", get(diagnostics))
}

/// A command that can be sent from the console.
pub(super) struct Kind {
    /// Its name in the API.
    pub(super) word: &'static str,
    /// Its label in lists.
    pub(super) label: &'static str,
    /// What hosts will do, after "12 hosts will".
    will: &'static str,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind {
        word: "diagnostics",
        label: "Collect diagnostics",
        will: "collect diagnostics and upload them",
    },
    Kind {
        word: "debug-on",
        label: "Switch detailed logging on",
        will: "log in detail, and send the log here",
    },
    Kind {
        word: "debug-off",
        label: "Switch detailed logging off",
        will: "stop logging in detail",
    },
    Kind { word: "run-now", label: "Run now", will: "run a whole cycle now" },
    Kind {
        word: "resend",
        label: "Send everything again",
        will: "report everything again, also what has not changed",
    },
];

/// The label of a kind.
pub(super) fn label(kind: &Open<CommandKind>) -> Answer<String> {
    let word = word(kind)?;
    let known = KINDS.iter().find(|known| known.word == word);
    Ok(known.map_or(word, |known| known.label.to_owned()))
}

/// A command as submitted by a form.
struct CommandForm {
    kind: &'static Kind,
    command: NewCommand,
    /// The submitted fields, for the next form.
    fields: Vec<(&'static str, String)>,
}

impl CommandForm {
    fn of(form: &Form) -> Answer<Self> {
        let chosen = form.one("kind").unwrap_or_default();
        let kind = KINDS
            .iter()
            .find(|kind| kind.word == chosen)
            .ok_or_else(|| ErrorResponse::invalid("kind", "choose a command"))?;
        let commanded = from_word(kind.word)?;
        let duration = match (commanded, form.one("duration")) {
            (CommandKind::DebugOn, Some(seconds)) => {
                let refused = |_| ErrorResponse::invalid("duration", "not a number of seconds");
                Some(seconds.parse::<u32>().map_err(refused)?)
            }
            _ => None,
        };
        let mut fields = vec![("kind", kind.word.to_owned())];
        fields.extend(duration.map(|seconds| ("duration", seconds.to_string())));
        let whom = form.one("whom").unwrap_or_default();
        fields.push(("whom", whom.to_owned()));
        let target = match whom {
            "selected" => {
                let names: Vec<String> = form.all("asset").map(str::to_owned).collect();
                if names.is_empty() {
                    return Err(ErrorResponse::invalid("asset", "select at least one host"));
                }
                fields.extend(names.iter().map(|name| ("asset", name.clone())));
                Selection { assets: Some(names), ..Selection::default() }
            }
            "matching" => filter(form, &mut fields)?,
            _ => return Err(ErrorResponse::invalid("whom", "choose hosts")),
        };
        let command = NewCommand {
            kind: commanded,
            duration_seconds: duration,
            expires_in_seconds: None,
            target,
        };
        Ok(Self { kind, command, fields })
    }
}

/// The hosts of a table, as it was filtered.
fn filter(form: &Form, fields: &mut Vec<(&'static str, String)>) -> Answer<Selection> {
    let mut field = |name: &'static str| {
        let value = form.one(name)?.to_owned();
        fields.push((name, value.clone()));
        Some(value)
    };
    let refused = |name: &'static str| move |_| ErrorResponse::invalid(name, "unknown value");
    let source = field("source").map(|text| from_word(&text)).transpose();
    let status = field("status").map(|text| from_word(&text)).transpose();
    let criteria = field("where").map(|text| text.parse()).transpose();
    Ok(Selection {
        source: source.map_err(refused("source"))?,
        status: status.map_err(refused("status"))?,
        criteria: criteria.map_err(|error: xshield_policy::criteria::CriteriaError| {
            ErrorResponse::invalid("where", error.to_string())
        })?,
        name: field("name"),
        ..Selection::default()
    })
}

/// Asks for confirmation of the number of hosts.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    label: &'static str,
    will: &'static str,
    hosts: usize,
    /// The number of hosts when it was confirmed, if that has changed since.
    before: Option<String>,
    whom: String,
    duration: Option<String>,
    fields: Vec<(&'static str, String)>,
}

async fn confirm(
    Shared(store): Shared<Store>,
    Shared(compiler): Shared<Arc<RulesetCompiler>>,
    Visitor(allowed): Visitor<Operator>,
    form: Form,
) -> Answer<Response> {
    let command_form = CommandForm::of(&form)?;
    let target = &command_form.command.target;
    let chosen = selected(&store, &compiler, target, Timestamp::now()).await?;
    let frame = Frame::new(command_form.kind.label, Section::Commands, allowed.caller());
    Ok(asked(frame, command_form, &chosen, None))
}

fn asked(
    frame: Frame,
    command_form: CommandForm,
    chosen: &[AssetId],
    before: Option<String>,
) -> Response {
    let page = ConfirmPage {
        frame,
        label: command_form.kind.label,
        will: command_form.kind.will,
        hosts: chosen.len(),
        before,
        whom: whom(&command_form.command.target),
        duration: command_form.command.duration_seconds.map(length),
        fields: command_form.fields,
    };
    answer(StatusCode::OK, &page)
}

async fn give(
    Shared(store): Shared<Store>,
    Shared(compiler): Shared<Arc<RulesetCompiler>>,
    Shared(effects): Shared<HostEffects>,
    Visitor(allowed): Visitor<Operator>,
    form: Form,
) -> Answer<Response> {
    let command_form = CommandForm::of(&form)?;
    let now = Timestamp::now();
    let prepared = Prepared::new(&command_form.command, &allowed, now)?;
    let chosen = selected(&store, &compiler, &command_form.command.target, now).await?;
    let confirmed = form.one("hosts").unwrap_or("none");
    if confirmed != chosen.len().to_string() {
        let frame = Frame::new(command_form.kind.label, Section::Commands, allowed.caller());
        return Ok(asked(frame, command_form, &chosen, Some(confirmed.to_owned())));
    }
    let given = commands::give(&store, &effects, &allowed, prepared, &chosen).await?;
    Ok(Redirect::to(&format!("/commands/{}", given.id)).into_response())
}

async fn cancel(
    Shared(store): Shared<Store>,
    Visitor(allowed): Visitor<Operator>,
    Path(id): Path<String>,
) -> Answer<Response> {
    let command = commands::cancel(&store, &allowed, &id, Timestamp::now()).await?;
    Ok(Redirect::to(&format!("/commands/{}", command.id)).into_response())
}

async fn diagnostics(
    Shared(store): Shared<Store>,
    Shared(dir): Shared<Arc<DataDir>>,
    Visitor(allowed): Visitor<Operator>,
    Path(id): Path<String>,
) -> Answer<Response> {
    download::diagnostics(&store, &dir, &allowed, &id).await
}

/// A command in a list.
pub(super) struct Given {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) given: When,
    pub(super) by: String,
    pub(super) state: State,
    pub(super) reason: String,
}

/// A command at one asset.
pub(super) fn at_asset(command: AtAsset, now: Timestamp) -> Answer<Given> {
    let AtAsset { id, kind, created_at, created_by, state, reason } = command;
    let given = listed(id, kind.into(), created_at, &created_by, now)?;
    Ok(Given { state: outcome(&state.into())?, reason, ..given })
}

fn listed(
    id: String,
    kind: Open<CommandKind>,
    created_at: Timestamp,
    created_by: &str,
    now: Timestamp,
) -> Answer<Given> {
    Ok(Given {
        label: label(&kind)?,
        given: When::of(created_at, now),
        by: by(created_by),
        state: State::new("", Tone::Quiet),
        reason: String::new(),
        id,
    })
}

/// The state of a command at a host.
pub(super) fn outcome(state: &Open<TargetState>) -> Answer<State> {
    let tone = match state.known() {
        Some(TargetState::Done) => Tone::Good,
        Some(TargetState::Failed | TargetState::Unknown) => Tone::Bad,
        Some(TargetState::Expired) => Tone::Warning,
        Some(TargetState::Waiting | TargetState::Told | TargetState::Cancelled) | None => {
            Tone::Quiet
        }
    };
    Ok(State::new(word(state)?, tone))
}

#[derive(Template)]
#[template(path = "commands.html")]
struct CommandsPage {
    frame: Frame,
    commands: Vec<(Given, Progress)>,
    next: Option<String>,
}

async fn list(
    Shared(store): Shared<Store>,
    Visitor(allowed): Visitor<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Response> {
    let (paging, now) = (page.paging()?, Timestamp::now());
    let mut conn = store.read().await?;
    let Page { items, next } = commands::list(&mut conn, None, paging, now).await?;
    let shown = |command: Command| {
        let Command { id, kind, created_at, created_by, progress, .. } = command;
        let given = listed(id, kind, created_at, &created_by, now)?;
        Ok((Given { state: overall(&progress), ..given }, progress))
    };
    let commands = items.into_iter().map(shown).collect::<Answer<_>>()?;
    let frame = Frame::new("Commands", Section::Commands, allowed.caller());
    Ok(answer(StatusCode::OK, &CommandsPage { frame, commands, next }))
}

/// The state of a command over all its hosts.
pub(super) fn overall(progress: &Progress) -> State {
    if progress.under_way() > 0 {
        State::new("in progress", Tone::Quiet)
    } else if progress.done == progress.assets {
        State::new("done", Tone::Good)
    } else {
        State::new("ended", Tone::Warning)
    }
}

/// The account that sent it, without the prefix of the audit log.
pub(super) fn by(actor: &str) -> String {
    actor.strip_prefix("user:").unwrap_or(actor).to_owned()
}

/// The hosts that a selection matches, in words.
pub(super) fn whom(selection: &Selection) -> String {
    if let Some(names) = &selection.assets {
        return names.join(", ");
    }
    let mut words = vec![match &selection.source {
        Some(source) => format!("all hosts of source {}", word(source).unwrap_or_default()),
        None => "all hosts".to_owned(),
    }];
    words.extend(selection.name.as_ref().map(|name| format!("with {name:?} in the name")));
    let status = selection.status.as_ref().and_then(|status| word(status).ok());
    words.extend(status.map(|status| format!("that are {status}")));
    words.extend(selection.segment.as_ref().map(|name| format!("in segment {name}")));
    words.extend(selection.criteria.as_ref().map(|criteria| format!("where {criteria}")));
    words.join(" ")
}

/// A duration in words.
pub(super) fn length(seconds: u32) -> String {
    match (seconds % 3600, seconds % 60) {
        (0, _) => format!("{} h", seconds / 3600),
        (_, 0) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_kind_exists_in_the_protocol() {
        for kind in &KINDS {
            assert_ne!(from_word::<CommandKind>(kind.word).unwrap(), CommandKind::Unknown);
        }
    }

    #[test]
    fn durations_are_shown_in_words() {
        for (seconds, text) in [(3600, "1 h"), (900, "15 min"), (61, "61 s"), (86_400, "24 h")] {
            assert_eq!(length(seconds), text);
        }
    }
}
