//! Explains, to the author of a rule, what was found of a program that does not listen.

use std::path::Path;

use xshield_policy::{LocalProgram, ProcessMatch};

use super::executable_match::ExecutableMatch;
use super::survey::Survey;
use crate::linux::instance::{Instance, shown};

/// The most processes named; the others are counted.
const MOST: usize = 3;

/// What was searched for besides the rule's own values, and what was found: a clause without a period.
pub(super) fn found(program: &LocalProgram, survey: &mut Survey) -> String {
    let file = program.process().map(|process| file(process, survey));
    let running = running(program, survey);
    match (file, running) {
        (Some(Err(nothing)), Ok(running)) if running.is_empty() => nothing,
        (Some(Ok(Some(leads))), Ok(running)) => format!("{leads}; {}", listed(&running, survey)),
        (_, Ok(running)) => listed(&running, survey),
        (_, Err(reason)) => reason,
    }
}

/// The target of a rule's path if it is a link, or that there is no file.
fn file(process: &ProcessMatch, survey: &mut Survey) -> Result<Option<String>, String> {
    let ProcessMatch::Path(path) = process else { return Ok(None) };
    let places = survey.at(Path::new(path));
    let Some(place) = places.iter().find(|place| place.file.is_some()) else {
        return Err(format!("there is no file {}", shown(path)));
    };
    let own = place.path.to_string_lossy();
    Ok((own != path.as_str()).then(|| format!("{} leads to {}", shown(path), shown(&own))))
}

/// The processes of the program, whether they listen or not.
pub(super) fn running(
    program: &LocalProgram,
    survey: &mut Survey,
) -> Result<Vec<Instance>, String> {
    let user = program.user().map(|user| survey.accounts.number(user)).transpose()?;
    let all = survey.instances()?;
    let is_it = |instance: &&Instance| {
        let process = program.process();
        process
            .is_none_or(|process| survey.executable_match(process, instance) == ExecutableMatch::Is)
            && user.is_none_or(|user| instance.users.contains(&user))
            && program.unit().is_none_or(|unit| instance.unit() == Some(unit.as_str()))
    };
    Ok(all.iter().filter(is_it).cloned().collect())
}

fn listed(running: &[Instance], survey: &Survey) -> String {
    if running.is_empty() {
        return "no such process runs".to_owned();
    }
    let one = |instance: &Instance| {
        let user = survey.accounts.shown(instance.users[0]);
        format!("process {} ({}, user {user})", instance.pid, instance.shown())
    };
    let mut named: Vec<String> = running.iter().take(MOST).map(one).collect();
    let more = running.len().saturating_sub(MOST);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let runs = if running.len() == 1 { "runs" } else { "run" };
    format!("{} {runs}, and other hosts can reach no socket of it", named.join(", "))
}

#[cfg(test)]
mod tests;
