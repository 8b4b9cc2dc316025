//! The differences between two policies: by document, and by line of their YAML.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;
use xshield_policy::document::Document;

use crate::open::Open;
use crate::policy::{ChangeKind, DocumentChange};

/// The maximum number of lines for one document.
const OF_A_DOCUMENT: usize = 200;
/// The maximum number of lines in total.
const OF_ALL: usize = 2_000;
/// The maximum size of a summary for the audit log, in bytes.
const SUMMARY: usize = 4_000;
/// The number of context lines.
const AROUND: usize = 2;
/// The time limit for comparing two documents; the result is then correct, but maybe not the shortest.
const TIMEOUT: Duration = Duration::from_millis(200);

fn sign(change: &Open<ChangeKind>) -> Cow<'static, str> {
    match change {
        Open::Known(ChangeKind::Added) => "+".into(),
        Open::Known(ChangeKind::Changed) => "~".into(),
        Open::Known(ChangeKind::Removed) => "-".into(),
        Open::Unknown(Value::String(word)) => word.clone().into(),
        Open::Unknown(other) => other.to_string().into(),
    }
}

/// `~ segment web`.
#[must_use]
pub fn headline(change: &DocumentChange) -> String {
    format!("{} {}", sign(&change.change), change.document)
}

/// A document can't be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("no YAML for {document}: {reason}")]
pub struct NoYaml {
    document: String,
    reason: String,
}

/// Kind and name of a document.
#[must_use]
pub fn title(document: &Document) -> String {
    match document {
        Document::Segment(segment) => format!("segment {}", segment.name.value),
        Document::Network(network) => format!("network {}", network.name.value),
        Document::Template(template) => format!("template {}", template.name.value),
        Document::Asset(asset) => format!("asset {}", asset.name.value),
        Document::Settings(_) => "settings".to_owned(),
    }
}

/// The documents that differ, by kind and name.
///
/// # Errors
/// When one of them can't be written as YAML.
pub fn changes(before: &[Document], after: &[Document]) -> Result<Vec<DocumentChange>, NoYaml> {
    let named = |documents: &'_ [Document]| -> BTreeMap<String, Document> {
        documents.iter().map(|document| (title(document), document.clone())).collect()
    };
    let (before, after) = (named(before), named(after));
    let mut room = OF_ALL;
    let mut changes = Vec::new();
    for (title, new) in &after {
        let old = before.get(title);
        if old != Some(new) {
            let change = if old.is_some() { ChangeKind::Changed } else { ChangeKind::Added };
            changes.push(compared(change, title, old, Some(new), &mut room)?);
        }
    }
    for (title, old) in before.iter().filter(|(title, _)| !after.contains_key(*title)) {
        changes.push(compared(ChangeKind::Removed, title, Some(old), None, &mut room)?);
    }
    Ok(changes)
}

fn compared(
    change: ChangeKind,
    title: &str,
    old: Option<&Document>,
    new: Option<&Document>,
    room: &mut usize,
) -> Result<DocumentChange, NoYaml> {
    let yaml = |document: Option<&Document>| match document {
        None => Ok(String::new()),
        Some(document) => serde_saphyr::to_string(document)
            .map_err(|error| NoYaml { document: title.to_owned(), reason: error.to_string() }),
    };
    let (old, new) = (yaml(old)?, yaml(new)?);
    let diff = TextDiff::configure().timeout(TIMEOUT).diff_lines(&old, &new);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(AROUND).iter_hunks() {
        if !lines.is_empty() {
            lines.push("…".to_owned());
        }
        let line = |change: similar::Change<&str>| {
            format!("{}{}", change.tag(), change.value().trim_end_matches('\n'))
        };
        lines.extend(hunk.iter_changes().map(line));
    }
    let kept = lines.len().min(OF_A_DOCUMENT).min(*room);
    *room -= kept;
    let left_out = lines.len() - kept;
    lines.truncate(kept);
    let change = change.into();
    Ok(DocumentChange { change, document: title.to_owned(), lines, left_out })
}

/// For people: each document, and the changed lines of those in both.
#[must_use]
pub fn text(changes: &[DocumentChange]) -> String {
    let mut text = String::new();
    for change in changes {
        text.push_str(&headline(change));
        text.push('\n');
        if !matches!(change.change.known(), Some(ChangeKind::Added | ChangeKind::Removed)) {
            change.lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            if change.left_out > 0 {
                text.push_str(&format!("    … {} more lines\n", change.left_out));
            }
        }
    }
    text
}

/// For the audit log: each document with the removed and added lines, up to a limit.
#[must_use]
pub fn summary(changes: &[DocumentChange]) -> String {
    let mut parts = Vec::new();
    for change in changes {
        let lines = change.lines.iter().filter(|line| line.starts_with(['+', '-']));
        let lines: Vec<&str> = match change.change.known() {
            Some(ChangeKind::Added | ChangeKind::Removed) => Vec::new(),
            Some(ChangeKind::Changed) | None => lines.map(String::as_str).collect(),
        };
        parts.push(match lines.is_empty() {
            true => headline(change),
            false => format!("{}: {}", headline(change), lines.join(" | ")),
        });
    }
    let mut text = parts.join("; ");
    if text.len() > SUMMARY {
        let end = (0..=SUMMARY).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use xshield_policy::document;

    use super::*;

    fn parse(text: &str) -> Vec<Document> {
        document::parse(text, "t").unwrap()
    }

    const BEFORE: &str = "network: { name: a, cidrs: [10.0.0.0/8] }\n---\n\
        network: { name: b, cidrs: [10.0.0.0/8, 11.0.0.0/8] }\n---\nsettings: {}\n";
    const AFTER: &str = "settings: {}\n---\nnetwork: { name: b, cidrs: [10.0.0.0/8, 12.0.0.0/8] }\n---\n\
        segment: { name: a, criteria: role = 'a' }\n";

    #[test]
    fn changes_of_a_document_are_shown_by_line() {
        let (before, after) = (parse(BEFORE), parse(AFTER));
        let changes = changes(&before, &after).unwrap();
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let told: Vec<String> = text(&changes).lines().map(squeezed).collect();
        assert_eq!(told.first().map(String::as_str), Some("~ network b"), "{told:?}");
        assert_eq!(&told[told.len() - 2..], ["+ segment a", "- network a"], "{told:?}");
        assert!(told.contains(&"- - 11.0.0.0/8".to_owned()), "{told:?}");
        assert!(told.contains(&"+ - 12.0.0.0/8".to_owned()), "{told:?}");
        assert!(told.contains(&"- 10.0.0.0/8".to_owned()), "what is around stands there, too");
        assert_eq!(
            squeezed(&summary(&changes)),
            "~ network b: - - 11.0.0.0/8 | + - 12.0.0.0/8; + segment a; - network a"
        );
        assert!(changes[1].lines.iter().all(|line| line.starts_with('+')), "{changes:?}");
        assert!(super::changes(&after, &after).unwrap().is_empty());
    }

    #[test]
    fn a_large_change_is_truncated_and_marked() {
        let network = |first: u8| {
            let cidrs: Vec<String> = (0..=255).map(|last| format!("{first}.0.0.{last}")).collect();
            parse(&format!("network: {{ name: n, cidrs: [{}] }}", cidrs.join(", ")))
        };
        let changes = changes(&network(10), &network(11)).unwrap();
        assert_eq!(changes[0].lines.len(), OF_A_DOCUMENT);
        assert!(changes[0].left_out > 256, "{}", changes[0].left_out);
        assert!(text(&changes).contains(" more lines"));
        assert!(summary(&changes).len() <= SUMMARY + 3);
    }
}
