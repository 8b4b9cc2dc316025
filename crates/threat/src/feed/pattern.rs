//! STIX 2.1 patterns, as far as they consist of addresses: comparisons joined by OR.

use crate::text::{Range, Reason, range};

/// The addresses in a pattern, each parsed or with the reason why not; none if the pattern is about other
/// things.
///
/// # Errors
/// When addresses are only part of the condition (AND, NOT, FOLLOWEDBY, time): blocking them would block more
/// than the pattern matches.
pub(super) fn addresses(pattern: &str) -> Result<Vec<Result<Range, Reason>>, Reason> {
    let mut tokens = Tokens { rest: pattern };
    let mut found = Vec::new();
    let mut narrowed = false;
    let mut about_addresses = false;
    let mut open = Vec::new();
    while let Some(token) = tokens.next()? {
        match token {
            Token::Word("AND" | "NOT" | "FOLLOWEDBY" | "WITHIN" | "START" | "REPEATS") => {
                narrowed = true;
            }
            Token::Word("ipv4-addr:value" | "ipv6-addr:value") => {
                about_addresses = true;
                narrowed |= !comparison(&mut tokens, &mut found)?;
            }
            Token::Sign(sign @ ('[' | '(')) => open.push(if sign == '[' { ']' } else { ')' }),
            Token::Sign(sign @ (']' | ')')) if open.pop() != Some(sign) => {
                return Err(Reason::OpenPattern);
            }
            Token::Word(_) | Token::Text(_) | Token::Sign(_) => {}
        }
    }
    match open.is_empty() {
        false => Err(Reason::OpenPattern),
        true if narrowed && about_addresses => Err(Reason::Pattern),
        true => Ok(found),
    }
}

/// Parses the comparison of an address; returns whether it is one that lists addresses.
fn comparison(
    tokens: &mut Tokens<'_>,
    found: &mut Vec<Result<Range, Reason>>,
) -> Result<bool, Reason> {
    let operator = tokens.next()?;
    match operator {
        Some(Token::Sign('=') | Token::Word("ISSUBSET")) => match tokens.next()? {
            Some(Token::Text(text)) => {
                found.push(range(text.as_bytes()));
                Ok(true)
            }
            _ => Err(Reason::Pattern),
        },
        Some(Token::Word("IN")) => {
            if tokens.next()? != Some(Token::Sign('(')) {
                return Err(Reason::Pattern);
            }
            loop {
                match tokens.next()? {
                    Some(Token::Text(text)) => found.push(range(text.as_bytes())),
                    Some(Token::Sign(',')) => {}
                    Some(Token::Sign(')')) => return Ok(true),
                    _ => return Err(Reason::Pattern),
                }
            }
        }
        _ => Ok(false),
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// A quoted text. An address needs no escapes, so escapes are kept as they are.
    Text(&'a str),
    Sign(char),
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, Reason> {
        self.rest = self.rest.trim_start();
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        if first == '\'' {
            return self.text().map(Some);
        }
        let in_word = |c: char| c.is_alphanumeric() || "-_:.".contains(c);
        if in_word(first) {
            let end = self.rest.find(|c| !in_word(c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(Some(Token::Word(word)));
        }
        self.rest = &self.rest[first.len_utf8()..];
        Ok(Some(Token::Sign(first)))
    }

    fn text(&mut self) -> Result<Token<'a>, Reason> {
        let body = &self.rest[1..];
        let mut escaped = false;
        for (at, byte) in body.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'\'' => {
                    self.rest = &body[at + 1..];
                    return Ok(Token::Text(&body[..at]));
                }
                _ => {}
            }
        }
        Err(Reason::OpenPattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_or_refused() {
        let named = |text: &str| range(text.as_bytes());
        for (pattern, expected) in [
            ("[ipv4-addr:value = '1.2.3.4']", Ok(vec![named("1.2.3.4")])),
            ("[ipv4-addr:value='1.2.3.4']", Ok(vec![named("1.2.3.4")])),
            ("[ipv6-addr:value = '2001:db8::1']", Ok(vec![named("2001:db8::1")])),
            ("[ipv4-addr:value ISSUBSET '1.2.3.0/24']", Ok(vec![named("1.2.3.0/24")])),
            (
                "[ipv4-addr:value = '1.2.3.4' OR ipv4-addr:value = '1.2.3.5']",
                Ok(vec![named("1.2.3.4"), named("1.2.3.5")]),
            ),
            (
                "[ipv4-addr:value = '1.2.3.4'] OR [domain-name:value = 'x.example']",
                Ok(vec![named("1.2.3.4")]),
            ),
            (
                "[ipv4-addr:value IN ('1.2.3.4', '1.2.3.5')]",
                Ok(vec![named("1.2.3.4"), named("1.2.3.5")]),
            ),
            ("[ipv4-addr:value = '01.2.3.4']", Ok(vec![Err(Reason::Octal)])),
            ("[domain-name:value = 'a AND b' AND url:value = 'it\\'s']", Ok(vec![])),
            ("[url:value = 'ipv4-addr:value']", Ok(vec![])),
            (
                "[ipv4-addr:value = '1.2.3.4' AND network-traffic:dst_port = 80]",
                Err(Reason::Pattern),
            ),
            ("[ipv4-addr:value NOT = '1.2.3.4']", Err(Reason::Pattern)),
            ("[ipv4-addr:value != '1.2.3.4']", Err(Reason::Pattern)),
            ("[ipv4-addr:value LIKE '1.2.%']", Err(Reason::Pattern)),
            ("[ipv4-addr:value = '1.2.3.4'] WITHIN 300 SECONDS", Err(Reason::Pattern)),
            ("[ipv4-addr:value = '1.2.3.4", Err(Reason::OpenPattern)),
            ("[ipv4-addr:value = '1.2.3.4'", Err(Reason::OpenPattern)),
            ("ipv4-addr:value = '1.2.3.4']", Err(Reason::OpenPattern)),
            ("([ipv4-addr:value = '1.2.3.4']", Err(Reason::OpenPattern)),
            ("[(ipv4-addr:value = '1.2.3.4'])", Err(Reason::OpenPattern)),
            ("[domain-name:value = 'x'", Err(Reason::OpenPattern)),
            ("([ipv4-addr:value = '1.2.3.4'])", Ok(vec![named("1.2.3.4")])),
            ("[ipv4-addr:value = 4]", Err(Reason::Pattern)),
        ] {
            assert_eq!(addresses(pattern), expected, "{pattern}");
        }
    }
}
