//! Encodes a plan's model as netlink messages.

use xshield_policy::Owner;

use super::cgroups;
use super::constants::{
    DATA_VALUE, DATA_VERDICT, DYNSET_UPDATE, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ELEMENT,
    LOOPBACK_INDEX, NETWORK_HEADER, REGISTER_1, REGISTER32_0, SOCKET_CGROUP, SYN, SYN_ACK,
    TABLE_NAME, TCP_FLAGS, TRANSPORT_HEADER, VERDICT_CHAIN, VERDICT_CODE, chain, cmp, ct, element,
    expr, fib, flag, message as kind, meta, object, rule, set, verdict,
};
use super::slot::kernel_name;
use super::socket::Batch;
use super::wire::{Writer, comment};
use crate::installed::Slot;
use crate::plan::{
    Chain, Condition, ENTRY_FORWARD, ENTRY_IN, ENTRY_OUT, Effect, Element, Family, Field,
    FieldType, FlowSet, Key, Line, LiveGroup, Next, Set, Shape, State,
};

/// The set of IP versions for which the new ruleset is on trial.
pub(crate) const PROBATION: &str = "probation";
/// The size of the elements in one message; a list must stay below 64 KiB.
const LIST_BYTES: usize = 48_000;

/// A hook of the kernel and our chain at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Input,
    Output,
    /// Exists only while a ruleset in the kernel judges forwarded packets.
    Forward,
}

impl Hook {
    /// The hooks that always exist.
    pub(crate) const BOTH: [Self; 2] = [Self::Input, Self::Output];
    pub(crate) const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Forward];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Forward => "forward",
        }
    }

    /// The chain of a ruleset that judges its packets.
    pub(crate) fn entry(self) -> &'static str {
        match self {
            Self::Input => ENTRY_IN,
            Self::Output => ENTRY_OUT,
            Self::Forward => ENTRY_FORWARD,
        }
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
        }
    }
}

/// The operations of a batch, in the plan's model.
impl Batch {
    pub(crate) fn table(&mut self) {
        let table = self.table;
        self.add(kind::NEW_TABLE, flag::CREATE, |w| w.text(TABLE_NAME, table));
    }

    pub(crate) fn delete_table(&mut self) {
        let table = self.table;
        self.add(kind::DEL_TABLE, 0, |w| w.text(TABLE_NAME, table));
    }

    pub(crate) fn base_chain(&mut self, hook: Hook) {
        let table = self.table;
        self.add(kind::NEW_CHAIN, flag::CREATE, |w| {
            w.text(chain::TABLE, table);
            w.text(chain::NAME, hook.name());
            w.nested(chain::HOOK, |w| {
                w.be32(chain::HOOK_NUMBER, hook.number());
                w.be32(chain::HOOK_PRIORITY, 0);
            });
            w.be32(chain::POLICY, 1);
            w.text(chain::TYPE, "filter");
        });
    }

