//! What a filter of ours matches, before it becomes conditions: at most one value or range of each field.

use super::model::{FilterCondition, MatchType, Value};
use super::names::{FilterField, LOOPBACK, Layer};
use super::program::{AppId, Sid};
use crate::plan::Family;

/// From the first to the last.
pub(super) type Span<T> = (T, T);

/// Packets of one family and direction. A field that is `None` may have any value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Region {
    pub(super) protocol: Option<u8>,
    pub(super) remote: Option<Span<u128>>,
    pub(super) local: Option<u128>,
    /// The destination port of the flow; for ICMP, the type.
    pub(super) service: Option<Span<u16>>,
    /// The source port of the flow.
    pub(super) source: Option<u16>,
    pub(super) loopback: Loopback,
    pub(super) app: Option<AppId>,
    pub(super) identity: Option<Sid>,
}

/// Which packets a region contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Loopback {
    /// All.
    #[default]
    Any,
    /// Those whose both ends are this host.
    Only,
}

/// The intersection of two regions.
pub(super) enum Common {
    /// No packet.
    Nothing,
    /// These packets.
    Region(Box<Region>),
    /// Packets whose token contains two identities, which takes two conditions on one field.
    Inexpressible,
}

impl Region {
    /// Every packet.
    pub(super) fn everything() -> Self {
        Self::default()
    }

    /// Whether an access token or an executable is checked.
    pub(super) fn has_program(&self) -> bool {
        self.app.is_some() || self.identity.is_some()
    }

    /// The intersection.
    pub(super) fn common(&self, other: &Self) -> Common {
        let Some(remote) = overlap(self.remote, other.remote) else { return Common::Nothing };
        let Some(service) = overlap(self.service, other.service) else { return Common::Nothing };
        let protocol = same(self.protocol.as_ref(), other.protocol.as_ref());
        let local = same(self.local.as_ref(), other.local.as_ref());
        let source = same(self.source.as_ref(), other.source.as_ref());
        let app = same(self.app.as_ref(), other.app.as_ref());
        let (Some(protocol), Some(local), Some(source), Some(app)) = (protocol, local, source, app)
        else {
            return Common::Nothing;
        };
        let Some(identity) = same(self.identity.as_ref(), other.identity.as_ref()) else {
            return Common::Inexpressible;
        };
        let loopback = match (self.loopback, other.loopback) {
            (Loopback::Any, Loopback::Any) => Loopback::Any,
            _ => Loopback::Only,
        };
        Common::Region(Box::new(Self {
            protocol: protocol.copied(),
            remote,
            local: local.copied(),
            service,
            source: source.copied(),
            loopback,
            app: app.cloned(),
            identity: identity.cloned(),
        }))
    }

    /// Whether every packet of this one is in the other.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        fn span<T: PartialOrd + Copy>(inner: Option<Span<T>>, outer: Option<Span<T>>) -> bool {
            match (inner, outer) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(inner), Some(outer)) => outer.0 <= inner.0 && inner.1 <= outer.1,
            }
        }
        fn value<T: PartialEq>(inner: &Option<T>, outer: &Option<T>) -> bool {
            outer.is_none() || inner == outer
        }
        span(self.remote, other.remote)
            && span(self.service, other.service)
            && value(&self.protocol, &other.protocol)
            && value(&self.local, &other.local)
            && value(&self.source, &other.source)
            && value(&self.app, &other.app)
            && value(&self.identity, &other.identity)
            && (other.loopback == Loopback::Any || self.loopback == Loopback::Only)
    }

    /// The conditions that hold for exactly these packets; `None` at a layer that has none of them.
    pub(super) fn conditions(&self, layer: &Layer) -> Option<Vec<FilterCondition>> {
        let is_error = matches!(layer, Layer::InboundIcmpError(_) | Layer::OutboundIcmpError(_));
        let family = layer.family()?;
        let is_inbound = matches!(layer, Layer::RecvAccept(_) | Layer::InboundIcmpError(_));
        let is_icmp = self.protocol == Some(family.icmp());
        if is_error && (self.has_program() || !(is_icmp || self.protocol.is_none())) {
            return None;
        }
        let equal = |field, value| FilterCondition { field, match_type: MatchType::Equal, value };
        let address = |number: u128| match family {
            // A number of this family always fits.
            Family::V4 => Value::U32(u32::try_from(number).unwrap_or(u32::MAX)),
            Family::V6 => Value::V6(number),
        };
        let within = |field, first: Value, last: Value| {
            if first == last {
                return equal(field, first);
            }
            let value = Value::Range(Box::new((first, last)));
            FilterCondition { field, match_type: MatchType::Range, value }
        };
        let mut conditions = Vec::new();
        conditions.extend(
            self.app.as_ref().map(|app| equal(FilterField::AppId, Value::Blob(app.blob()))),
        );
        conditions.extend(
            self.identity
                .as_ref()
                .map(|sid| equal(FilterField::UserId, Value::SecurityDescriptor(sid.descriptor()))),
        );
        // The ICMP error layers have no such field.
        let protocol = self.protocol.filter(|_| !is_error);
        conditions.extend(protocol.map(|number| equal(FilterField::Protocol, Value::U8(number))));
        conditions.extend(self.local.map(|local| equal(FilterField::LocalAddress, address(local))));
        conditions.extend(self.remote.map(|(first, last)| {
            within(FilterField::RemoteAddress, address(first), address(last))
        }));
        let (destination, origin) = if is_inbound || is_icmp {
            (FilterField::LocalPort, FilterField::RemotePort)
        } else {
            (FilterField::RemotePort, FilterField::LocalPort)
        };
        conditions.extend(
            self.service
                .map(|(first, last)| within(destination, Value::U16(first), Value::U16(last))),
        );
        conditions.extend(self.source.map(|port| equal(origin, Value::U16(port))));
        if self.loopback == Loopback::Only {
            conditions.push(FilterCondition {
                field: FilterField::Flags,
                match_type: MatchType::FlagsAllSet,
                value: Value::U32(LOOPBACK),
            });
        }
        Some(conditions)
    }
}

/// The intersection of two spans; `None` if it is empty.
#[allow(clippy::option_option, reason = "nothing in common, against everything")]
fn overlap<T: Ord + Copy>(one: Option<Span<T>>, other: Option<Span<T>>) -> Option<Option<Span<T>>> {
    match (one, other) {
        (None, span) | (span, None) => Some(span),
        (Some(one), Some(other)) => {
            let (first, last) = (one.0.max(other.0), one.1.min(other.1));
            (first <= last).then_some(Some((first, last)))
        }
    }
}

/// The value that both allow; `None` if there is none.
#[allow(clippy::option_option, reason = "nothing in common, against everything")]
fn same<'a, T: PartialEq>(one: Option<&'a T>, other: Option<&'a T>) -> Option<Option<&'a T>> {
    match (one, other) {
        (None, value) | (value, None) => Some(value),
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
    }
}
