//! Constants of the kernel's netlink interface, from `linux/netfilter/nf_tables.h` and `nfnetlink.h`.

pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const FAMILY_INET: u8 = 1;

pub(crate) mod message {
    pub(crate) const ERROR: u16 = 2;
    pub(crate) const DONE: u16 = 3;
    pub(crate) const BATCH_BEGIN: u16 = 16;
    pub(crate) const BATCH_END: u16 = 17;
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const GET_TABLE: u16 = 1;
    pub(crate) const DEL_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const GET_CHAIN: u16 = 4;
    pub(crate) const DEL_CHAIN: u16 = 5;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const GET_RULE: u16 = 7;
    pub(crate) const DEL_RULE: u16 = 8;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const GET_SET: u16 = 10;
    pub(crate) const DEL_SET: u16 = 11;
    pub(crate) const NEW_ELEMENT: u16 = 12;
    pub(crate) const GET_ELEMENT: u16 = 13;
    pub(crate) const DEL_ELEMENT: u16 = 14;
    pub(crate) const GET_GENERATION: u16 = 16;
    pub(crate) const NEW_OBJECT: u16 = 18;
    pub(crate) const GET_OBJECT: u16 = 19;
    pub(crate) const DEL_OBJECT: u16 = 20;
}

pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
    pub(crate) const CAPPED: u16 = 0x100;
    pub(crate) const ACK_TLVS: u16 = 0x200;
}

pub(crate) const BATCH_GENERATION: u16 = 1;
pub(crate) const GENERATION_ID: u16 = 1;
pub(crate) const LIST_ELEMENT: u16 = 1;
pub(crate) const EXPRESSION_NAME: u16 = 1;
pub(crate) const EXPRESSION_DATA: u16 = 2;
pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;
/// The attribute with the table of an object; of tables, their own name.
pub(crate) const OWNER: u16 = 1;
pub(crate) const TABLE_NAME: u16 = 1;
pub(crate) const TABLE_HANDLE: u16 = 4;

pub(crate) mod verdict {
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}

pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USER_DATA: u16 = 7;
}

pub(crate) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LENGTH: u16 = 5;
    pub(crate) const DESCRIPTION: u16 = 9;
    pub(crate) const ID: u16 = 10;
    pub(crate) const TIMEOUT: u16 = 11;
    pub(crate) const USER_DATA: u16 = 13;
    pub(crate) const EXPRESSION: u16 = 17;
    pub(crate) const EXPRESSIONS: u16 = 18;
    /// The number of elements; sent since Linux 6.16.
    pub(crate) const COUNT: u16 = 20;
    pub(crate) const DESCRIPTION_SIZE: u16 = 1;
    pub(crate) const DESCRIPTION_CONCAT: u16 = 2;
    pub(crate) const FIELD_LENGTH: u16 = 1;

    pub(crate) const INTERVAL: u32 = 0x4;
    pub(crate) const HAS_TIMEOUT: u32 = 0x10;
    pub(crate) const DYNAMIC: u32 = 0x20;
    pub(crate) const CONCAT: u32 = 0x80;
}

pub(crate) mod element {
    pub(crate) const LIST_TABLE: u16 = 1;
    pub(crate) const LIST_SET: u16 = 2;
    pub(crate) const LIST_ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const FLAGS: u16 = 3;
    /// The element is the first value after an interval.
    pub(crate) const INTERVAL_END: u32 = 1;
    pub(crate) const TIMEOUT: u16 = 4;
    pub(crate) const EXPIRATION: u16 = 5;
    pub(crate) const USER_DATA: u16 = 6;
    pub(crate) const EXPRESSION: u16 = 7;
    pub(crate) const KEY_END: u16 = 10;
    pub(crate) const EXPRESSIONS: u16 = 11;
}

/// Named objects; we only use counters.
pub(crate) mod object {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const TYPE: u16 = 3;
    pub(crate) const DATA: u16 = 4;
    pub(crate) const HANDLE: u16 = 6;

    pub(crate) const COUNTER: u32 = 1;
}

