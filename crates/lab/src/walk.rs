//! A page of the documentation as commands with their output, read from the page itself, so that the commands
//! can be run and compared.

use anyhow::{Context as _, Result, ensure};

/// A command that a page shows at a prompt, with its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The command.
    pub command: String,
    /// Its output; empty if the page shows none.
    pub prints: Vec<String>,
}

/// The steps in a page's `console` blocks, in their order.
#[must_use]
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks(page, "console").flat_map(str::lines) {
        match (line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")), steps.last_mut()) {
            (Some(typed), _) => {
                // A # begins a remark for the reader.
                let command = typed.split("  #").next().unwrap_or(typed).trim_end().to_owned();
                steps.push(Step { command, prints: Vec::new() });
            }
            (None, Some(step)) => step.prints.push(line.to_owned()),
            (None, None) => (),
        }
    }
    steps
}

/// The contents of a page's code blocks in one language.
pub fn blocks<'a>(page: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    page.split("```").skip(1).step_by(2).filter_map(move |block| {
        let (named, text) = block.split_once('\n')?;
        (named == language).then_some(text)
    })
}

/// Commands that a page names in its text, in backticks: those that begin with one of these words.
#[must_use]
pub fn named<'a>(page: &'a str, programs: &[&str]) -> Vec<&'a str> {
    let text = page.split("```").step_by(2);
    let spans = text.flat_map(|text| text.split('`').skip(1).step_by(2));
    spans
        .filter(|span| {
            let mut words = span.split(' ');
            words.next().is_some_and(|word| programs.contains(&word)) && words.next().is_some()
        })
        .collect()
}

/// Fails with the first line that differs from the page, except for values that vary.
///
/// # Errors
/// Both texts, and the line.
pub fn compare(page: &[String], printed: &str) -> Result<()> {
    let printed: Vec<&str> = printed.lines().map(|line| line.trim_end_matches('\r')).collect();
    let both = || format!("the page:\n{}\nprinted:\n{}", page.join("\n"), printed.join("\n"));
    for (number, line) in page.iter().enumerate() {
        let got =
            printed.get(number).with_context(|| format!("too little was printed\n{}", both()))?;
        ensure!(is_same(line, got), "line {} differs: {got:?}\n{}", number + 1, both());
    }
    ensure!(page.len() == printed.len(), "more was printed\n{}", both());
    Ok(())
}

fn is_same(page: &str, printed: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(ToOwned::to_owned).collect()
    };
    let (left, right) = (cells(page), cells(printed));
    indent(page) == indent(printed)
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(left, right)| is_same_cell(left, right))
}

fn is_same_cell(left: &str, right: &str) -> bool {
    let numbers = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (numbers(left) && numbers(right)) || (is_time(left) && is_time(right)) {
        return true;
    }
    let (left, right): (Vec<_>, Vec<_>) = (left.split(' ').collect(), right.split(' ').collect());
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            *left == right || kind(left).is_some_and(|same| kind(right) == Some(same))
        })
}

/// A relative time, in a table.
fn is_time(cell: &str) -> bool {
    cell == "now" || cell.ends_with(" ago")
}

/// The kind of a varying word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digest,
    Password,
    Id,
}

fn kind(word: &str) -> Option<Kind> {
    let is_id = |text: &str| {
        text.len() == 12
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match word.split_once('-') {
        _ if word.trim_start_matches("ca=\"").starts_with("sha256:") => Some(Kind::Digest),
        Some((one, two)) if is_id(one) && is_id(two) => Some(Kind::Password),
        _ if is_id(word) && word.bytes().any(|byte| byte.is_ascii_digit()) => Some(Kind::Id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Do `tool run`, not `tool`, nor `other x`:\n```console\n# tool make x   # a remark\nmade x\n\
         $ tool list\nNAME  N\nx     3\n```\nThen:\n```yaml\na: b\n```\n";

    #[test]
    fn a_page_is_split_into_commands() {
        let step = |command: &str, prints: &[&str]| Step {
            command: command.to_owned(),
            prints: prints.iter().map(ToString::to_string).collect(),
        };
        let expected =
            [step("tool make x", &["made x"]), step("tool list", &["NAME  N", "x     3"])];
        assert_eq!(steps(PAGE), expected);
        assert_eq!(blocks(PAGE, "yaml").collect::<Vec<_>>(), ["a: b\n"]);
        assert_eq!(named(PAGE, &["tool"]), ["tool run"]);
    }

    #[test]
    fn only_variable_values_may_differ() {
        for (page, printed, same) in [
            ("Key gtt222uptiwg is made.", "Key abc123def456 is made.", true),
            ("Key gtt222uptiwg is made.", "Key abcdefghijkl is made.", false),
            ("Key gtt222uptiwg is made.", "Key abc123def456 was made.", false),
            ("password: jtpkkzct4s69-aaspvx6mdv5h", "password: abcdefghijkl-123456789012", true),
            ("ca=\"sha256:188f874f…\"", "ca=\"sha256:aa\"", true),
            ("now  db-1  4", "3 s ago  db-1        17", true),
            ("now  db-1  4", "3 s ago  db-2        17", false),
            ("now  db-1  4", "never  db-1  4", false),
            ("Committed revision 1", "Committed revision 2", false),
            ("  in force", "in force", false),
            ("a", "a  b", false),
        ] {
            assert_eq!(is_same(page, printed), same, "{page:?} {printed:?}");
        }
        let page = ["a".to_owned(), "b".to_owned()];
        assert!(compare(&page, "a\r\nb\r\n").is_ok());
        for printed in ["a\n", "a\nb\nc\n", "b\na\n"] {
            assert!(compare(&page, printed).is_err(), "{printed:?}");
        }
    }
}
