//! The parser: tokens with their columns, then recursive descent of limited depth.

use ipnet::IpNet;

use super::{Expression, Test};
use crate::inventory::Source;
use crate::peer::parse_net;

/// The deepest nesting of parentheses and `not`, to limit the stack.
const MAX_DEPTH: u32 = 64;
/// Longest text, in bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// Why an expression was refused, with the column (1-based, in characters) where reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("criteria, column {column}: {reason}")]
pub struct CriteriaError {
    column: usize,
    reason: String,
}

pub(super) fn expression(text: &str) -> Result<Expression, CriteriaError> {
    if text.len() > MAX_LENGTH {
        let reason = format!("longer than {MAX_LENGTH} bytes");
        return Err(CriteriaError { column: 1, reason });
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: &tokens, end, depth: 0 };
    let expression = parser.expression()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.expected("'and', 'or' or the end")),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Word(String),
    Value(String),
    Equal,
    NotEqual,
    Open,
    Close,
    Comma,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    text: String,
    column: usize,
}

fn tokens(text: &str) -> Result<Vec<Token>, CriteriaError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let (kind, length) =
            token(&characters[at..]).map_err(|reason| CriteriaError { column: at + 1, reason })?;
        let text = characters[at..at + length].iter().collect();
        tokens.push(Token { kind, text, column: at + 1 });
        at += length;
    }
    Ok(tokens)
}

/// Operators of other languages, longer ones first.
const MISTAKEN: [(&str, &str); 9] = [
    ("&&", "'and'"),
    ("&", "'and'"),
    ("||", "'or'"),
    ("|", "'or'"),
    ("==", "'='"),
    ("=>", "'='"),
    ("=~", "'=', or 'in' with a list"),
    ("<>", "'!='"),
    ("~", "'=', or 'in' with a list"),
];

fn starts(rest: &[char], text: &str) -> bool {
    text.chars().enumerate().all(|(at, letter)| rest.get(at) == Some(&letter))
}