    pub(crate) fn chain(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::NEW_CHAIN, flag::CREATE, |w| {
            w.text(chain::TABLE, table);
            w.text(chain::NAME, name);
        });
    }

    pub(crate) fn delete_chain(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::DEL_CHAIN, 0, |w| {
            w.text(chain::TABLE, table);
            w.text(chain::NAME, name);
        });
    }

    /// Deletes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::DEL_RULE, 0, |w| {
            w.text(rule::TABLE, table);
            w.text(rule::CHAIN, name);
        });
    }

    pub(crate) fn delete_set(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::DEL_SET, 0, |w| {
            w.text(set::TABLE, table);
            w.text(set::NAME, name);
        });
    }

    /// Creates a counter of the table; an existing one is unchanged.
    pub(crate) fn counter(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::NEW_OBJECT, flag::CREATE, |w| {
            counter_named(w, table, name);
            w.nested(object::DATA, |_| {});
        });
    }

    pub(crate) fn delete_counter(&mut self, name: &str) {
        let table = self.table;
        self.add(kind::DEL_OBJECT, 0, |w| counter_named(w, table, name));
    }

    pub(crate) fn line(&mut self, chain: &str, line: &Line, slot: Option<Slot>) {
        let table = self.table;
        self.add(kind::NEW_RULE, flag::CREATE | flag::APPEND, |w| {
            w.text(rule::TABLE, table);
            w.text(rule::CHAIN, chain);
            w.nested(rule::EXPRESSIONS, |w| expressions(&mut Expressions(w), line, slot));
            if let Some(label) = &line.label {
                w.bytes(rule::USER_DATA, &comment(label));
            }
        });
    }

    pub(crate) fn lines(&mut self, chain: &Chain, slot: Option<Slot>) {
        let name = kernel_name(&chain.name, slot);
        for line in &chain.lines {
            self.line(&name, line, slot);
        }
    }

    pub(crate) fn flow_set(&mut self, flows: &FlowSet) {
        let table = self.table;
        self.add(kind::NEW_SET, flag::CREATE, |w| {
            w.text(set::TABLE, table);
            w.text(set::NAME, &flows.name);
            w.be32(set::FLAGS, set::HAS_TIMEOUT | set::DYNAMIC);
            w.be32(set::KEY_TYPE, key_type(&flows.key));
            w.be32(set::KEY_LENGTH, key_length(&flows.key));
            w.nested(set::DESCRIPTION, |w| w.be32(set::DESCRIPTION_SIZE, flows.size));
            w.be32(set::ID, 0);
            w.be64(set::TIMEOUT, flows.timeout_seconds * 1000);
        });
    }

    /// Creates a set that contains both IP versions for `milliseconds`, then none.
    pub(crate) fn probation(&mut self, milliseconds: u64) {
        let table = self.table;
        self.add(kind::NEW_SET, flag::CREATE, |w| {
            w.text(set::TABLE, table);
            w.text(set::NAME, PROBATION);
            w.be32(set::FLAGS, set::HAS_TIMEOUT);
            w.be32(set::KEY_TYPE, 2);
            w.be32(set::KEY_LENGTH, 1);
            w.be32(set::ID, 0);
        });
        self.add(kind::NEW_ELEMENT, flag::CREATE, |w| {
            w.text(element::LIST_TABLE, table);
            w.text(element::LIST_SET, PROBATION);
            w.nested(element::LIST_ELEMENTS, |w| {
                for family in Family::BOTH {
                    w.nested(LIST_ELEMENT, |w| {
                        w.nested(element::KEY, |w| w.bytes(DATA_VALUE, &[protocol_family(family)]));
                        w.be64(element::TIMEOUT, milliseconds);
                    });
                }
            });
        });
    }

    pub(crate) fn set(&mut self, of: &Set, slot: Slot) {
        let table = self.table;
        let name = kernel_name(&of.name, Some(slot));
        self.add(kind::NEW_SET, flag::CREATE, |w| {
            w.text(set::TABLE, table);
            w.text(set::NAME, &name);
            let flags = if of.shape == Shape::Boxes { set::INTERVAL | set::CONCAT } else { 0 };
            w.be32(set::FLAGS, flags);
            w.be32(set::KEY_TYPE, key_type(&of.key));
            w.be32(set::KEY_LENGTH, key_length(&of.key));
            w.nested(set::DESCRIPTION, |w| {
                let elements = u32::try_from(of.elements.len()).unwrap_or(u32::MAX);
                w.be32(set::DESCRIPTION_SIZE, elements);
                if of.shape == Shape::Boxes {
                    w.nested(set::DESCRIPTION_CONCAT, |w| {
                        for field in &of.key {
                            let length = u32::try_from(field.width()).unwrap_or(4);
                            w.nested(LIST_ELEMENT, |w| w.be32(set::FIELD_LENGTH, length));
                        }
                    });
                }
            });
            w.be32(set::ID, 0);
            if of.key == [FieldType::InterfaceName] {
                w.bytes(set::USER_DATA, &host_byte_order());
            }
            if of.counted {
                w.nested(set::EXPRESSION, |w| w.text(EXPRESSION_NAME, "counter"));
            }
        });
        let mut rest = of.elements.as_slice();
        while !rest.is_empty() {
            self.add(kind::NEW_ELEMENT, flag::CREATE, |w| {
                w.text(element::LIST_TABLE, table);
                w.text(element::LIST_SET, &name);
                w.nested(element::LIST_ELEMENTS, |w| {
                    let start = w.0.len();
                    while let [next, others @ ..] = rest
                        && w.0.len() - start < LIST_BYTES
                    {
                        w.nested(LIST_ELEMENT, |w| write_element(w, next, of));
                        rest = others;
                    }
                });
            });
        }
    }
}

