//! XML as a tree of elements with text, without attributes, which these files do not have.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not XML.
    #[error("not well-formed XML at byte {position}: {reason}")]
    Malformed {
        /// The position of the error.
        position: u64,
        /// The reason.
        reason: String,
    },
    /// Elements are nested more deeply than in any such file.
    #[error("at byte {position}, elements are nested deeper than {MOST_DEEP}; no file of netsh is")]
    TooDeep {
        /// The position.
        position: u64,
    },
    /// More elements than any host has objects.
    #[error("more than {MOST_ELEMENTS} elements; no file of netsh has so many")]
    TooLarge,
    /// An object is invalid.
    #[error("{object}: {reason}")]
    Object {
        /// The object.
        object: String,
        /// The reason.
        reason: String,
    },
}

/// Files have about ten.
const MOST_DEEP: usize = 64;
/// A filter with its conditions has about fifty; 65,535 filters and as many of others fit.
const MOST_ELEMENTS: usize = 8_000_000;

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Element {
    pub(super) name: String,
    /// The text in it, without that of the elements in it.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first element of this name in it.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first element of this name; `None` when that is missing or empty.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        Some(self.child(name)?.text.trim()).filter(|text| !text.is_empty())
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(|child| child.name == "item")
    }
}

/// The root element.
pub(super) fn parse(text: &str) -> Result<Element, XmlError> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    // The open elements; the first one represents the file.
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let position = reader.buffer_position();
        let malformed = |reason: String| XmlError::Malformed { position, reason };
        let event = reader.read_event().map_err(|error| malformed(error.to_string()))?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if open.len() >= MOST_DEEP {
                    return Err(XmlError::TooDeep { position });
                }
                open.push(Element { name: start.name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Empty(empty) => {
                elements += 1;
                let element =
                    Element { name: empty.name().as_ref().to_owned(), ..Element::default() };
                last(&mut open).children.push(element);
            }
            Event::End(_) => {
                let Some(element) = open.pop().filter(|_| !open.is_empty()) else {
                    return Err(malformed("an element ends that did not begin".to_owned()));
                };
                last(&mut open).children.push(element);
            }
            Event::Text(text) => last(&mut open).text.push_str(&text),
            Event::CData(text) => last(&mut open).text.push_str(&text),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character),
                    Ok(None) => predefined(name),
                    Err(error) => return Err(malformed(error.to_string())),
                };
                let character =
                    character.ok_or_else(|| malformed(format!("unknown entity &{name};")))?;
                last(&mut open).text.push(character);
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
        if elements > MOST_ELEMENTS {
            return Err(XmlError::TooLarge);
        }
    }
    let position = reader.buffer_position();
    let malformed = |reason: &str| XmlError::Malformed { position, reason: reason.to_owned() };
    let mut file = match open.pop() {
        Some(file) if open.is_empty() => file,
        _ => return Err(malformed("the file ends within an element")),
    };
    match (file.children.pop(), file.children.is_empty()) {
        (Some(root), true) => Ok(root),
        (None, _) => Err(malformed("there is no element")),
        (Some(_), false) => Err(malformed("there is more than one root element")),
    }
}

fn last(open: &mut Vec<Element>) -> &mut Element {
    if open.is_empty() {
        open.push(Element::default());
    }
    let at = open.len() - 1;
    &mut open[at]
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}
