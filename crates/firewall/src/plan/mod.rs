//! Translates a bound ruleset into the content of the kernel's table. Pure; the same on every OS.
//!
//! A packet enters at [`ENTRY_IN`] or [`ENTRY_OUT`]. Conntrack determines whether it belongs to the opener or
//! is an answer; accordingly, one of four chains judges it:
//!
//! | chain | packets of | peer | service |
//! |---|---|---|---|
//! | `in_orig` | inbound flows, from the peer | source | destination port |
//! | `out_reply` | inbound flows, our answers | destination | source port |
//! | `out_orig` | outbound flows, from us | destination | destination port |
//! | `in_reply` | outbound flows, the peer's answers | source | source port |
//!
//! There is no shortcut for established flows: every packet is judged by its flow's opener, so a stricter
//! policy ends exactly the flows that it denies, in both directions, with the transaction that applies it.
//! Each chain checks in the order of [`xshield_policy::decide()`]: failsafe, blocks, allows, level; if a
//! stricter stance is tested above the enforced one, packets of the opener are then judged by the tested
//! stance (`judge`).
//!
//! A SYN without ACK is always judged as its sender's attempt to open a flow, also if conntrack takes it for
//! an answer (simultaneous open). Conntrack is informed of TCP connections that it does not know
//! (`crate::conntrack`). It learns of other flows by their next packet; if that comes from the side that did
//! not open the flow, it is judged as if that side had; if that is denied, the packet is dropped and
//! conntrack keeps no entry, and the opener's next packet is judged correctly.
//!
//! Rules are elements of sets, looked up as `host` (address, protocol, port), `port` (ranges of the same),
//! `net` (address, protocol) and `icmp` (address, type), so a packet's cost hardly depends on their number.
//! If there are many ranges, chains select the one set with the ranges near the packet, and services that are
//! open to all are looked up separately, as `service` (protocol, port) and `open` (ranges of it). If several
//! rules match, the kernel names the first rule of the first matching set; the verdict is the same.
//!
//! How a plan is built, from left to right; each word is a type or a file:
//!
//! ```text
//! Bound ─┬─ failsafe ─────┐          ┌─ Lookup: sets that a line looks a packet up in ────────┐
//!        ├─ blocks  ──────┼─ Entry ──┤     `RuleBox` address range × port range, made disjoint │
//!        ├─ allows  ──────┘ (shapes) │     (boxes); too many of them: a Tree of chains (tree)  ├─ Line ─ Chain ─ Plan
//!        │                           └─ LineRule: a rule with a line of its own, because it    │
//!        │                              names a program or its sets would be too large         │
//!        └─ level, mode ── Stage: the enforced stance, and the tested one after it (judge) ────┘
//!
//! View      which packets a chain judges: direction, opener or answer, this host's or forwarded
//! Group     the rules of a stance that do the same, and its Verb: failsafe, block or allow
//! Builder   the plan as it grows; `lookup`, `line_rules`, `judge`, `fixed`, `unplaced`, `forward` add to it
//! Recorder  the sets that count flows; `live` hands packets to a log group besides
//! ```

mod boxes;
mod build;
mod builder;
pub mod eval;
mod fixed;
mod forward;
mod group;
mod judge;
mod line_rules;
mod live;
mod live_group;
mod lookup;
mod model;

mod recorder;
mod sets;
mod shapes;
mod stage;
mod text;
mod tree;
mod unplaced;

pub use build::{plan, plan_with};
pub use live::LIVE_COUNTER;
#[cfg(target_os = "linux")]
pub(crate) use live::live_line;
pub use live_group::{LiveGroup, LiveGroupError};
pub use model::{
    Chain, Condition, Digest, ENTRY_FORWARD, ENTRY_IN, ENTRY_OUT, Effect, Element, Family, Field,
    FieldType, FlowSet, Key, Label, Line, Next, Plan, Recorder, Set, Shape, State, TABLE,
    is_shared,
};
pub use recorder::RecorderLimits;
pub(crate) use recorder::records_forwarded;
#[cfg(target_os = "linux")]
pub(crate) use recorder::{
    LOST, Seen, flow_set, lost_line, record_chain, record_lines, recorder_set, way,
};
pub use text::{Naming, write_chain, write_line, write_set};
pub(crate) use text::{Value, write_condition};
#[cfg(target_os = "linux")]
pub(crate) use text::{address, cgroup_level};