/// What `nft` needs to list a set of names: `NFTNL_UDATA_SET_KEYBYTEORDER` (libnftnl),
/// `BYTEORDER_HOST_ENDIAN` (nftables). For other sets its default is correct.
fn host_byte_order() -> [u8; 6] {
    let mut bytes = [0, 4, 0, 0, 0, 0];
    bytes[2..].copy_from_slice(&1_u32.to_ne_bytes());
    bytes
}

fn counter_named(w: &mut Writer<'_>, table: &str, name: &str) {
    w.text(object::TABLE, table);
    w.text(object::NAME, name);
    w.be32(object::TYPE, object::COUNTER);
}

fn write_element(w: &mut Writer<'_>, item: &Element, of: &Set) {
    let mut bytes = [0; 64];
    let mut key = |w: &mut Writer<'_>, attribute: u16, key: &Key| {
        let length = key_bytes(&of.key, key, &mut bytes);
        w.nested(attribute, |w| w.bytes(DATA_VALUE, &bytes[..length]));
    };
    key(w, element::KEY, &item.first);
    if of.shape == Shape::Boxes {
        key(w, element::KEY_END, &item.last);
    }
    w.bytes(element::USER_DATA, &comment(&item.label));
}

/// Every field starts at a multiple of four bytes.
pub(crate) fn key_bytes(types: &[FieldType], key: &Key, out: &mut [u8; 64]) -> usize {
    *out = [0; 64];
    let mut at = 0;
    for (field, value) in types.iter().zip(key) {
        let bytes = value.to_be_bytes();
        let length = field.width();
        out[at..at + length].copy_from_slice(&bytes[16 - length..]);
        at += length.next_multiple_of(4);
    }
    at
}

/// nft's id of a concatenation: six bits per type.
pub(crate) fn key_type(types: &[FieldType]) -> u32 {
    types.iter().fold(0, |number, field| {
        let one = match field {
            FieldType::Address(Family::V4) => 7,
            FieldType::Address(Family::V6) => 8,
            FieldType::Protocol => 12,
            FieldType::Port => 13,
            FieldType::IcmpType(Family::V4) => 14,
            FieldType::IcmpType(Family::V6) => 29,
            FieldType::InterfaceName => 41,
        };
        number << 6 | one
    })
}

/// The types of a concatenation; `None` for types that no plan contains.
pub(crate) fn key_types(mut number: u32) -> Option<Vec<FieldType>> {
    let mut types = Vec::new();
    while number > 0 {
        types.push(match number & 0x3f {
            7 => FieldType::Address(Family::V4),
            8 => FieldType::Address(Family::V6),
            12 => FieldType::Protocol,
            13 => FieldType::Port,
            14 => FieldType::IcmpType(Family::V4),
            29 => FieldType::IcmpType(Family::V6),
            41 => FieldType::InterfaceName,
            _ => return None,
        });
        number >>= 6;
    }
    types.reverse();
    Some(types)
}

pub(crate) fn key_length(types: &[FieldType]) -> u32 {
    let length: usize = types.iter().map(|field| field.width().next_multiple_of(4)).sum();
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(crate) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// Offset of an address in its header, source first.
pub(crate) fn address_offsets(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    }
}

