//! Finds the lists in a document, and the wanted fields of their objects.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::{AnyScalar, Scalar};
use crate::feed::Page;

/// The most names kept of an object.
const KEYS: usize = 20;

/// The fields that the first object of a feed has.
#[derive(Debug, Default)]
pub(super) struct Keys(RefCell<Vec<String>>);

impl Keys {
    pub(super) fn names(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// Reads the wanted fields of an object, nested ones by their path (`indicator.ip`). A value that is not an
/// object counts as the first field.
pub(super) struct Object<'a> {
    pub(super) wanted: &'a [&'a str],
    pub(super) keys: &'a Keys,
}

impl<'a> Object<'a> {
    fn first(&self, value: Scalar) -> Vec<Scalar> {
        let mut values = vec![Scalar::Missing; self.wanted.len()];
        if let Some(first) = values.first_mut() {
            *first = value;
        }
        values
    }
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Vec<Scalar>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<Scalar>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Vec<Scalar>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_str<E>(self, value: &str) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Text(value.to_owned())))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Other))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Other))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Other))
    }

    fn visit_unit<E>(self) -> Result<Vec<Scalar>, E> {
        Ok(self.first(Scalar::Other))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<Scalar>, A::Error> {
        AnyScalar.visit_seq(seq).map(|value| self.first(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Scalar>, A::Error> {
        let is_first = self.keys.0.borrow().is_empty();
        let mut keys = Vec::new();
        let values = fields(self.wanted, map, |key| {
            if is_first && keys.len() < KEYS {
                keys.push(key.to_owned());
            }
        })?;
        if is_first {
            *self.keys.0.borrow_mut() = keys;
        }
        Ok(values)
    }
}

fn fields<'de, A: MapAccess<'de>>(
    wanted: &[&str],
    mut map: A,
    mut each_key: impl FnMut(&str),
) -> Result<Vec<Scalar>, A::Error> {
    let mut values = vec![Scalar::Missing; wanted.len()];
    while let Some(key) = map.next_key::<String>()? {
        each_key(&key);
        let within = |path: &&str| match path.strip_prefix(key.as_str()) {
            Some(rest) => rest.strip_prefix('.').unwrap_or_default().to_owned(),
            None => String::new(),
        };
        let inner: Vec<String> = wanted.iter().map(within).collect();
        let found = match wanted.iter().position(|path| !path.is_empty() && *path == key) {
            Some(at) => vec![(at, map.next_value_seed(AnyScalar)?)],
            None if inner.iter().all(String::is_empty) => {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            None => {
                let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
                let found = map.next_value_seed(Inner { wanted: &inner })?;
                found.into_iter().enumerate().filter(|(_, it)| *it != Scalar::Missing).collect()
            }
        };
        for (at, value) in found {
            // Of two fields with the same name, some parsers take the first and some the last.
            if values[at] != Scalar::Missing {
                return Err(A::Error::custom(format_args!("two fields {:?}", wanted[at])));
            }
            values[at] = value;
        }
    }
    Ok(values)
}

/// Reads the wanted fields of a nested object; anything else has none.
struct Inner<'a> {
    wanted: &'a [&'a str],
}

impl Inner<'_> {
    fn nothing<E>(&self) -> Result<Vec<Scalar>, E> {
        Ok(vec![Scalar::Missing; self.wanted.len()])
    }
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = Vec<Scalar>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<Scalar>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = Vec<Scalar>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_u64<E>(self, _: u64) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_i64<E>(self, _: i64) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_f64<E>(self, _: f64) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_bool<E>(self, _: bool) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_unit<E>(self) -> Result<Vec<Scalar>, E> {
        self.nothing()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Scalar>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.nothing()
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Scalar>, A::Error> {
        fields(self.wanted, map, |_| {})
    }
}

/// Which arrays of a document are lists of entries.
#[derive(Clone, Copy)]
pub(in crate::feed) enum Lists<'a> {
    /// The one at the end of this path.
    At(&'a [String]),
    /// Those under these keys of the document.
    Keys(&'a [&'a str]),
    /// All under this key, at any depth.
    Anywhere(&'a str),
}

impl fmt::Display for Lists<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(path) => f.write_str(&path.join(".")),
            Self::Keys(keys) => f.write_str(&keys.join(", ")),
            Self::Anywhere(key) => f.write_str(key),
        }
    }
}

