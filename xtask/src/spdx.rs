//! SPDX licence expressions (SPDX specification 2.3, annex D), as far as crates use them.

use std::fmt;

/// Why an expression could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an SPDX expression: {}", self.0)
    }
}

/// Whether the expression can be satisfied by licences that `allowed` accepts. A licence with an
/// exception is asked for as `X WITH Y`, and as `X` alone, for an exception only adds rights.
pub(crate) fn satisfied(
    expression: &str,
    allowed: &dyn Fn(&str) -> bool,
) -> Result<bool, Unreadable> {
    // Before SPDX, crates separated alternatives by a slash.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed, whole: expression };
    let verdict = parser.alternatives()?;
    if parser.words.is_empty() { Ok(verdict) } else { Err(parser.unreadable()) }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
    whole: &'a str,
}

impl<'a> Parser<'a> {
    fn alternatives(&mut self) -> Result<bool, Unreadable> {
        let mut verdict = self.all()?;
        while self.take("OR") {
            verdict |= self.all()?;
        }
        Ok(verdict)
    }

    fn all(&mut self) -> Result<bool, Unreadable> {
        let mut verdict = self.one()?;
        while self.take("AND") {
            verdict &= self.one()?;
        }
        Ok(verdict)
    }

    fn one(&mut self) -> Result<bool, Unreadable> {
        if self.take("(") {
            let verdict = self.alternatives()?;
            return if self.take(")") { Ok(verdict) } else { Err(self.unreadable()) };
        }
        let licence = self.name()?;
        if self.take("WITH") {
            let exception = self.name()?;
            return Ok(
                (self.allowed)(&format!("{licence} WITH {exception}")) || (self.allowed)(licence)
            );
        }
        Ok((self.allowed)(licence))
    }

    fn name(&mut self) -> Result<&'a str, Unreadable> {
        match self.words.split_first() {
            Some((word, rest)) if !["(", ")", "AND", "OR", "WITH"].contains(word) => {
                self.words = rest;
                Ok(word)
            }
            _ => Err(self.unreadable()),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn unreadable(&self) -> Unreadable {
        Unreadable(self.whole.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed = |licence: &str| ["MIT", "Apache-2.0", "ISC"].contains(&licence);
        for (expression, verdict) in [
            ("MIT", Some(true)),
            ("GPL-3.0-only", Some(false)),
            ("MIT OR GPL-3.0-only", Some(true)),
            ("MIT/GPL-3.0", Some(true)),
            ("MIT AND GPL-3.0-only", Some(false)),
            ("GPL-2.0 OR MIT AND ISC", Some(true)),
            ("(GPL-2.0 OR MIT) AND LGPL-3.0", Some(false)),
            ("ISC AND (Apache-2.0 OR GPL-2.0)", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("GPL-2.0 WITH Classpath-exception-2.0", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
        ] {
            let got = satisfied(expression, &allowed).ok();
            assert_eq!(got, verdict, "{expression:?}");
        }
    }
}
