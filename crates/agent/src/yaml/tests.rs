use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

const FILE: &str = "\
# Ours; do not touch.
configuration:
  platform: https://platform.example.com # main site
  policy-keys:
  - abc
  - def   # second

  # the way out
  proxy: http://10.0.0.1:3128
  proxy-password: 'c2Vj''cmV0'  # old
  ca: |
    -----BEGIN
    # no comment
    -----END
  x-site: \"north: # 7\" # theirs
# after all
other:
  proxy: untouched
";

fn set(text: &str, key: &str, value: &str) -> Result<String, EditError> {
    let mut document = Document::parse(text, "configuration")?;
    document.set(key, Scalar::Text(value))?;
    Ok(document.to_text())
}

#[test]
fn a_value_is_replaced_and_the_rest_is_unchanged() {
    let table = [
        ("proxy", "  proxy: http://10.0.0.1:3128\n", "  proxy: 'x'\n"),
        (
            "platform",
            "  platform: https://platform.example.com # main site\n",
            "  platform: 'x' # main site\n",
        ),
        (
            "proxy-password",
            "  proxy-password: 'c2Vj''cmV0'  # old\n",
            "  proxy-password: 'x'  # old\n",
        ),
        ("policy-keys", "  policy-keys:\n  - abc\n  - def   # second\n", "  policy-keys: 'x'\n"),
        ("ca", "  ca: |\n    -----BEGIN\n    # no comment\n    -----END\n", "  ca: 'x'\n"),
        ("x-site", "  x-site: \"north: # 7\" # theirs\n", "  x-site: 'x' # theirs\n"),
        (
            "proxy-user",
            "  x-site: \"north: # 7\" # theirs\n",
            "  x-site: \"north: # 7\" # theirs\n  proxy-user: 'x'\n",
        ),
    ];
    for (key, old, new) in table {
        assert!(FILE.contains(old), "{key}");
        assert_eq!(set(FILE, key, "x").unwrap(), FILE.replace(old, new), "{key}");
    }
}

#[test]
fn numbers_are_written_without_quotes() {
    let mut document = Document::parse("configuration:\n  a: 1 # c\n", "configuration").unwrap();
    document.set("a", Scalar::Number(120.0)).unwrap();
    document.set("b", Scalar::Number(0.5)).unwrap();
    assert_eq!(document.to_text(), "configuration:\n  a: 120 # c\n  b: 0.5\n");
}

#[test]
fn missing_keys_and_sections_are_added() {
    for (before, after) in [
        ("", "configuration:\n  proxy: 'it''s'\n"),
        ("other: 1\n", "other: 1\nconfiguration:\n  proxy: 'it''s'\n"),
        ("other: 1", "other: 1\nconfiguration:\n  proxy: 'it''s'\n"),
        ("configuration:\n", "configuration:\n  proxy: 'it''s'\n"),
        ("configuration:\r\n    a: 1\r\n", "configuration:\r\n    a: 1\r\n    proxy: 'it''s'\r\n"),
        ("configuration: # c\n  proxy: # none\n", "configuration: # c\n  proxy: 'it''s' # none\n"),
        ("---\nconfiguration:\n  proxy:\n", "---\nconfiguration:\n  proxy: 'it''s'\n"),
    ] {
        assert_eq!(set(before, "proxy", "it's").unwrap(), after, "{before:?}");
    }
}

#[test]
fn unsupported_yaml_is_refused_with_its_line() {
    for (text, line) in [
        ("configuration: {proxy: a}\n", "line 1"),
        ("configuration:\n  ? a\n", "line 2"),
        ("configuration:\n  a: [\n]\n", "line 3"),
        ("configuration:\n\ta: 1\n", "line 2"),
        ("configuration:\n    a: 1\n  b: 2\n", "line 3"),
        ("configuration:\n  a: 1\n  a: 2\n", "line 3"),
        ("configuration:\n  a: 1\n---\nb: 1\n", "line 3"),
        ("- a\n", "line 1"),
        ("just text\n", "line 1"),
    ] {
        let error = set(text, "proxy", "x").unwrap_err().to_string();
        assert!(error.contains(line), "{text:?}: {error}");
    }
    assert_eq!(set(FILE, "proxy", "a\nb"), Err(EditError::Value));
}

#[test]
fn unknown_keys_are_blanked_in_place() {
    let document = Document::parse(FILE, "configuration").unwrap();
    let (text, unknown) = document.without_unknown(|key| key != "x-site" && key != "ca");
    let names: Vec<_> = unknown.iter().map(|(line, name)| (*line, name.as_str())).collect();
    assert_eq!(names, [(11, "ca"), (15, "x-site"), (17, "other")]);
    assert_eq!(text.lines().count(), FILE.lines().count());
    assert!(!text.contains("BEGIN") && !text.contains("untouched") && text.contains("platform:"));
}

fn value_of(text: &str) -> Map<String, Value> {
    let read: Value = serde_saphyr::from_str(text).unwrap();
    read["configuration"].as_object().cloned().unwrap_or_default()
}

fn any_entry() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9/.]{1,12}".prop_map(|plain| format!(" v{plain}")),
        "[ -~&&[^']]{0,12}".prop_map(|text| format!(" '{text}'")),
        "[ -~&&[^\"\\\\]]{0,12}".prop_map(|text| format!(" \"{text}\" # note")),
        "[a-z ]{1,9}".prop_map(|line| format!(" |\n      x{line}\n      # {line}")),
        "[a-z]{1,9}".prop_map(|item| format!("\n    - {item}\n    - x{item} # c")),
        "[a-z]{1,9}".prop_map(|item| format!(" [{item}, b]")),
        Just(String::new()),
    ]
}

fn any_file() -> impl Strategy<Value = String> {
    let entry =
        ("[a-f]", any_entry(), prop_oneof![Just(""), Just("\n"), Just("    # c\n"), Just("# c\n")]);
    prop::collection::vec(entry, 0..6).prop_map(|entries| {
        let mut text = String::from("configuration:\n");
        let mut seen = std::collections::BTreeSet::new();
        for (key, value, gap) in entries {
            if seen.insert(key.clone()) {
                text.push_str(&format!("    {key}:{value}\n{gap}"));
            }
        }
        text + "tail: 1\n"
    })
}

proptest! {
    #[test]
    fn an_edit_changes_one_value_and_nothing_else(
        file in any_file(), key in "[a-h]", value in "[ -~é]{0,20}"
    ) {
        let mut expected = value_of(&file);
        expected.insert(key.clone(), Value::String(value.clone()));
        let edited = set(&file, &key, &value).unwrap();
        prop_assert_eq!(value_of(&edited), expected, "{}", edited);
        // The same change again has no effect.
        prop_assert_eq!(set(&edited, &key, &value).unwrap(), edited);
    }

    #[test]
    fn any_text_is_edited_or_refused(text in "\\PC{0,80}(\n\\PC{0,20}){0,6}", key in "[a-z]{1,5}") {
        let _ = set(&text, &key, "x");
        if let Ok(document) = Document::parse(&text, "configuration") {
            let _ = document.without_unknown(|_| false);
        }
    }
}
