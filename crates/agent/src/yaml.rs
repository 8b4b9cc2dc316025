//! Changes single values of a YAML file by lines, so that comments, order and unknown keys stay as they are.
//! Pure.
//!
//! Only the usual style is supported: a section in block style with one key per line. Anything else is
//! refused; and the caller compares the values before and after.

use std::ops::Range;

/// Why a text can't be edited by lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A line is not `key:` where one is expected.
    #[error("line {line} can't be parsed, change the file by hand: expected `key: value`")]
    Line {
        /// 1-based.
        line: usize,
    },
    /// The same key twice.
    #[error("line {line}: {key} is set twice; remove one")]
    Twice {
        /// 1-based.
        line: usize,
        /// The key.
        key: String,
    },
    /// The section is not in block style.
    #[error("line {line}: write the keys of {section} below it, each on its own line")]
    Section {
        /// 1-based.
        line: usize,
        /// The section.
        section: String,
    },
    /// The value can't be written on one line.
    #[error("a value with a line break or another control character can't be written")]
    Value,
}

/// The new value of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// Written in quotes.
    Text(&'a str),
    /// Written as it is.
    Number(f64),
    /// Lines below the key; each ends with a line break.
    Block(&'a str),
    /// Texts, written in brackets.
    List(&'a [String]),
}

/// A text, split into the keys of one section and the rest.
#[derive(Debug, Clone)]
pub struct Document {
    lines: Vec<String>,
    ending: &'static str,
    ends_with_break: bool,
    /// The line of `section:` and the lines below it.
    section: Option<(usize, Range<usize>)>,
    name: String,
    indent: usize,
    keys: Vec<Key>,
    /// The keys outside of the section.
    others: Vec<Key>,
}

/// A key and its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, without quotes.
    pub name: String,
    /// Its lines including the value, 0-based.
    pub lines: Range<usize>,
}

impl Document {
    /// Splits a text. `section`: the top-level key whose keys can be changed.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn parse(text: &str, section: &str) -> Result<Self, EditError> {
        let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let others = keys(&lines, 0..lines.len(), 0)?;
        let mut document = Self {
            lines,
            ending,
            ends_with_break: text.is_empty() || text.ends_with('\n'),
            section: None,
            name: section.to_owned(),
            indent: 2,
            keys: Vec::new(),
            others,
        };
        document.find_section()?;
        Ok(document)
    }

    fn find_section(&mut self) -> Result<(), EditError> {
        let at = self.others.iter().position(|key| key.name == self.name);
        let Some(at) = at else { return Ok(()) };
        let Key { lines, .. } = self.others.remove(at);
        let head = lines.start;
        let (_, value) = split_key(&self.lines[head]).ok_or(EditError::Line { line: head + 1 })?;
        if !is_void(value) {
            return Err(EditError::Section { line: head + 1, section: self.name.clone() });
        }
        let body = head + 1..lines.end;
        let first = self.lines[body.clone()].iter().find(|line| !is_void(line));
        if let Some(first) = first {
            self.indent = indent(first);
        }
        self.keys = keys(&self.lines, body.clone(), self.indent)?;
        self.section = Some((head, body));
        Ok(())
    }

    /// The section's keys, in their order.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether the section is there.
    #[must_use]
    pub fn has_section(&self) -> bool {
        self.section.is_some()
    }

    /// Sets a key of the section; a comment after the old value stays.
    ///
    /// # Errors
    /// If the value can't be written on one line, or a block's lines can't be written below the key.
    pub fn set(&mut self, key: &str, value: Scalar<'_>) -> Result<(), EditError> {
        let (written, below) = written(value)?;
        let indent = self.indent;
        let mut new = vec![format!("{:indent$}{key}: {written}", "")];
        new.extend(below.into_iter().map(|line| format!("{:indent$}  {line}", "")));
        match self.keys.iter().find(|known| known.name == key).cloned() {
            Some(Key { lines, .. }) => {
                new[0].push_str(&comment_of(&self.lines[lines.clone()]));
                self.lines.splice(lines, new);
            }
            None => {
                let at = self.end_of_section();
                self.lines.splice(at..at, new);
            }
        }
        self.read_again()
    }

    /// Removes a key of the section with its value, if it exists.
    ///
    /// # Errors
    /// If the remaining text can't be split into keys.
    pub fn remove(&mut self, key: &str) -> Result<(), EditError> {
        let known = self.keys.iter().find(|known| known.name == key).cloned();
        if let Some(Key { lines, .. }) = known {
            self.lines.drain(lines);
        }
        self.read_again()
    }

    fn read_again(&mut self) -> Result<(), EditError> {
        *self = Self::parse(&self.to_text(), &self.name)?;
        Ok(())
    }

    /// The line after the section's last key; the section is created if there is none.
    fn end_of_section(&mut self) -> usize {
        let Some((head, _)) = &self.section else {
            self.lines.push(format!("{}:", self.name));
            self.ends_with_break = true;
            return self.lines.len();
        };
        self.keys.last().map_or(head + 1, |last| last.lines.end)
    }

    /// The text with the lines of some keys blanked, so that positions stay the same: keys of the section
    /// that `is_known` does not know, and keys outside of the section. Returns their names with their lines,
    /// 1-based.
    #[must_use]
    pub fn without_unknown(
        &self,
        is_known: impl Fn(&str) -> bool,
    ) -> (String, Vec<(usize, String)>) {
        let mut text = self.clone();
        let mut unknown = Vec::new();
        let strange = self.keys.iter().filter(|key| !is_known(&key.name));
        for key in self.others.iter().chain(strange) {
            unknown.push((key.lines.start + 1, key.name.clone()));
            text.lines[key.lines.clone()].fill(String::new());
        }
        unknown.sort_unstable();
        (text.to_text(), unknown)
    }

    /// The whole text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.lines.join(self.ending);
        if self.ends_with_break && !self.lines.is_empty() {
            text.push_str(self.ending);
        }
        text
    }
}

