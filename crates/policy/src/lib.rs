//! The policy that operators write about their hosts, and what one host must enforce because of it.
//!
//! The crate is pure: no IO, no clock, no randomness. Read it in this order:
//!
//! 1. [`document`]: the YAML an operator writes (segments, named networks, templates, …), parsed and checked
//!    into a [`document::Policy`];
//! 2. [`inventory`]: the assets that exist, with their tags and addresses;
//! 3. [`compile()`]: policy + inventory → one [`Ruleset`] per asset, which is signed; and, of two policies,
//!    the impact on assets of replacing one by the other: [`Impact`];
//! 4. [`Ruleset::bind`]: resolves what only the host knows ([`Facts`]: DNS answers, listening ports, owners
//!    of processes) to addresses and ports: a [`Bound`] ruleset, which is enforced;
//! 5. [`decide()`]: the decision of a bound ruleset about one packet. The kernel must decide the same for
//!    every packet.

pub mod bind;
pub mod compile;
pub mod criteria;
pub mod decide;
pub mod document;
pub mod duration;
pub mod facts;
pub mod forward;
pub mod grace;
pub mod impact;
pub mod inventory;
pub mod level;
pub mod names;
pub mod packet;
pub mod peer;
pub mod program;
pub mod protection;
pub mod protocol;
pub mod range;
mod reach;
pub mod ruleset;
pub mod service;

pub use bind::{
    Bound, BoundDirection, BoundFailsafe, BoundRule, BoundStance, Owner, Unenforceable,
};
pub use compile::{CompileError, Compiler, compile};
pub use decide::{Decision, Reason, Verdict, decide, decide_unplaced};
pub use facts::{Facts, TimeServers};
pub use forward::{
    BoundForwarded, Forwarded, ForwardedPacket, ForwardedRules, ForwardedStance, InterfaceName,
    Interfaces, Passage, decide_forwarded,
};
pub use grace::{Grace, Span};
pub use impact::Impact;
pub use level::{Direction, InboundLevel, Mode, OutboundLevel, Subject};
pub use names::{AssetId, DomainName, Revision, RuleId, UnitName, UserName};
pub use packet::Packet;
pub use program::{LocalProgram, ProcessMatch, ProgramError};
pub use protection::{Closed, Level};
pub use protocol::IpProtocol;
pub use range::{AddressMatch, AddressRange, RangeSet};
pub use ruleset::{DirectionRules, Failsafe, Peer, Peers, Rule, Ruleset, StanceRules};
pub use service::{IcmpType, PortNumber, PortRange, Ports, Protocol, Service, Services};