/// Attributes of expressions: most use the same numbers for source and destination registers.
pub(crate) mod expr {
    pub(crate) const META_REGISTER: u16 = 1;
    pub(crate) const META_KEY: u16 = 2;
    pub(crate) const PAYLOAD_REGISTER: u16 = 1;
    pub(crate) const PAYLOAD_BASE: u16 = 2;
    pub(crate) const PAYLOAD_OFFSET: u16 = 3;
    pub(crate) const PAYLOAD_LENGTH: u16 = 4;
    pub(crate) const CMP_REGISTER: u16 = 1;
    pub(crate) const CMP_OPERATION: u16 = 2;
    pub(crate) const CMP_DATA: u16 = 3;
    pub(crate) const LOOKUP_SET: u16 = 1;
    pub(crate) const LOOKUP_REGISTER: u16 = 2;
    pub(crate) const IMMEDIATE_REGISTER: u16 = 1;
    pub(crate) const IMMEDIATE_DATA: u16 = 2;
    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
    pub(crate) const LOG_GROUP: u16 = 1;
    pub(crate) const LOG_PREFIX: u16 = 2;
    pub(crate) const OBJECT_TYPE: u16 = 1;
    pub(crate) const OBJECT_NAME: u16 = 2;
    pub(crate) const LIMIT_RATE: u16 = 1;
    pub(crate) const LIMIT_UNIT: u16 = 2;
    pub(crate) const LIMIT_BURST: u16 = 3;
    pub(crate) const CT_REGISTER: u16 = 1;
    pub(crate) const CT_KEY: u16 = 2;
    pub(crate) const CT_DIRECTION: u16 = 3;
    pub(crate) const BITWISE_SOURCE: u16 = 1;
    pub(crate) const BITWISE_REGISTER: u16 = 2;
    pub(crate) const BITWISE_LENGTH: u16 = 3;
    pub(crate) const BITWISE_MASK: u16 = 4;
    pub(crate) const BITWISE_XOR: u16 = 5;
    pub(crate) const DYNSET_SET: u16 = 1;
    pub(crate) const DYNSET_OPERATION: u16 = 3;
    pub(crate) const DYNSET_REGISTER: u16 = 4;
    pub(crate) const DYNSET_EXPRESSION: u16 = 7;
    pub(crate) const DYNSET_EXPRESSIONS: u16 = 10;
    pub(crate) const SOCKET_KEY: u16 = 1;
    pub(crate) const SOCKET_REGISTER: u16 = 2;
    pub(crate) const SOCKET_LEVEL: u16 = 3;
    pub(crate) const FIB_REGISTER: u16 = 1;
    pub(crate) const FIB_RESULT: u16 = 2;
    pub(crate) const FIB_FLAGS: u16 = 3;
}

pub(crate) mod meta {
    pub(crate) const INPUT_INDEX: u32 = 4;
    pub(crate) const OUTPUT_INDEX: u32 = 5;
    pub(crate) const INPUT_NAME: u32 = 6;
    pub(crate) const OUTPUT_NAME: u32 = 7;
    pub(crate) const SOCKET_UID: u32 = 10;
    pub(crate) const FAMILY: u32 = 15;
    pub(crate) const PROTOCOL: u32 = 16;
}

pub(crate) mod ct {
    pub(crate) const STATE: u32 = 0;
    pub(crate) const DIRECTION: u32 = 1;
    pub(crate) const STATUS: u32 = 2;
    pub(crate) const PORT_DESTINATION: u32 = 12;
    pub(crate) const SOURCE_V4: u32 = 19;
    pub(crate) const DESTINATION_V4: u32 = 20;
    pub(crate) const SOURCE_V6: u32 = 21;
    pub(crate) const DESTINATION_V6: u32 = 22;
    /// `IP_CT_DIR_ORIGINAL`.
    pub(crate) const ORIGINAL: u8 = 0;
    /// `IPS_DST_NAT`, nf_conntrack_common.h.
    pub(crate) const TRANSLATED: u32 = 1 << 5;
    pub(crate) const INVALID: u32 = 1;
    pub(crate) const ESTABLISHED: u32 = 2;
    pub(crate) const NEW: u32 = 8;
    pub(crate) const UNTRACKED: u32 = 64;
}

/// `enum nft_fib_result`, `enum nft_fib_flags`, and of `linux/rtnetlink.h` a type of route.
pub(crate) mod fib {
    pub(crate) const ADDRESS_TYPE: u32 = 3;
    pub(crate) const OF_DESTINATION: u32 = 2;
    pub(crate) const LOCAL: u32 = 2;
}

pub(crate) mod cmp {
    pub(crate) const EQUAL: u32 = 0;
    pub(crate) const NOT_EQUAL: u32 = 1;
    pub(crate) const AT_MOST: u32 = 3;
    pub(crate) const AT_LEAST: u32 = 5;
}

pub(crate) const NETWORK_HEADER: u32 = 1;
pub(crate) const TRANSPORT_HEADER: u32 = 2;
pub(crate) const REGISTER_1: u32 = 1;
pub(crate) const REGISTER32_0: u32 = 8;
pub(crate) const DYNSET_UPDATE: u32 = 1;
pub(crate) const SOCKET_CGROUP: u32 = 3;
/// The interface index of the loopback, in every network namespace.
pub(crate) const LOOPBACK_INDEX: u32 = 1;
/// SYN and ACK among the TCP flags.
pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
/// Offset of the flags in the TCP header.
pub(crate) const TCP_FLAGS: u32 = 13;
