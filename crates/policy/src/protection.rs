//! The protection of one asset by a policy: levels, what is enforced in each direction, and management
//! access. Two policies are compared by it.

use std::fmt;

use serde::Serialize;

use crate::forward::Forwarded;
use crate::level::{Direction, InboundLevel, OutboundLevel, Subject};
use crate::reach::{Intranet, Reach};
use crate::ruleset::{Failsafe, Peer, Peers, StanceRules};
use crate::service::{PortRange, Ports, Service};

/// TCP ports for managing hosts: SSH, RDP, WinRM.
pub const MANAGEMENT_PORTS: [u16; 4] = [22, 3389, 5985, 5986];

/// A level of either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Level {
    /// Of inbound flows.
    Inbound(InboundLevel),
    /// Of outbound flows.
    Outbound(OutboundLevel),
}

impl Level {
    fn subject(self) -> Subject {
        match self {
            Self::Inbound(level) => level.subject(),
            Self::Outbound(level) => level.subject(),
        }
    }

    pub(crate) fn is_open(self) -> bool {
        self.subject() == Subject::Nothing
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbound(level) => level.fmt(f),
            Self::Outbound(level) => level.fmt(f),
        }
    }
}

/// How far one direction of an asset is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Closed {
    /// The level in mode `enforce`.
    pub enforced: Level,
    /// The level that would be enforced if everything in mode `test` were enforced.
    pub tested: Level,
}

/// For operators: `secure-all-ports (enforce)`.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enforced, tested } = self;
        match (enforced.is_open(), enforced == tested) {
            (true, true) => write!(f, "{enforced}"),
            (true, false) => write!(f, "{tested} (test)"),
            (false, true) => write!(f, "{enforced} (enforce)"),
            (false, false) => write!(f, "{enforced} (enforce), {tested} (test)"),
        }
    }
}

/// The policy for the flows of one direction of an asset.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) closed: Closed,
    /// Only what is enforced.
    pub(crate) rules: StanceRules,
    pub(crate) forwarded: Forwarded,
}

/// The policy for an asset, from which an impact is computed.
#[derive(Debug)]
pub(crate) struct Protection {
    pub(crate) inbound: Guarded,
    pub(crate) outbound: Guarded,
    pub(crate) is_in_a_segment: bool,
    pub(crate) failsafe: Failsafe,
    pub(crate) intranet: Intranet,
}

impl Protection {
    pub(crate) fn direction(&self, direction: Direction) -> &Guarded {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// What passes without an allow rule.
    pub(crate) fn open(&self, direction: Direction) -> Reach {
        let peers = match self.direction(direction).rules.subject {
            Subject::Nothing => Peers::Any,
            Subject::Internet => Peers::Listed(vec![Peer::Intranet]),
            Subject::Everything => Peers::Listed(Vec::new()),
        };
        Reach::everything_with(&peers, &self.intranet)
    }

    pub(crate) fn blocked(&self, direction: Direction) -> Reach {
        Reach::of(self.direction(direction).rules.blocks.iter(), &self.intranet)
    }

    pub(crate) fn allowed(&self, direction: Direction) -> Reach {
        let allowed = Reach::of(self.direction(direction).rules.allows.iter(), &self.intranet);
        match direction {
            Direction::Inbound => {
                allowed.and(&Reach::of_management(self.failsafe.management.iter()))
            }
            Direction::Outbound => allowed,
        }
    }

    /// Whether the asset can be reached in order to manage it: a management source is configured, or what is
    /// enforced admits someone to a management port.
    pub(crate) fn is_managed(&self) -> bool {
        if !Reach::of_management(self.failsafe.management.iter()).is_empty() {
            return true;
        }
        let passes = self.open(Direction::Inbound).and(&self.allowed(Direction::Inbound));
        let blocked = self.blocked(Direction::Inbound);
        MANAGEMENT_PORTS.iter().any(|&port| {
            let wanted = Service::Tcp(Ports::Range(PortRange::single(port)));
            let passes = passes.at(wanted);
            !passes.is_empty() && !passes.is_within(&blocked)
        })
    }
}
