//! Converts elements to objects of WFP.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::tree::{Element, XmlError};
use crate::wfp::guid::Guid;
use crate::wfp::model::{
    CalloutKind, EngineState, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType,
    ObjectKey, Provider, SubLayer, Value, Weight,
};
use crate::wfp::names::{FilterField, Layer};

/// The reason why an object is invalid, before the object is added.
type Reason = String;

/// Adds every provider, sublayer and filter to the state, wherever their lists are.
pub(super) fn collect(element: &Element, state: &mut EngineState) -> Result<(), XmlError> {
    let refused = |item: &Element, key: &str, kind: &str, reason: Reason| XmlError::Object {
        object: format!("{kind} {}", item.text_of(key).unwrap_or("without a key")),
        reason,
    };
    match element.name.as_str() {
        "providers" => {
            for item in element.items() {
                let read = provider(item);
                let read = read.map_err(|why| refused(item, "providerKey", "provider", why))?;
                state.providers.push(read);
            }
        }
        "subLayers" => {
            for item in element.items() {
                let read = sublayer(item);
                let read = read.map_err(|why| refused(item, "subLayerKey", "sublayer", why))?;
                state.sublayers.push(read);
            }
        }
        "filters" => {
            for item in element.items() {
                let read = filter(item);
                let read = read.map_err(|why| refused(item, "filterKey", "filter", why))?;
                state.filters.push(read);
            }
        }
        _ => element.children.iter().try_for_each(|child| collect(child, state))?,
    }
    Ok(())
}

fn key(text: &str) -> Result<ObjectKey, Reason> {
    if text.starts_with('{') {
        return text.parse::<Guid>().map(ObjectKey::Guid).map_err(|error| error.to_string());
    }
    Ok(ObjectKey::BuiltIn(text.into()))
}

fn own_key(item: &Element, name: &str) -> Result<ObjectKey, Reason> {
    key(item.text_of(name).ok_or_else(|| format!("has no {name}"))?)
}

fn provider_key(item: &Element) -> Result<Option<ObjectKey>, Reason> {
    item.text_of("providerKey").map(key).transpose()
}

fn display_name<'e>(item: &'e Element, part: &str) -> &'e str {
    item.child("displayData").and_then(|data| data.text_of(part)).unwrap_or_default()
}

fn lifetime(item: &Element, persistent: &str) -> Lifetime {
    let flags = item.child("flags").into_iter().flat_map(Element::items);
    if flags.into_iter().any(|flag| flag.text.trim() == persistent) {
        Lifetime::Persistent
    } else {
        Lifetime::Static
    }
}

fn provider(item: &Element) -> Result<Provider, Reason> {
    Ok(Provider {
        key: own_key(item, "providerKey")?,
        name: display_name(item, "name").into(),
        service: item.text_of("serviceName").map(Into::into),
        lifetime: lifetime(item, "FWPM_PROVIDER_FLAG_PERSISTENT"),
    })
}

fn sublayer(item: &Element) -> Result<SubLayer, Reason> {
    Ok(SubLayer {
        key: own_key(item, "subLayerKey")?,
        name: display_name(item, "name").into(),
        provider: provider_key(item)?,
        weight: number(item.text_of("weight").ok_or("has no weight")?)?,
        lifetime: lifetime(item, "FWPM_SUBLAYER_FLAG_PERSISTENT"),
    })
}

fn filter(item: &Element) -> Result<Filter, Reason> {
    let flags = item.child("flags").into_iter().flat_map(Element::items);
    let known = flags.into_iter().filter_map(|flag| Flags::named(flag.text.trim()));
    let conditions = item.child("filterCondition").into_iter().flat_map(Element::items);
    let effective_weight = match item.child("effectiveWeight").map(value).transpose()? {
        Some(Value::U64(weight)) => Some(weight),
        Some(Value::Empty) | None => None,
        Some(other) => return Err(format!("its effective weight is {other:?}, no 64-bit number")),
    };
    Ok(Filter {
        key: own_key(item, "filterKey")?,
        name: display_name(item, "name").into(),
        description: display_name(item, "description").into(),
        flags: known.fold(Flags::default(), Flags::with),
        provider: provider_key(item)?,
        layer: Layer::named(item.text_of("layerKey").ok_or("has no layerKey")?),
        sublayer: own_key(item, "subLayerKey")?,
        weight: match item.child("weight").map(value).transpose()? {
            Some(Value::U64(weight)) => Weight::Exact(weight),
            Some(Value::U8(range)) => Weight::Within(range),
            Some(Value::Empty) | None => Weight::Automatic,
            Some(other) => return Err(format!("its weight is {other:?}, no weight")),
        },
        effective_weight,
        conditions: conditions.map(condition).collect::<Result<_, _>>()?,
        action: action(item.child("action").ok_or("has no action")?)?,
        id: item.text_of("filterId").map(number).transpose()?,
    })
}