fn expressions(e: &mut Expressions<'_, '_>, line: &Line, slot: Option<Slot>) {
    for condition in &line.conditions {
        e.condition(condition, slot);
    }
    if line.counted {
        e.counter();
    }
    match &line.effect {
        None => {}
        Some(Effect::Log { prefix, per_second, burst }) => e.log(prefix, *per_second, *burst),
        Some(Effect::Record { set, key }) => e.record(set, key),
        Some(Effect::Live { counter, group, prefix, per_second, burst }) => {
            e.named_counter(counter);
            e.limit(*per_second, *burst);
            e.log_to(*group, prefix);
        }
    }
    match &line.next {
        None => {}
        Some(Next::Accept) => e.verdict(verdict::ACCEPT, None),
        Some(Next::Drop) => e.verdict(verdict::DROP, None),
        Some(Next::Return) => e.verdict(verdict::RETURN, None),
        Some(Next::Jump(to)) => e.verdict(verdict::JUMP, Some(&kernel_name(to, slot))),
        Some(Next::Goto(to)) => e.verdict(verdict::GOTO, Some(&kernel_name(to, slot))),
    }
}

/// Writes the expressions of one rule.
pub(crate) struct Expressions<'a, 'b>(pub &'a mut Writer<'b>);

impl Expressions<'_, '_> {
    fn one(&mut self, name: &str, data: impl FnOnce(&mut Writer<'_>)) {
        self.0.nested(LIST_ELEMENT, |w| expression(w, name, data));
    }

    fn condition(&mut self, condition: &Condition, slot: Option<Slot>) {
        match condition {
            Condition::Family(family) => {
                self.meta(meta::FAMILY, REGISTER_1);
                self.equal(&[protocol_family(*family)]);
            }
            Condition::Protocol(number) => {
                self.meta(meta::PROTOCOL, REGISTER_1);
                self.equal(&[*number]);
            }
            Condition::InputLoopback => {
                self.meta(meta::INPUT_INDEX, REGISTER_1);
                self.equal(&LOOPBACK_INDEX.to_ne_bytes());
            }
            Condition::OutputLoopback => {
                self.meta(meta::OUTPUT_INDEX, REGISTER_1);
                self.equal(&LOOPBACK_INDEX.to_ne_bytes());
            }
            Condition::Within { field, first, last } => {
                self.load(*field, REGISTER_1);
                let length = field.type_of().width();
                let (first, last) = (first.to_be_bytes(), last.to_be_bytes());
                let (first, last) = (&first[16 - length..], &last[16 - length..]);
                if first == last {
                    self.equal(first);
                } else {
                    self.compare(cmp::AT_LEAST, first);
                    self.compare(cmp::AT_MOST, last);
                }
            }
            Condition::InSet { key, set } => {
                self.load_key(key);
                self.look_up(&kernel_name(set, slot));
            }
            Condition::Reply => {
                self.ct(ct::DIRECTION);
                self.equal(&[1]);
            }
            Condition::State(state) => {
                self.ct(ct::STATE);
                let bit = match state {
                    State::New => ct::NEW,
                    State::Established => ct::ESTABLISHED,
                    State::Invalid => ct::INVALID,
                    State::Untracked => ct::UNTRACKED,
                };
                self.mask(&bit.to_ne_bytes());
                self.compare(cmp::NOT_EQUAL, &[0; 4]);
            }
            Condition::Translated => {
                self.ct(ct::STATUS);
                self.mask(&ct::TRANSLATED.to_ne_bytes());
                self.compare(cmp::NOT_EQUAL, &[0; 4]);
            }
            Condition::Opens => {
                self.payload(TRANSPORT_HEADER, TCP_FLAGS, 1, REGISTER_1);
                self.mask(&[SYN_ACK]);
                self.equal(&[SYN]);
            }
            Condition::Owner(Owner::Uid(uid)) => {
                self.meta(meta::SOCKET_UID, REGISTER_1);
                self.equal(&uid.to_ne_bytes());
            }
            Condition::Owner(Owner::Cgroup(path)) => {
                let level = u32::try_from(cgroups::level(path)).unwrap_or(u32::MAX);
                self.cgroup(level, cgroups::id(path));
            }
            // No plan has it, as with `Foreign` below.
            Condition::Owner(Owner::Windows { .. }) => self.one("windows", |_| {}),
            Condition::HasOwner => {
                self.meta(meta::SOCKET_UID, REGISTER_1);
                self.compare(cmp::AT_LEAST, &[0; 4]);
            }
            Condition::LocalDestination => self.local_destination(),
            Condition::OnProbation => {
                self.meta(meta::FAMILY, REGISTER_1);
                self.look_up(PROBATION);
            }
            // No plan contains it; the kernel refuses the batch, which is better than omitting it.
            Condition::Foreign(name) => self.one(name, |_| {}),
        }
    }

    fn load_key(&mut self, key: &[Field]) {
        let mut register = REGISTER32_0;
        for field in key {
            self.load(*field, register);
            register += u32::try_from(field.type_of().width().div_ceil(4)).unwrap_or(1);
        }
    }

    fn load(&mut self, field: Field, register: u32) {
        match field {
            Field::Source(Family::V4) => self.payload(NETWORK_HEADER, 12, 4, register),
            Field::Destination(Family::V4) => self.payload(NETWORK_HEADER, 16, 4, register),
            Field::Source(Family::V6) => self.payload(NETWORK_HEADER, 8, 16, register),
            Field::Destination(Family::V6) => self.payload(NETWORK_HEADER, 24, 16, register),
            Field::Protocol => self.meta(meta::PROTOCOL, register),
            Field::SourcePort => self.payload(TRANSPORT_HEADER, 0, 2, register),
            Field::DestinationPort => self.payload(TRANSPORT_HEADER, 2, 2, register),
            Field::IcmpType(_) | Field::IcmpTypeAsPort => {
                self.payload(TRANSPORT_HEADER, 0, 1, register)
            }
            Field::OriginalSource(Family::V4) => self.original(ct::SOURCE_V4, register),
            Field::OriginalSource(Family::V6) => self.original(ct::SOURCE_V6, register),
            Field::OriginalDestination(Family::V4) => self.original(ct::DESTINATION_V4, register),
            Field::OriginalDestination(Family::V6) => self.original(ct::DESTINATION_V6, register),
            Field::OriginalPort => self.original(ct::PORT_DESTINATION, register),
            Field::InputName => self.meta(meta::INPUT_NAME, register),
            Field::OutputName => self.meta(meta::OUTPUT_NAME, register),
            Field::NoPort => self.one("immediate", |w| {
                w.be32(expr::IMMEDIATE_REGISTER, register);
                w.nested(expr::IMMEDIATE_DATA, |w| w.bytes(DATA_VALUE, &[0; 2]));
            }),
        }
    }

    /// A value that connection tracking stores about the flow's first packet.
    pub(crate) fn original(&mut self, key: u32, register: u32) {
        self.one("ct", |w| {
            w.be32(expr::CT_REGISTER, register);
            w.be32(expr::CT_KEY, key);
            w.bytes(expr::CT_DIRECTION, &[ct::ORIGINAL]);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) {
        self.one("payload", |w| {
            w.be32(expr::PAYLOAD_REGISTER, register);
            w.be32(expr::PAYLOAD_BASE, base);
            w.be32(expr::PAYLOAD_OFFSET, offset);
            w.be32(expr::PAYLOAD_LENGTH, length);
        });
    }

    fn meta(&mut self, key: u32, register: u32) {
        self.one("meta", |w| {
            w.be32(expr::META_KEY, key);
            w.be32(expr::META_REGISTER, register);
        });
    }

    fn ct(&mut self, key: u32) {
        self.one("ct", |w| {
            w.be32(expr::CT_KEY, key);
            w.be32(expr::CT_REGISTER, REGISTER_1);
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        let length = u32::try_from(mask.len()).unwrap_or(4);
        self.one("bitwise", |w| {
            w.be32(expr::BITWISE_SOURCE, REGISTER_1);
            w.be32(expr::BITWISE_REGISTER, REGISTER_1);
            w.be32(expr::BITWISE_LENGTH, length);
            w.nested(expr::BITWISE_MASK, |w| w.bytes(DATA_VALUE, mask));
            w.nested(expr::BITWISE_XOR, |w| w.bytes(DATA_VALUE, &[0; 4][..mask.len()]));
        });
    }

    fn equal(&mut self, value: &[u8]) {
        self.compare(cmp::EQUAL, value);
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.one("cmp", |w| {
            w.be32(expr::CMP_REGISTER, REGISTER_1);
            w.be32(expr::CMP_OPERATION, operation);
            w.nested(expr::CMP_DATA, |w| w.bytes(DATA_VALUE, value));
        });
    }

    fn look_up(&mut self, set: &str) {
        self.one("lookup", |w| {
            w.text(expr::LOOKUP_SET, set);
            w.be32(expr::LOOKUP_REGISTER, REGISTER_1);
        });
    }

    fn counter(&mut self) {
        self.one("counter", |_| {});
    }

    fn log(&mut self, prefix: &str, per_second: u64, burst: u32) {
        self.limit(per_second, burst);
        self.one("log", |w| w.text(expr::LOG_PREFIX, prefix));
    }

    fn limit(&mut self, per_second: u64, burst: u32) {
        self.one("limit", |w| {
            w.be64(expr::LIMIT_RATE, per_second);
            w.be64(expr::LIMIT_UNIT, 1);
            w.be32(expr::LIMIT_BURST, burst);
        });
    }

    pub(crate) fn log_to(&mut self, group: LiveGroup, prefix: &str) {
        self.one("log", |w| {
            w.bytes(expr::LOG_GROUP, &group.number().to_be_bytes());
            w.text(expr::LOG_PREFIX, prefix);
        });
    }

    pub(crate) fn named_counter(&mut self, name: &str) {
        self.one("objref", |w| {
            w.be32(expr::OBJECT_TYPE, object::COUNTER);
            w.text(expr::OBJECT_NAME, name);
        });
    }

    pub(crate) fn record(&mut self, set: &str, key: &[Field]) {
        self.load_key(key);
        self.one("dynset", |w| {
            w.text(expr::DYNSET_SET, set);
            w.be32(expr::DYNSET_OPERATION, DYNSET_UPDATE);
            w.be32(expr::DYNSET_REGISTER, REGISTER_1);
            w.nested(expr::DYNSET_EXPRESSION, |w| expression(w, "counter", |_| {}));
        });
    }

    pub(crate) fn cgroup(&mut self, level: u32, id: u64) {
        self.one("socket", |w| {
            w.be32(expr::SOCKET_KEY, SOCKET_CGROUP);
            w.be32(expr::SOCKET_REGISTER, REGISTER_1);
            w.be32(expr::SOCKET_LEVEL, level);
        });
        self.equal(&id.to_ne_bytes());
    }

    pub(crate) fn local_destination(&mut self) {
        self.one("fib", |w| {
            w.be32(expr::FIB_REGISTER, REGISTER_1);
            w.be32(expr::FIB_RESULT, fib::ADDRESS_TYPE);
            w.be32(expr::FIB_FLAGS, fib::OF_DESTINATION);
        });
        self.equal(&fib::LOCAL.to_ne_bytes());
    }

    fn verdict(&mut self, code: i32, to: Option<&str>) {
        self.one("immediate", |w| {
            w.be32(expr::IMMEDIATE_REGISTER, 0);
            w.nested(expr::IMMEDIATE_DATA, |w| {
                w.nested(DATA_VERDICT, |w| {
                    w.bytes(VERDICT_CODE, &code.to_be_bytes());
                    if let Some(to) = to {
                        w.text(VERDICT_CHAIN, to);
                    }
                });
            });
        });
    }
}

fn expression(w: &mut Writer<'_>, name: &str, data: impl FnOnce(&mut Writer<'_>)) {
    w.text(EXPRESSION_NAME, name);
    w.nested(EXPRESSION_DATA, data);
}