/// The token at the start of `rest` (not empty) and its length in characters.
fn token(rest: &[char]) -> Result<(Kind, usize), String> {
    if let Some((written, meant)) = MISTAKEN.iter().find(|(written, _)| starts(rest, written)) {
        return Err(format!("{written:?} is not known here; did you mean {meant}?"));
    }
    match rest {
        ['=', ..] => Ok((Kind::Equal, 1)),
        ['!', '=', ..] => Ok((Kind::NotEqual, 2)),
        ['(', ..] => Ok((Kind::Open, 1)),
        [')', ..] => Ok((Kind::Close, 1)),
        [',', ..] => Ok((Kind::Comma, 1)),
        [quote @ ('\'' | '"'), inner @ ..] => {
            let length = inner.iter().position(|c| c == quote);
            let length = length.ok_or_else(|| "the quote is never closed".to_owned())?;
            Ok((Kind::Value(inner[..length].iter().collect()), length + 2))
        }
        rest => {
            let is_word = |c: &&char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            match rest.iter().take_while(is_word).count() {
                0 if starts(rest, "!") => {
                    Err("'!' is not known here; did you mean 'not', or '!='?".to_owned())
                }
                0 => Err(format!("unexpected character {:?}", rest.first().unwrap_or(&' '))),
                length => Ok((Kind::Word(rest[..length].iter().collect()), length)),
            }
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    end: usize,
    depth: u32,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Expression, CriteriaError> {
        let mut any = vec![self.term()?];
        while self.keyword("or") {
            any.push(self.term()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expression::Or(any) })
    }

    fn term(&mut self) -> Result<Expression, CriteriaError> {
        let mut all = vec![self.factor()?];
        while self.keyword("and") {
            all.push(self.factor()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::And(all) })
    }

    fn factor(&mut self) -> Result<Expression, CriteriaError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refused(format!("nested deeper than {MAX_DEPTH}")));
        }
        let expression = if self.keyword("not") {
            Expression::Not(Box::new(self.factor()?))
        } else if self.take(&Kind::Open) {
            let inner = self.expression()?;
            if !self.take(&Kind::Close) {
                return Err(self.expected("')'"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Result<Expression, CriteriaError> {
        let column = self.column();
        let Some(Token { kind: Kind::Word(field), .. }) = self.peek().cloned() else {
            return Err(self.expected("a field name, 'not' or '('"));
        };
        self.advance();
        let (negated, values) = if self.take(&Kind::Equal) {
            (false, vec![self.value()?])
        } else if self.take(&Kind::NotEqual) {
            (true, vec![self.value()?])
        } else if self.keyword("in") {
            (false, self.list()?)
        } else if self.keyword("not") && self.keyword("in") {
            (true, self.list()?)
        } else {
            return Err(self.expected("'=', '!=', 'in' or 'not in'"));
        };
        let test = Expression::OneOf(test(&field, column, values)?);
        Ok(if negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn list(&mut self) -> Result<Vec<(String, usize)>, CriteriaError> {
        if !self.take(&Kind::Open) {
            return Err(self.expected("'('"));
        }
        let mut values = vec![self.value()?];
        loop {
            if self.take(&Kind::Close) {
                return Ok(values);
            }
            if !self.take(&Kind::Comma) {
                return Err(self.expected("',' or ')'"));
            }
            values.push(self.value()?);
        }
    }

    fn value(&mut self) -> Result<(String, usize), CriteriaError> {
        match self.peek().cloned() {
            Some(Token { kind: Kind::Value(value), column, .. }) => {
                self.advance();
                Ok((value, column))
            }
            Some(Token { kind: Kind::Word(word), .. }) => {
                let found = format!("expected a value in quotes, found {word:?}");
                Err(self.refused(format!("{found}; did you mean '{word}'?")))
            }
            _ => Err(self.expected("a value in quotes")),
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(
            self.peek(),
            Some(Token { kind: Kind::Word(text), .. }) if text.eq_ignore_ascii_case(word)
        );
        if found {
            self.advance();
        }
        found
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        if found {
            self.advance();
        }
        found
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.first()
    }

    fn advance(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn column(&self) -> usize {
        self.peek().map_or(self.end, |token| token.column)
    }

    fn expected(&self, what: &str) -> CriteriaError {
        let found = self.peek().map_or("the end".to_owned(), |token| format!("{:?}", token.text));
        self.refused(format!("expected {what}, found {found}"))
    }

    fn refused(&self, reason: String) -> CriteriaError {
        CriteriaError { column: self.column(), reason }
    }
}

fn test(field: &str, column: usize, values: Vec<(String, usize)>) -> Result<Test, CriteriaError> {
    let texts = |values: Vec<(String, usize)>| values.into_iter().map(|(text, _)| text).collect();
    match field {
        "asset.name" => Ok(Test::Name(texts(values))),
        "asset.id" => Ok(Test::Id(texts(values))),
        "asset.os" => Ok(Test::Os(texts(values))),
        "asset.source" => each(values, source).map(Test::Source),
        "asset.address" => each(values, address).map(Test::Address),
        field if field.starts_with("asset.") => {
            let reason = format!(
                "there is no asset field {field:?}, only asset.name, asset.id, asset.os, \
                 asset.source and asset.address"
            );
            Err(CriteriaError { column, reason })
        }
        key => {
            let key = key.parse().map_err(|error: crate::names::NameError| CriteriaError {
                column,
                reason: error.to_string(),
            })?;
            Ok(Test::Tag(key, texts(values)))
        }
    }
}

fn each<T>(
    values: Vec<(String, usize)>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, CriteriaError> {
    let parsed = values
        .into_iter()
        .map(|(text, column)| parse(&text).map_err(|reason| CriteriaError { column, reason }));
    parsed.collect()
}

fn source(text: &str) -> Result<Source, String> {
    match text {
        "agent" => Ok(Source::Agent),
        "spark" => Ok(Source::Spark),
        "edr" => Ok(Source::Edr),
        _ => Err(format!("{text:?} is not a source: expected agent, spark or edr")),
    }
}

fn address(text: &str) -> Result<IpNet, String> {
    parse_net(text).map_err(|_| format!("{text:?} is not an address or prefix"))
}
