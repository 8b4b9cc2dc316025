//! Output: tables, colors if wanted, JSON.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, TableStyle};
use rustix::termios;
use serde_json::Value;
use xshield_wire::foreign;

use crate::error::CliError;

/// How to show a response.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// Print the platform's JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

impl Output {
    /// Prints the JSON, or the output of `for_people`.
    pub(crate) fn show(
        self,
        answer: &Value,
        for_people: impl FnOnce(&Screen) -> Result<String, CliError>,
    ) -> Result<(), CliError> {
        if self.json {
            return json(answer);
        }
        match for_people(&Screen::of_stdout()) {
            // The request succeeded; a newer platform answered in an unknown form.
            Err(CliError::Answer { source, .. }) => {
                note(&format!(
                    "The response is of another version of the platform and is shown as JSON \
                     ({source})."
                ));
                json(answer)
            }
            text => print(&text?),
        }
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn for_people() -> Self {
        Self { json: false }
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn for_programs() -> Self {
        Self { json: true }
    }

    /// Whether the reader is a program.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

/// Prints pretty JSON for programs.
pub(crate) fn json(answer: &Value) -> Result<(), CliError> {
    print(&pretty(answer)?)
}

/// Prints JSON on one line.
pub(crate) fn json_line(answer: &Value) -> Result<(), CliError> {
    print(&foreign::json(answer).map_err(unwritten)?)
}

/// Pretty JSON.
pub(crate) fn pretty(answer: &Value) -> Result<String, CliError> {
    foreign::json_pretty(answer).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> CliError {
    CliError::Output(error.into())
}

/// Prints a text, with a final newline.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(CliError::Output)
}

/// Standard output for streamed data that contains no foreign text: addresses and the signs before them.
pub(crate) fn data() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// Reports what was done, or a hint, on standard error.
pub(crate) fn note(text: &str) {
    // There is nobody to report a failure to.
    let _ = writeln!(io::stderr(), "{}", foreign::lines(text));
}

/// The width of the output, and whether it may have colors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    width: Option<u16>,
    colors: Colors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colors {
    Plain,
    Coloured,
}

impl Screen {
    fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::plain();
        }
        let width = termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col);
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colors =
            if set("NO_COLOR") || is_plain_terminal() { Colors::Plain } else { Colors::Coloured };
        Self { width: width.filter(|columns| *columns >= 40), colors }
    }

    /// Unlimited width, without colors: for pipes and tests.
    pub(crate) fn plain() -> Self {
        Self { width: None, colors: Colors::Plain }
    }
}

/// Whether standard output is a terminal.
pub(crate) fn output_is_at_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn notes_are_at_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether a terminal only supports plain text.
pub(crate) fn is_plain_terminal() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Rows under a header, without lines between them: easy to read, `grep` and `awk`.
pub(crate) struct Table {
    header: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

impl Table {
    /// Without rows it is rendered as the text `empty`.
    pub(crate) fn new(header: &'static [&'static str], empty: &'static str) -> Self {
        Self { header, rows: Vec::new(), empty }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Renders the table.
    pub(crate) fn render(self, screen: &Screen) -> String {
        if self.rows.is_empty() {
            return self.empty.to_owned();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(TableStyle::new());
        let heading = |name: &&str| Cell::new(name).add_attribute(Attribute::Bold);
        table.set_header(self.header.iter().map(heading));
        table.add_rows(self.rows);
        match screen.width {
            Some(width) => {
                table.set_width(width);
                table.set_content_arrangement(ContentArrangement::Dynamic);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        match screen.colors {
            Colors::Coloured => table.enforce_styling(),
            Colors::Plain => table.force_no_tty(),
        };
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

/// Names and values, one per line.
pub(crate) struct KeyValueList(Vec<(&'static str, String)>);

impl KeyValueList {
    /// Without lines.
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.0.push((name, foreign::lines(value.as_ref()).into_owned()));
    }

    /// Renders the sheet.
    pub(crate) fn render(&self) -> String {
        let wide = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.0 {
            let indented = value.replace('\n', &format!("\n{:wide$}  ", ""));
            text.push_str(&format!("{name:wide$}  {indented}\n"));
        }
        text
    }
}

/// A cell.
pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    Cell::new(foreign::lines(text.as_ref()))
}

/// A number.
pub(crate) fn number(value: u64) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// Good.
pub(crate) fn good(text: impl AsRef<str>) -> Cell {
    cell(text).fg(Color::Green)
}

/// Worth attention.
pub(crate) fn warning(text: impl AsRef<str>) -> Cell {
    cell(text).fg(Color::Yellow)
}

/// Bad.
pub(crate) fn bad(text: impl AsRef<str>) -> Cell {
    cell(text).fg(Color::Red)
}

/// Asks on the line on which the answer is typed.
pub(crate) fn ask(question: &str) -> Result<(), CliError> {
    let mut stderr = io::stderr();
    write!(stderr, "{} ", foreign::lines(question))
        .and_then(|()| stderr.flush())
        .map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE", "RULES"], "No hosts.");
        table.row(vec![cell("web-1"), good("active"), number(3)]);
        table.row(vec![cell("db"), bad("blocked: firewalld owns the firewall"), number(12_000)]);
        table
    }

    #[test]
    fn tables_for_pipes_are_plain() {
        insta::assert_snapshot!(table().render(&Screen::plain()), @r"
        NAME   STATE                                 RULES
        web-1  active                                    3
        db     blocked: firewalld owns the firewall  12000
        ");
        assert_eq!(Table::new(&["NAME"], "No hosts.").render(&Screen::plain()), "No hosts.");
    }

    #[test]
    fn tables_for_terminals_fit_and_have_colours() {
        let text = table().render(&Screen { width: Some(40), colors: Colors::Coloured });
        assert!(text.contains("\u{1b}["), "{text:?}");
        let plain = table().render(&Screen { width: Some(40), colors: Colors::Plain });
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(plain.lines().all(|line| line.chars().count() <= 40), "{plain}");
    }

    /// Responses are read with `view`, which confines every text to its line, or with one of these.
    #[test]
    fn answers_are_printed_only_by_this_module() {
        let mut dirs = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut seen = 0;
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let program = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                for (number, line) in program.lines().enumerate() {
                    let reads_text = line.contains("answer[") && line.contains(".as_str()");
                    let is_kept = ["one_line(", "[\"secret\"]", "[\"text\"]", "[\"name\"]"];
                    let is_good = !reads_text || is_kept.iter().any(|kept| line.contains(kept));
                    assert!(is_good, "{}:{}: use view or one_line", path.display(), number + 1);
                    let own = path.ends_with("terminal.rs");
                    let writes = ["io::stdout", "io::stderr", "{answer:#}", "{answer}"];
                    let is_good = own || !writes.iter().any(|writes| line.contains(writes));
                    assert!(is_good, "{}:{}: use the terminal's", path.display(), number + 1);
                }
                seen += 1;
            }
        }
        assert!(seen > 20, "the sources are elsewhere");
    }

    #[test]
    fn key_value_lists_are_aligned() {
        let mut sheet = KeyValueList::new();
        sheet.line("name", "web");
        sheet.line("addresses", "10.0.0.1\n10.0.0.2");
        assert_eq!(sheet.render(), "name       web\naddresses  10.0.0.1\n           10.0.0.2\n");
    }
}
