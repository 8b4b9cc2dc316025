//! Replaces messages of the YAML library by texts for operators.

use std::borrow::Cow;

/// The beginnings of the library's messages, and their replacements.
const WORDS: [(&str, &str); 10] = [
    ("expected sequence start", "expected a list: [a, b], or a line '- a' for each"),
    ("expected mapping start", "expected a mapping: 'name: value' for each field"),
    ("expected string scalar", "expected a text, not a list or a mapping"),
    (
        "unexpected end of input",
        "the text ends in the middle of something; is a bracket or quote open?",
    ),
    (
        "budget breached: Anchors",
        "anchors (&name) are not supported: write the value where it is used",
    ),
    (
        "budget breached: Aliases",
        "aliases (*name) are not supported: write the value where it is used",
    ),
    ("budget breached: MergeKeys", "merge keys (<<) are not supported: write the fields out"),
    ("budget breached: Depth", "nested too deeply"),
    ("budget breached: Documents", "too many documents in one text; split it into several files"),
    ("budget breached:", "larger than a policy can be; split it into several files"),
];

/// The reason without the position that the library appends.
#[must_use]
pub fn plain_reason(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.rfind(" at line ").map_or(first, |at| &first[..at]);
    said(first).into_owned()
}

fn said(message: &str) -> Cow<'_, str> {
    let known = WORDS.iter().find(|(start, _)| message.starts_with(start));
    known.map_or(Cow::Borrowed(message), |(_, words)| Cow::Borrowed(*words))
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn no_wording_of_the_parser_library_is_shown() {
        for (text, reason) in [
            ("segment:\n  name: a\n  criteria: a = 'b'\n  templates: web\n", "expected a list"),
            ("template: [a]\n", "expected a mapping"),
            ("segment:\n  name: [a]\n  criteria: a = 'b'\n", "expected a text"),
            (
                "segment:\n  name: &a web\n  criteria: a = 'b'\n",
                "anchors (&name) are not supported",
            ),
            ("segment:\n  name: *a\n  criteria: a = 'b'\n", "a"),
            ("settings: [\n", "expected a mapping"),
        ] {
            let said = parse(text, "f").unwrap_err().reason;
            assert!(said.contains(reason), "{text:?}: {said}");
            for word in ["budget", "breach", "sequence start", "mapping start", "scalar", "{"] {
                assert!(!said.contains(word), "{text:?}: {said}");
            }
        }
    }
}
