//! Makes texts of hosts, feeds, servers and other programs safe to print.
//!
//! Characters that could move a terminal's cursor, start another line, or change the direction of text are
//! replaced by U+FFFD. In JSON, which is for programs, they are escaped, so that nothing is lost.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

const STANDS_FOR_IT: char = '\u{fffd}';

/// Whether a character affects the display of others: control characters (C0 including tabs and line breaks,
/// DEL, C1), line and paragraph separators, direction marks and overrides, and the byte order mark.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// The text without such characters, on one line.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    replaced(text, steers)
}

/// A text of several lines, each without such characters: for texts that were built from [`one_line`] texts,
/// and where lines are wanted.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| steers(c) && c != '\n' && c != '\t')
}

fn replaced(text: &str, what: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.contains(&what) {
        Cow::Owned(text.chars().map(|c| if what(c) { STANDS_FOR_IT } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text without user and password of any URL or address in it (`scheme://user:password@host`,
/// `user:password@host`): messages of other programs about proxies may contain them.
#[must_use]
pub fn without_userinfo(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let ends_word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')');
    let mut kept = String::with_capacity(text.len());
    for word in text.split_inclusive(ends_word) {
        kept.push_str(&word_without_userinfo(word));
    }
    Cow::Owned(kept)
}

fn word_without_userinfo(word: &str) -> Cow<'_, str> {
    let Some((before, after)) = word.rsplit_once('@') else { return Cow::Borrowed(word) };
    match before.split_once("://") {
        Some((scheme, _)) => Cow::Owned(format!("{scheme}://{after}")),
        None if before.contains(':') => Cow::Owned(after.to_owned()),
        // Most likely a mail address.
        None => Cow::Borrowed(word),
    }
}

/// Displays a value on one line.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&one_line(&self.0.to_string()))
    }
}

/// The value with all texts and field names made safe.
#[must_use]
pub fn tamed(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(one_line(text).into_owned()),
        Value::Array(items) => Value::Array(items.iter().map(tamed).collect()),
        Value::Object(fields) => {
            let tamed = |(name, value): (&String, &Value)| (one_line(name).into(), tamed(value));
            Value::Object(fields.iter().map(tamed).collect())
        }
        other => other.clone(),
    }
}

/// JSON on one line, with control and direction characters escaped as `\uXXXX`.
///
/// # Errors
/// When JSON can't represent the value.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| escaped(&text, |_| false))
}

/// Indented JSON; otherwise like [`json`].
///
/// # Errors
/// As [`json`].
pub fn json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    // Line breaks outside of texts, which contain none unescaped, are the layout's.
    serde_json::to_string_pretty(value).map(|text| escaped(&text, |c| c == '\n'))
}

fn escaped(json: &str, layout: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) && !layout(c) {
            // All such characters are in the basic multilingual plane.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        for (text, shown) in [
            ("nginx", "nginx"),
            ("Ärger mit naïveté, 日本語 🙂", "Ärger mit naïveté, 日本語 🙂"),
            ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
            ("a\rb\u{9b}c\u{7f}\u{85}", "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}"),
            ("exe\u{202e}txt", "exe\u{fffd}txt"),
            ("a\u{2066}b\u{2069}c\u{200f}\u{61c}", "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}"),
            ("one\ntwo\tthree", "one\u{fffd}two\u{fffd}three"),
            ("one\u{2028}two\u{2029}three", "one\u{fffd}two\u{fffd}three"),
            ("\u{feff}x\0", "\u{fffd}x\u{fffd}"),
        ] {
            assert_eq!(one_line(text), shown, "{text:?}");
            assert_eq!(Shown(text).to_string(), shown, "{text:?}");
        }
        assert_eq!(lines("tab\tand\nline\r\n\u{85}"), "tab\tand\nline\u{fffd}\n\u{fffd}");
        assert_eq!(format!("{:<4}|", Shown("a\n")), "a\u{fffd}  |");
    }

    #[test]
    fn users_and_passwords_of_urls_are_left_out() {
        for (text, left) in [
            ("10.0.0.1:3128 refused the connection", "10.0.0.1:3128 refused the connection"),
            ("proxy http://u:secret@10.0.0.1:3128", "proxy http://10.0.0.1:3128"),
            (
                "could not use \"http://u:se@cret@p.example:3128/\"",
                "could not use \"http://p.example:3128/\"",
            ),
            ("u:secret@10.0.0.1:3128 refused it", "10.0.0.1:3128 refused it"),
            ("by (http://secret@p:1), then http://u:x@q:2", "by (http://p:1), then http://q:2"),
            ("mail to ops@example.com", "mail to ops@example.com"),
            ("@", "@"),
        ] {
            assert_eq!(without_userinfo(text), left, "{text}");
        }
    }

    #[test]
    fn json_escapes_control_characters() {
        let value = serde_json::json!({
            "a\u{9b}": ["x\u{85}\u{7f}\n\u{1b}[2J", "\u{202e}", "\u{2028}", "\\u0085", "é"],
        });
        let text = json(&value).unwrap();
        let wanted = r#"{"a\u009b":["x\u0085\u007f\n\u001b[2J","\u202e","\u2028","\\u0085","é"]}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        let pretty = json_pretty(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), value);
        assert!(pretty.lines().count() == 9 && !pretty.chars().any(|c| steers(c) && c != '\n'));
    }

    /// Any text, with such characters more often than by chance.
    fn foreign() -> impl Strategy<Value = String> {
        let steering = prop::sample::select(vec![
            '\n', '\r', '\t', '\u{b}', '\u{c}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}',
            '\u{2029}', '\u{202e}', '\u{2066}', '\u{200e}', '\u{feff}', '\0', '"', '\\',
        ]);
        let character = prop_oneof![steering, any::<char>()];
        prop::collection::vec(character, 0..40).prop_map(|text| text.into_iter().collect())
    }

    proptest! {
        #[test]
        fn no_text_changes_the_number_of_lines(text in foreign()) {
            let shown = one_line(&text);
            prop_assert!(!shown.chars().any(steers));
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert_eq!(format!("before {shown} after").lines().count(), 1);
            prop_assert_eq!(lines(&text).matches('\n').count(), text.matches('\n').count());
        }

        #[test]
        fn json_on_one_line_is_equivalent(name in foreign(), text in foreign()) {
            let value = serde_json::json!({ (name.clone()): [text, 1, null] });
            let line = json(&value).unwrap();
            prop_assert!(!line.chars().any(steers));
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value.clone());
            let pretty = json_pretty(&value).unwrap();
            let empty = json_pretty(&serde_json::json!({ "": ["", 1, null] })).unwrap();
            prop_assert_eq!(pretty.lines().count(), empty.lines().count());
            prop_assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), value);
        }
    }
}