/// A value as written after its key, and the lines below.
fn written(value: Scalar<'_>) -> Result<(String, Vec<&str>), EditError> {
    let quoted = |text: &str| match text.chars().any(char::is_control) {
        true => Err(EditError::Value),
        false => Ok(format!("'{}'", text.replace('\'', "''"))),
    };
    match value {
        Scalar::Text(text) => Ok((quoted(text)?, Vec::new())),
        Scalar::Number(number) => Ok((number.to_string(), Vec::new())),
        Scalar::List(texts) => {
            let texts: Result<Vec<_>, _> = texts.iter().map(|text| quoted(text)).collect();
            Ok((format!("[{}]", texts?.join(", ")), Vec::new()))
        }
        Scalar::Block(text) => {
            let lines: Vec<&str> = text.lines().collect();
            // Other texts would be parsed as something else.
            let plain = |line: &&str| {
                !line.is_empty() && !line.starts_with(' ') && !line.chars().any(char::is_control)
            };
            match text.ends_with('\n') && lines.iter().all(plain) {
                true => Ok(("|".to_owned(), lines)),
                false => Err(EditError::Value),
            }
        }
    }
}

/// The keys at `indent` within `range`. A key's lines are its own and the more deeply indented ones below it;
/// blank lines and comments after it belong to no key.
fn keys(lines: &[String], range: Range<usize>, at: usize) -> Result<Vec<Key>, EditError> {
    let mut keys: Vec<Key> = Vec::new();
    for number in range {
        let line = &lines[number];
        let refused = EditError::Line { line: number + 1 };
        if line.trim().is_empty() || (at == 0 && line.trim_end() == "---" && keys.is_empty()) {
            continue;
        }
        let depth = indent(line);
        if line[depth..].starts_with('\t') {
            return Err(refused);
        }
        if depth > at || (depth == at && is_item(&line[depth..])) {
            // A comment indented more deeply than the key may be text of a block scalar.
            match keys.last_mut() {
                Some(last) => last.lines.end = number + 1,
                None if is_void(line) => {}
                None => return Err(refused),
            }
            continue;
        }
        if is_void(line) {
            continue;
        }
        let (name, _) = split_key(line).filter(|_| depth == at).ok_or(refused)?;
        if keys.iter().any(|key| key.name == name) {
            return Err(EditError::Twice { line: number + 1, key: name.to_owned() });
        }
        keys.push(Key { name: name.to_owned(), lines: number..number + 1 });
    }
    Ok(keys)
}

/// `- item`: a sequence may have its key's own indentation.
fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether a line is empty or a comment.
fn is_void(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

/// Splits `key: value`; the key consists of plain characters and may be quoted.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start_matches(' ').split_once(':')?;
    if !value.is_empty() && !value.starts_with(' ') {
        return None;
    }
    let key = key.trim_end();
    let quoted = |quote: char| key.strip_prefix(quote).and_then(|k| k.strip_suffix(quote));
    let key = quoted('\'').or_else(|| quoted('"')).unwrap_or(key);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!key.is_empty() && key.bytes().all(plain)).then_some((key, value))
}

/// The comment after a value on one line, with the spaces before it.
fn comment_of(lines: &[String]) -> String {
    let [line] = lines else { return String::new() };
    let Some((_, value)) = split_key(line) else { return String::new() };
    let start = line.len() - value.len();
    let lead = value.len() - value.trim_start().len();
    let body = &value[lead..];
    let after = match body.chars().next() {
        Some('\'') => end_of_single_quoted(body),
        Some('"') => end_of_double_quoted(body),
        Some('#') if lead > 0 => Some(0),
        _ => body.find(" #").map(|at| body[..at].trim_end().len()),
    };
    let Some(after) = after else { return String::new() };
    let rest = &line[start + lead + after..];
    match rest.trim_start().starts_with('#') {
        true if after == 0 => format!(" {rest}"),
        true => rest.to_owned(),
        false => String::new(),
    }
}

fn end_of_single_quoted(text: &str) -> Option<usize> {
    let mut rest = 1;
    loop {
        let quote = text[rest..].find('\'')? + rest;
        if text[quote + 1..].starts_with('\'') {
            rest = quote + 2;
        } else {
            return Some(quote + 1);
        }
    }
}

fn end_of_double_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
