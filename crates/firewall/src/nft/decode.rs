//! Decodes netlink messages to the model of a plan: the content of each register is followed through a rule,
//! as in the kernel, so that every comparison names what it compares.

use std::collections::HashMap;

use xshield_policy::Owner;

use super::constants::{
    DATA_VALUE, DATA_VERDICT, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ELEMENT, LOOPBACK_INDEX,
    NETWORK_HEADER, REGISTER32_0, SYN, SYN_ACK, TCP_FLAGS, TRANSPORT_HEADER, VERDICT_CHAIN,
    VERDICT_CODE, cmp, ct, element, expr, fib, meta, object, rule, set, verdict,
};
use super::encode::{PROBATION, address_offsets, key_types, protocol_family};
use super::slot;
use super::wire::{Attributes, comment_of};
use crate::plan::{
    Condition, Effect, Element, Family, Field, FieldType, Key, Line, LiveGroup, Next, Set, Shape,
    State,
};

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// A rule with the kernel's name of its chain.
pub(crate) struct ReadLine {
    pub chain: String,
    pub line: Line,
    pub count: Count,
}

/// A set without elements, with the kernel's name.
pub(crate) struct ReadSet {
    pub name: String,
    pub flags: u32,
    pub key: Option<Vec<FieldType>>,
    pub counted: bool,
    pub size: Option<u32>,
    /// The number of elements, if the kernel sends it.
    pub count: Option<u32>,
    /// How long an element exists after its last packet.
    pub timeout_ms: Option<u64>,
}

impl ReadSet {
    pub(crate) fn of(attributes: Attributes<'_>) -> Option<Self> {
        let description = attributes.nested(set::DESCRIPTION);
        Some(Self {
            name: attributes.text(set::NAME)?.to_owned(),
            flags: attributes.be32(set::FLAGS).unwrap_or(0),
            key: attributes.be32(set::KEY_TYPE).and_then(key_types),
            counted: attributes.get(set::EXPRESSION).is_some()
                || attributes.get(set::EXPRESSIONS).is_some(),
            size: description.and_then(|d| d.be32(set::DESCRIPTION_SIZE)),
            count: attributes.be32(set::COUNT),
            timeout_ms: attributes.be64(set::TIMEOUT),
        })
    }

    /// The set in the plan's model, without elements; `None` for a set of another kind.
    pub(crate) fn as_plan(&self, plain_name: &str) -> Option<Set> {
        let shape = match self.flags & !set::CONCAT {
            0 => Shape::Exact,
            set::INTERVAL => Shape::Boxes,
            _ => return None,
        };
        let (key, counted) = (self.key.clone()?, self.counted);
        Some(Set { name: plain_name.to_owned(), key, shape, counted, elements: Vec::new() })
    }
}

/// A named counter.
pub(crate) struct ReadCounter {
    pub name: String,
    /// The kernel's id of it, which changes if it is created anew.
    pub handle: u64,
    pub count: Count,
}

impl ReadCounter {
    pub(crate) fn of(attributes: Attributes<'_>) -> Option<Self> {
        let data = attributes.nested(object::DATA);
        let read = |kind| data.and_then(|data| data.be64(kind)).unwrap_or(0);
        Some(Self {
            name: attributes.text(object::NAME)?.to_owned(),
            handle: attributes.be64(object::HANDLE).unwrap_or(0),
            count: Count { packets: read(expr::COUNTER_PACKETS), bytes: read(expr::COUNTER_BYTES) },
        })
    }
}

/// One element with its counter and, if it has a timeout, the remaining milliseconds.
pub(crate) struct ReadElement {
    pub element: Element,
    pub count: Count,
    pub expires_ms: Option<u64>,
}

impl ReadElement {
    pub(crate) fn of(item: Attributes<'_>, types: &[FieldType]) -> Option<Self> {
        let first = key_of(item.nested(element::KEY)?.get(DATA_VALUE)?, types)?;
        let last = match item.nested(element::KEY_END) {
            Some(end) => key_of(end.get(DATA_VALUE)?, types)?,
            None => first,
        };
        let label = item.get(element::USER_DATA).and_then(comment_of).unwrap_or("");
        let counter = item.nested(element::EXPRESSION).or_else(|| {
            item.nested(element::EXPRESSIONS).and_then(|list| list.nested(LIST_ELEMENT))
        });
        Some(Self {
            element: Element { first, last, label: label.into() },
            count: counter.map(count_of).unwrap_or_default(),
            expires_ms: item.be64(element::EXPIRATION),
        })
    }
}