/// What to do with the value of a key.
enum Step {
    List,
    Descend,
    Pass,
}

impl Lists<'_> {
    fn step(&self, depth: usize, key: &str) -> Step {
        match self {
            Self::At(path) => match path.get(depth) {
                Some(wanted) if wanted == key && depth + 1 == path.len() => Step::List,
                Some(wanted) if wanted == key => Step::Descend,
                _ => Step::Pass,
            },
            Self::Keys(keys) if depth == 0 && keys.contains(&key) => Step::List,
            Self::Keys(_) => Step::Pass,
            Self::Anywhere(wanted) if *wanted == key => Step::List,
            Self::Anywhere(_) => Step::Descend,
        }
    }
}

/// Receives the values of an element: the key of its list and its fields.
type Each<'a> = &'a mut dyn FnMut(&str, &[Scalar]) -> Result<(), ()>;

/// Walks through a document and passes on every element of its lists.
pub(super) struct Walk<'a> {
    pub(super) lists: Lists<'a>,
    pub(super) wanted: &'a [&'a str],
    pub(super) keys: &'a Keys,
    pub(super) page: &'a mut Page,
    pub(super) found: &'a mut bool,
    pub(super) depth: usize,
    pub(super) each: Each<'a>,
}

impl Walk<'_> {
    /// Whether there are no changes, which feeds express in several ways: CrowdSec writes null for a list or
    /// the whole document, TAXII omits the list.
    fn found_nothing_to_list(&mut self) {
        *self.found |= self.depth == 0 && matches!(self.lists, Lists::Keys(_));
    }

    fn deeper(&mut self) -> Walk<'_> {
        Walk {
            lists: self.lists,
            wanted: self.wanted,
            keys: self.keys,
            page: self.page,
            found: self.found,
            depth: self.depth + 1,
            each: self.each,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a document with a list {}", self.lists)
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.found_nothing_to_list();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut is_empty = true;
        while let Some(key) = map.next_key::<String>()? {
            is_empty = false;
            match self.lists.step(self.depth, &key) {
                Step::List => {
                    self.found_nothing_to_list();
                    let list = List {
                        key: &key,
                        wanted: self.wanted,
                        keys: self.keys,
                        found: self.found,
                        each: self.each,
                    };
                    map.next_value_seed(list)?;
                }
                Step::Descend => map.next_value_seed(self.deeper())?,
                Step::Pass if self.depth == 0 && (key == "more" || key == "next") => {
                    self.found_nothing_to_list();
                    match map.next_value_seed(AnyScalar)? {
                        Scalar::Bool(more) if key == "more" => self.page.more = more,
                        Scalar::Text(next) if key == "next" => self.page.next = Some(next),
                        _ => {}
                    }
                }
                Step::Pass => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if is_empty {
            self.found_nothing_to_list();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        match self.lists {
            Lists::At([]) => {
                let list = List {
                    key: "",
                    wanted: self.wanted,
                    keys: self.keys,
                    found: self.found,
                    each: self.each,
                };
                list.visit_seq(seq)
            }
            Lists::Anywhere(_) => {
                while seq.next_element_seed(self.deeper())?.is_some() {}
                Ok(())
            }
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }
    }
}

/// Reads a list, element by element.
struct List<'a> {
    key: &'a str,
    wanted: &'a [&'a str],
    keys: &'a Keys,
    found: &'a mut bool,
    each: Each<'a>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array under {:?}", self.key)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        *self.found = true;
        let object = || Object { wanted: self.wanted, keys: self.keys };
        while let Some(values) = seq.next_element_seed(object())? {
            // The reason is reported where the element is processed; the parser only has to stop.
            (self.each)(self.key, &values).map_err(|()| A::Error::custom("stopped"))?;
        }
        Ok(())
    }
}
