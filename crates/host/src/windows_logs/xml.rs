//! Parses an event from the XML that `EvtRender` returns.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::fields::Fields;

/// Why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventXmlError {
    /// Not XML.
    #[error("not well-formed XML at byte {position}: {reason}")]
    Malformed {
        /// The position of the error.
        position: u64,
        /// The reason.
        reason: String,
    },
    /// It ends within an element.
    #[error("the event is cut off")]
    CutOff,
    /// It has no event id.
    #[error("there is no number in EventID")]
    NoKind,
}

/// Which value the text of the open element belongs to.
enum Place {
    Kind,
    Named(String),
}

/// Reads one event.
///
/// # Errors
/// See [`EventXmlError`].
pub fn read_xml(text: &str) -> Result<Fields<'static>, EventXmlError> {
    let mut fields = Fields::default();
    let mut kind = String::new();
    let mut reader = Reader::from_str(text);
    let (mut depth, mut place) = (0_usize, None);
    loop {
        let position = reader.buffer_position();
        let malformed = |reason: String| EventXmlError::Malformed { position, reason };
        let event = reader.read_event().map_err(|error| malformed(error.to_string()))?;
        match event {
            Event::Start(start) => {
                depth += 1;
                place = open(&start, &mut fields).map_err(malformed)?;
            }
            Event::Empty(start) => {
                open(&start, &mut fields).map_err(malformed)?;
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                place = None;
            }
            Event::Text(text) => put(&mut fields, &mut kind, place.as_ref(), &text),
            Event::CData(text) => put(&mut fields, &mut kind, place.as_ref(), &text),
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    Ok(None) => predefined(&reference)
                        .ok_or_else(|| malformed(format!("unknown entity &{};", &*reference)))?
                        .to_owned(),
                    Err(error) => return Err(malformed(error.to_string())),
                };
                put(&mut fields, &mut kind, place.as_ref(), &character);
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    if depth > 0 {
        return Err(EventXmlError::CutOff);
    }
    fields.event_id = kind.trim().parse().map_err(|_| EventXmlError::NoKind)?;
    Ok(fields)
}

/// The value that an element starts; the time is an attribute.
fn open(start: &BytesStart<'_>, fields: &mut Fields<'_>) -> Result<Option<Place>, String> {
    let attribute = |name: &str| -> Result<Option<String>, String> {
        let found = start.try_get_attribute(name).map_err(|error| error.to_string())?;
        Ok(found.map(|attribute| attribute.value.into_owned()))
    };
    let name = start.local_name();
    Ok(match name.as_ref() {
        "EventID" => Some(Place::Kind),
        "TimeCreated" => {
            fields.time = attribute("SystemTime")?.map(Cow::Owned);
            None
        }
        "Data" => attribute("Name")?.map(Place::Named),
        _ => None,
    })
}

fn put(fields: &mut Fields<'_>, kind: &mut String, place: Option<&Place>, text: &str) {
    match place {
        Some(Place::Kind) => kind.push_str(text),
        Some(Place::Named(name)) => {
            if let Some(field) = fields.named(name) {
                field.get_or_insert_default().to_mut().push_str(text);
            }
        }
        None => {}
    }
}

fn predefined(name: &str) -> Option<&'static str> {
    match name {
        "lt" => Some("<"),
        "gt" => Some(">"),
        "amp" => Some("&"),
        "apos" => Some("'"),
        "quot" => Some("\""),
        _ => None,
    }
}