fn count_of(expression: Attributes<'_>) -> Count {
    let data = expression.nested(EXPRESSION_DATA);
    let read = |kind| data.and_then(|data| data.be64(kind)).unwrap_or(0);
    Count { packets: read(expr::COUNTER_PACKETS), bytes: read(expr::COUNTER_BYTES) }
}

fn key_of(bytes: &[u8], types: &[FieldType]) -> Option<Key> {
    let mut key = [0; 4];
    let mut at = 0;
    for (value, field) in key.iter_mut().zip(types) {
        let field_bytes = bytes.get(at..at + field.width())?;
        *value = number(field_bytes);
        at += field.width().next_multiple_of(4);
    }
    Some(key)
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The content of a register.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RegisterContent {
    Field(Field),
    Family,
    InputIndex,
    OutputIndex,
    Uid,
    CtDirection,
    CtState(Option<u32>),
    CtStatus(Option<u32>),
    TcpFlags(Option<u8>),
    Cgroup,
    TypeOfDestination,
}

/// Decodes one rule. Whatever no plan contains becomes [`Condition::Foreign`], which always counts as a
/// difference.
pub(crate) fn line(attributes: Attributes<'_>, cgroups: &HashMap<u64, String>) -> Option<ReadLine> {
    let chain = attributes.text(rule::CHAIN)?.to_owned();
    let label = attributes.get(rule::USER_DATA).and_then(comment_of).map(Into::into);
    let mut reader = Reader {
        registers: HashMap::new(),
        line: Line { conditions: Vec::new(), counted: false, effect: None, next: None, label },
        count: Count::default(),
        at_least: None,
        limit: None,
        counter: None,
        cgroups,
    };
    for (_, expression) in attributes.nested(rule::EXPRESSIONS).into_iter().flatten() {
        let expression = Attributes(expression);
        let name = expression.text(EXPRESSION_NAME).unwrap_or("?");
        let data = expression.nested(EXPRESSION_DATA).unwrap_or(Attributes(&[]));
        if reader.expression(name, data).is_none() {
            reader.line.conditions.push(Condition::Foreign(name.to_owned()));
        }
    }
    reader.finish();
    Some(ReadLine { chain, line: reader.line, count: reader.count })
}

struct Reader<'a> {
    registers: HashMap<u32, RegisterContent>,
    line: Line,
    count: Count,
    /// A lower bound whose upper bound is still missing.
    at_least: Option<(Field, u128)>,
    limit: Option<(u64, u32)>,
    /// A named counter whose use is still unknown.
    counter: Option<String>,
    cgroups: &'a HashMap<u64, String>,
}

/// Registers by 32-bit word, in either numbering.
fn word(register: u32) -> u32 {
    if register < REGISTER32_0 { register.saturating_sub(1) * 4 } else { register - REGISTER32_0 }
}

fn plain(name: &str) -> String {
    slot::split(name).map_or(name, |(_, plain)| plain).to_owned()
}

