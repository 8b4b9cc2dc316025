//! The names that a type has in JSON: the fields of a struct, the words of an enum.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// The names of a struct's fields, from its `Deserialize`; none if it is not a struct.
#[must_use]
pub fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = Names::default();
    // It always ends in an error; only the names found before matter.
    drop(T::deserialize(&mut names));
    names.fields
}

/// The words of an enum's variants, from its `Deserialize`; none if it is not an enum.
#[must_use]
pub fn variants<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = Names::default();
    // It always ends in an error; only the names found before matter.
    drop(T::deserialize(&mut names));
    names.variants
}

#[derive(Default)]
struct Names {
    fields: &'static [&'static str],
    variants: &'static [&'static str],
}

impl<'de> Deserializer<'de> for &mut Names {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only structs and enums have names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.fields = fields;
        Err(Error::custom("the names are known"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.variants = variants;
        Err(Error::custom("the names are known"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Me, Role};

    #[test]
    fn names_are_those_of_the_type() {
        assert_eq!(fields::<Me>(), ["user", "role", "token"]);
        assert_eq!(variants::<Role>(), ["viewer", "operator", "admin"]);
        assert!(fields::<Role>().is_empty() && variants::<Me>().is_empty());
        assert!(fields::<String>().is_empty() && variants::<Vec<Me>>().is_empty());
    }
}
