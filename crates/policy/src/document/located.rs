//! Values with the position at which they were written, so that errors can name it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::Spanned;

use super::Document;

/// The position of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, if there was one.
    pub source: Option<Arc<str>>,
    /// 1-based.
    pub line: u64,
    /// 1-based.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}:{}:{}", self.line, self.column),
            None => write!(f, "line {}, column {}", self.line, self.column),
        }
    }
}

/// A scalar and its position if it was read from YAML. Equality, order and serialization only consider the
/// value.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its position; `None` if it came from JSON or was created by a program.
    pub place: Option<Place>,
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, place: None }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<T>::deserialize(deserializer)?;
        let known = referenced.line() > 0;
        let place = known.then(|| Place {
            source: None,
            line: referenced.line(),
            column: referenced.column(),
        });
        Ok(Self { value, place })
    }
}

/// Sets the file's name in all positions of a document.
pub(super) fn name_source(document: &mut Document, source: &str) {
    let source: Arc<str> = source.into();
    let name = |place: &mut Option<Place>| {
        if let Some(place) = place {
            place.source = Some(Arc::clone(&source));
        }
    };
    match document {
        Document::Segment(segment) => {
            name(&mut segment.name.place);
            segment.templates.iter_mut().for_each(|template| name(&mut template.place));
        }
        Document::Network(network) => name(&mut network.name.place),
        Document::Template(template) => {
            name(&mut template.name.place);
            for rule in template.ports.iter_mut().chain(&mut template.inbound) {
                rule.name.iter_mut().for_each(|rule| name(&mut rule.place));
                rule.from.iter_mut().for_each(|peer| name(&mut peer.place));
            }
            for rule in &mut template.outbound {
                rule.name.iter_mut().for_each(|rule| name(&mut rule.place));
                rule.to.iter_mut().for_each(|peer| name(&mut peer.place));
            }
        }
        Document::Asset(asset) => {
            name(&mut asset.name.place);
            asset.templates.iter_mut().for_each(|template| name(&mut template.place));
        }
        Document::Settings(settings) => {
            settings.domains.iter_mut().for_each(|domain| name(&mut domain.name.place));
        }
    }
}