impl Reader<'_> {
    /// `None` for expressions that no plan contains.
    fn expression(&mut self, name: &str, data: Attributes<'_>) -> Option<()> {
        match name {
            "meta" => self.meta(data),
            "payload" => self.payload(data),
            "ct" => self.ct(data),
            "socket" => {
                self.hold(data.be32(expr::SOCKET_REGISTER)?, RegisterContent::Cgroup);
                Some(())
            }
            "fib" => {
                let asked = (data.be32(expr::FIB_RESULT)?, data.be32(expr::FIB_FLAGS)?);
                if asked != (fib::ADDRESS_TYPE, fib::OF_DESTINATION) {
                    return None;
                }
                self.hold(data.be32(expr::FIB_REGISTER)?, RegisterContent::TypeOfDestination);
                Some(())
            }
            "bitwise" => self.mask(data),
            "cmp" => self.compare(data),
            "lookup" => self.look_up(data),
            "counter" => {
                self.line.counted = true;
                let read = |kind| data.be64(kind).unwrap_or(0);
                self.count = Count {
                    packets: read(expr::COUNTER_PACKETS),
                    bytes: read(expr::COUNTER_BYTES),
                };
                Some(())
            }
            "limit" => {
                self.limit = Some((data.be64(expr::LIMIT_RATE)?, data.be32(expr::LIMIT_BURST)?));
                Some(())
            }
            "log" => {
                let (per_second, burst) = self.limit.take()?;
                let prefix = data.text(expr::LOG_PREFIX)?.to_owned();
                self.line.effect = Some(match data.get(expr::LOG_GROUP) {
                    None => Effect::Log { prefix, per_second, burst },
                    Some(group) => {
                        let group = LiveGroup::new(u16::from_be_bytes(group.try_into().ok()?))?;
                        let counter = self.counter.take()?;
                        Effect::Live { counter, group, prefix, per_second, burst }
                    }
                });
                Some(())
            }
            "objref" if self.counter.is_none() => {
                if data.be32(expr::OBJECT_TYPE)? != object::COUNTER {
                    return None;
                }
                self.counter = Some(data.text(expr::OBJECT_NAME)?.to_owned());
                Some(())
            }
            "dynset" => {
                let set = data.text(expr::DYNSET_SET)?.to_owned();
                let mut key = self.key(data.be32(expr::DYNSET_REGISTER)?);
                for field in &mut key {
                    if matches!(field, Field::IcmpType(_)) {
                        *field = Field::IcmpTypeAsPort;
                    }
                }
                data.get(expr::DYNSET_EXPRESSION).or_else(|| data.get(expr::DYNSET_EXPRESSIONS))?;
                self.line.effect = Some(Effect::Record { set, key });
                Some(())
            }
            "immediate" => self.immediate(data),
            _ => None,
        }
    }

    /// Incomplete parts mean that the rule is in no plan.
    fn finish(&mut self) {
        let waits = [(self.counter.is_some(), "objref"), (self.limit.is_some(), "limit")];
        let foreign = waits.into_iter().filter(|(waits, _)| *waits);
        let foreign = foreign.map(|(_, name)| Condition::Foreign(name.to_owned()));
        self.line.conditions.extend(foreign);
    }

    fn hold(&mut self, register: u32, what: RegisterContent) {
        self.registers.insert(word(register), what);
    }

    fn meta(&mut self, data: Attributes<'_>) -> Option<()> {
        let what = match data.be32(expr::META_KEY)? {
            meta::FAMILY => RegisterContent::Family,
            meta::PROTOCOL => RegisterContent::Field(Field::Protocol),
            meta::INPUT_INDEX => RegisterContent::InputIndex,
            meta::OUTPUT_INDEX => RegisterContent::OutputIndex,
            meta::INPUT_NAME => RegisterContent::Field(Field::InputName),
            meta::OUTPUT_NAME => RegisterContent::Field(Field::OutputName),
            meta::SOCKET_UID => RegisterContent::Uid,
            _ => return None,
        };
        self.hold(data.be32(expr::META_REGISTER)?, what);
        Some(())
    }

    fn payload(&mut self, data: Attributes<'_>) -> Option<()> {
        let place = (
            data.be32(expr::PAYLOAD_BASE)?,
            data.be32(expr::PAYLOAD_OFFSET)?,
            data.be32(expr::PAYLOAD_LENGTH)?,
        );
        let what = match place {
            (TRANSPORT_HEADER, 0, 2) => RegisterContent::Field(Field::SourcePort),
            (TRANSPORT_HEADER, 2, 2) => RegisterContent::Field(Field::DestinationPort),
            (TRANSPORT_HEADER, 0, 1) => {
                RegisterContent::Field(Field::IcmpType(self.icmp_family()?))
            }
            (TRANSPORT_HEADER, TCP_FLAGS, 1) => RegisterContent::TcpFlags(None),
            (NETWORK_HEADER, offset, length) => {
                let family = if length == 4 { Family::V4 } else { Family::V6 };
                let (source, destination) = address_offsets(family);
                if offset == source && matches!(length, 4 | 16) {
                    RegisterContent::Field(Field::Source(family))
                } else if offset == destination && matches!(length, 4 | 16) {
                    RegisterContent::Field(Field::Destination(family))
                } else {
                    return None;
                }
            }
            _ => return None,
        };
        self.hold(data.be32(expr::PAYLOAD_REGISTER)?, what);
        Some(())
    }

    /// The family whose ICMP protocol the rule has checked.
    fn icmp_family(&self) -> Option<Family> {
        let is =
            |family: &Family| self.line.conditions.contains(&Condition::Protocol(family.icmp()));
        Family::BOTH.into_iter().find(is)
    }

    fn ct(&mut self, data: Attributes<'_>) -> Option<()> {
        let original = data.get(expr::CT_DIRECTION) == Some(&[ct::ORIGINAL]);
        let what = match data.be32(expr::CT_KEY)? {
            ct::STATE => RegisterContent::CtState(None),
            ct::DIRECTION => RegisterContent::CtDirection,
            ct::STATUS => RegisterContent::CtStatus(None),
            key if original => RegisterContent::Field(match key {
                ct::SOURCE_V4 => Field::OriginalSource(Family::V4),
                ct::SOURCE_V6 => Field::OriginalSource(Family::V6),
                ct::DESTINATION_V4 => Field::OriginalDestination(Family::V4),
                ct::DESTINATION_V6 => Field::OriginalDestination(Family::V6),
                ct::PORT_DESTINATION => Field::OriginalPort,
                _ => return None,
            }),
            _ => return None,
        };
        self.hold(data.be32(expr::CT_REGISTER)?, what);
        Some(())
    }

    fn mask(&mut self, data: Attributes<'_>) -> Option<()> {
        let mask = data.nested(expr::BITWISE_MASK)?.get(DATA_VALUE)?;
        let xor = data.nested(expr::BITWISE_XOR)?.get(DATA_VALUE)?;
        let source = self.registers.get(&word(data.be32(expr::BITWISE_SOURCE)?))?;
        if xor.iter().any(|&byte| byte != 0) {
            return None;
        }
        let what = match source {
            RegisterContent::CtState(None) => {
                RegisterContent::CtState(Some(u32::from_ne_bytes(mask.try_into().ok()?)))
            }
            RegisterContent::CtStatus(None) => {
                RegisterContent::CtStatus(Some(u32::from_ne_bytes(mask.try_into().ok()?)))
            }
            RegisterContent::TcpFlags(None) => RegisterContent::TcpFlags(Some(*mask.first()?)),
            _ => return None,
        };
        self.hold(data.be32(expr::BITWISE_REGISTER)?, what);
        Some(())
    }

    fn compare(&mut self, data: Attributes<'_>) -> Option<()> {
        let value = data.nested(expr::CMP_DATA)?.get(DATA_VALUE)?;
        let operation = data.be32(expr::CMP_OPERATION)?;
        let held = *self.registers.get(&word(data.be32(expr::CMP_REGISTER)?))?;
        let index = || Some(u32::from_ne_bytes(value.try_into().ok()?));
        let condition = match (held, operation) {
            (RegisterContent::Family, cmp::EQUAL) => {
                let is = |family: &Family| Some(&protocol_family(*family)) == value.first();
                Condition::Family(Family::BOTH.into_iter().find(is)?)
            }
            (RegisterContent::Field(Field::Protocol), cmp::EQUAL) => {
                Condition::Protocol(*value.first()?)
            }
            (RegisterContent::Field(field), cmp::EQUAL) => {
                let value = number(value);
                Condition::Within { field, first: value, last: value }
            }
            (RegisterContent::Field(field), cmp::AT_LEAST) => {
                self.at_least = Some((field, number(value)));
                return Some(());
            }
            (RegisterContent::Field(field), cmp::AT_MOST) => {
                let (same, first) = self.at_least.take()?;
                if same != field {
                    return None;
                }
                Condition::Within { field, first, last: number(value) }
            }
            (RegisterContent::InputIndex, cmp::EQUAL) if index()? == LOOPBACK_INDEX => {
                Condition::InputLoopback
            }
            (RegisterContent::OutputIndex, cmp::EQUAL) if index()? == LOOPBACK_INDEX => {
                Condition::OutputLoopback
            }
            (RegisterContent::CtDirection, cmp::EQUAL) if value == [1] => Condition::Reply,
            (RegisterContent::CtState(Some(mask)), cmp::NOT_EQUAL) if number(value) == 0 => {
                Condition::State(match mask {
                    ct::NEW => State::New,
                    ct::ESTABLISHED => State::Established,
                    ct::INVALID => State::Invalid,
                    ct::UNTRACKED => State::Untracked,
                    _ => return None,
                })
            }
            (RegisterContent::CtStatus(Some(ct::TRANSLATED)), cmp::NOT_EQUAL)
                if number(value) == 0 =>
            {
                Condition::Translated
            }
            (RegisterContent::TcpFlags(Some(SYN_ACK)), cmp::EQUAL) if value == [SYN] => {
                Condition::Opens
            }
            (RegisterContent::TypeOfDestination, cmp::EQUAL) if index()? == fib::LOCAL => {
                Condition::LocalDestination
            }
            (RegisterContent::Uid, cmp::EQUAL) => Condition::Owner(Owner::Uid(index()?)),
            (RegisterContent::Uid, cmp::AT_LEAST) if number(value) == 0 => Condition::HasOwner,
            (RegisterContent::Cgroup, cmp::EQUAL) => {
                let id = u64::from_ne_bytes(value.try_into().ok()?);
                let path = self.cgroups.get(&id).cloned();
                Condition::Owner(Owner::Cgroup(path.unwrap_or_else(|| format!("gone:{id}"))))
            }
            _ => return None,
        };
        self.line.conditions.push(condition);
        Some(())
    }

    /// The fields in consecutive registers.
    fn key(&self, register: u32) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut at = word(register);
        while let Some(RegisterContent::Field(field)) = self.registers.get(&at) {
            fields.push(*field);
            at += u32::try_from(field.type_of().width().div_ceil(4)).unwrap_or(1);
        }
        fields
    }

    fn look_up(&mut self, data: Attributes<'_>) -> Option<()> {
        let set = data.text(expr::LOOKUP_SET)?;
        let register = data.be32(expr::LOOKUP_REGISTER)?;
        let held = *self.registers.get(&word(register))?;
        self.line.conditions.push(match held {
            RegisterContent::Family if set == PROBATION => Condition::OnProbation,
            _ => Condition::InSet { key: self.key(register), set: plain(set) },
        });
        // What was loaded for this look-up is not part of the next key.
        self.registers.clear();
        Some(())
    }

    fn immediate(&mut self, data: Attributes<'_>) -> Option<()> {
        let value = data.nested(expr::IMMEDIATE_DATA)?;
        let register = data.be32(expr::IMMEDIATE_REGISTER)?;
        if register != 0 {
            let zero = value.get(DATA_VALUE)?.iter().all(|&byte| byte == 0);
            self.hold(register, RegisterContent::Field(Field::NoPort));
            return zero.then_some(());
        }
        let value = value.nested(DATA_VERDICT)?;
        let code = i32::from_be_bytes(value.get(VERDICT_CODE)?.try_into().ok()?);
        let to = || value.text(VERDICT_CHAIN).map(plain);
        self.line.next = Some(match code {
            verdict::ACCEPT => Next::Accept,
            verdict::DROP => Next::Drop,
            verdict::RETURN => Next::Return,
            verdict::JUMP => Next::Jump(to()?),
            verdict::GOTO => Next::Goto(to()?),
            _ => return None,
        });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installed::Slot;
    use crate::nft::socket::Batch;
    use crate::nft::wire::Messages;
    use crate::plan::plan_with;
    use proptest::prelude::*;

    fn batch() -> Vec<u8> {
        let closed =
            || xshield_policy::BoundDirection::enforcing(xshield_policy::BoundStance::closed());
        let everything = || {
            let stance = xshield_policy::ForwardedStance {
                enforced: xshield_policy::Forwarded::Everything,
                tested: None,
            };
            xshield_policy::BoundForwarded {
                rules: xshield_policy::ForwardedRules { inbound: stance, outbound: stance },
                interfaces: xshield_policy::Interfaces {
                    inner: ["docker0".parse().unwrap()].into(),
                    bridges: ["docker0".parse().unwrap()].into(),
                },
            }
        };
        let bound = xshield_policy::Bound {
            revision: xshield_policy::Revision(1),
            failsafe: xshield_policy::BoundFailsafe {
                endpoints: vec!["192.0.2.1:443".parse().unwrap()],
                resolvers: xshield_policy::AddressMatch::Any,
                time_servers: xshield_policy::RangeSet::empty(),
                time_key_servers: xshield_policy::RangeSet::empty(),
                management: Vec::new(),
                served: vec![
                    "192.0.2.1:8443".parse().unwrap(),
                    "[2001:db8::1]:8443".parse().unwrap(),
                ],
            },
            intranet: xshield_policy::RangeSet::empty(),
            inbound: closed(),
            outbound: closed(),
            forwarded: everything(),
        };
        let plan = plan_with(&bound, &crate::Capabilities::FULL, Some(LiveGroup::DEFAULT));
        let mut batch = Batch::new(None);
        plan.sets.iter().for_each(|set| batch.set(set, Slot::A));
        plan.chains.iter().for_each(|chain| batch.lines(chain, Some(Slot::A)));
        batch.finish()
    }

    fn read_everything(bytes: &[u8]) -> usize {
        let types = [FieldType::Address(Family::V4), FieldType::Protocol, FieldType::Port];
        let mut lines = 0;
        for message in Messages(bytes) {
            lines += usize::from(line(message.attributes(), &HashMap::new()).is_some());
            ReadSet::of(message.attributes());
            let list = message.attributes().nested(element::LIST_ELEMENTS);
            for (_, item) in list.into_iter().flatten() {
                ReadElement::of(Attributes(item), &types);
            }
        }
        lines
    }

    #[test]
    fn our_own_messages_are_decoded() {
        assert!(read_everything(&batch()) > 20);
    }

    proptest! {
        #[test]
        fn damaged_messages_cause_no_panic(
            at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = batch();
            let place = at.index(bytes.len());
            bytes[place] = with;
            bytes.truncate(cut.index(bytes.len()));
            read_everything(&bytes);
            read_everything(&noise);
        }
    }
}