fn condition(item: &Element) -> Result<FilterCondition, Reason> {
    let match_type = item.text_of("matchType").ok_or("a condition has no matchType")?;
    Ok(FilterCondition {
        field: FilterField::named(item.text_of("fieldKey").ok_or("a condition has no fieldKey")?),
        match_type: MatchType::named(match_type)
            .ok_or_else(|| format!("a condition has the unknown match type {match_type:?}"))?,
        value: value(item.child("conditionValue").ok_or("a condition has no conditionValue")?)?,
    })
}

fn action(element: &Element) -> Result<FilterAction, Reason> {
    let kind = match element.text_of("type").ok_or("its action has no type")? {
        "FWP_ACTION_PERMIT" => return Ok(FilterAction::Permit),
        "FWP_ACTION_BLOCK" => return Ok(FilterAction::Block),
        "FWP_ACTION_CALLOUT_TERMINATING" => CalloutKind::Terminating,
        "FWP_ACTION_CALLOUT_INSPECTION" => CalloutKind::Inspection,
        "FWP_ACTION_CALLOUT_UNKNOWN" => CalloutKind::Unknown,
        other => return Err(format!("its action has the unknown type {other:?}")),
    };
    let callout = element.text_of("calloutKey").unwrap_or("unknown").to_owned();
    Ok(FilterAction::Callout { kind, callout })
}

/// A value, which follows its type.
fn value(element: &Element) -> Result<Value, Reason> {
    let kind = element.text_of("type").ok_or("a value has no type")?;
    let of = |name: &str| element.text_of(name).ok_or_else(|| format!("a {kind} has no {name}"));
    Ok(match kind {
        "FWP_EMPTY" => Value::Empty,
        "FWP_UINT8" => Value::U8(number(of("uint8")?)?),
        "FWP_UINT16" => Value::U16(number(of("uint16")?)?),
        "FWP_UINT32" => Value::U32(number_or_address(of("uint32")?)?),
        "FWP_UINT64" => Value::U64(number(of("uint64")?)?),
        "FWP_BYTE_ARRAY16_TYPE" => Value::V6(address(of("byteArray16")?)?),
        "FWP_BYTE_BLOB_TYPE" => {
            let blob = element.child("byteBlob").ok_or("a blob has no byteBlob")?;
            Value::Blob(bytes(blob.text_of("data").unwrap_or_default())?)
        }
        "FWP_SID" => Value::Sid(of("sid")?.to_owned()),
        "FWP_SECURITY_DESCRIPTOR_TYPE" => Value::SecurityDescriptor(of("sd")?.to_owned()),
        "FWP_RANGE_TYPE" => {
            let range = element.child("rangeValue").ok_or("a range has no rangeValue")?;
            let end = |name: &str| {
                let end = range.child(name).ok_or_else(|| format!("a range has no {name}"))?;
                match end.text_of("type") {
                    Some("FWP_RANGE_TYPE") => Err("a range of ranges".to_owned()),
                    _ => value(end),
                }
            };
            Value::Range(Box::new((end("valueLow")?, end("valueHigh")?)))
        }
        "FWP_V4_ADDR_MASK" => {
            let both = element.child("v4AddrMask").ok_or("a network has no v4AddrMask")?;
            let part = |name: &str| {
                let text = both.text_of(name).ok_or_else(|| format!("a network has no {name}"))?;
                number_or_address(text)
            };
            Value::V4Mask { address: part("addr")?, mask: part("mask")? }
        }
        "FWP_V6_ADDR_MASK" => {
            let both = element.child("v6AddrMask").ok_or("a network has no v6AddrMask")?;
            let length = both.text_of("prefixLength").ok_or("a network has no prefixLength")?;
            let length: u8 = number(length)?;
            if length > 128 {
                return Err(format!("a prefix of {length} bits"));
            }
            Value::V6Mask {
                address: address(both.text_of("addr").ok_or("a network has no addr")?)?,
                length,
            }
        }
        other => Value::Other(other.to_owned()),
    })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Reason> {
    text.parse().map_err(|_| format!("{text:?} is no number of its type"))
}

/// Windows writes 32-bit addresses as addresses, and other 32-bit numbers as numbers.
fn number_or_address(text: &str) -> Result<u32, Reason> {
    match text.parse::<Ipv4Addr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => number(text),
    }
}

fn address(text: &str) -> Result<u128, Reason> {
    // With a scope, such as fe80::1%12, which is not part of the value.
    let bare = text.split('%').next().unwrap_or(text);
    let address = bare.parse::<Ipv6Addr>().map_err(|_| format!("{text:?} is no IPv6 address"))?;
    Ok(address.into())
}

fn bytes(text: &str) -> Result<Vec<u8>, Reason> {
    let refuse = || "its bytes are not pairs of hexadecimal digits".to_owned();
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(refuse());
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let [high, low] = [digit(pair[0]), pair.get(1).and_then(|&byte| digit(byte))];
            u8::try_from(high? << 4 | low?).ok()
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(refuse)
}
