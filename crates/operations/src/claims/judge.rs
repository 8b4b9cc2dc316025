//! The rules for accepting claims of hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use xshield_model::Timestamp;
use xshield_model::claim::{Claim, ClaimStanding, Fact, Holder, Reason};
use xshield_policy::AssetId;
use xshield_policy::document::Policy;
use xshield_policy::inventory::Asset;

use super::places::Places;
use super::said::Said;

/// The maximum number of pending address claims; further ones are not accepted either, and only counted.
pub const MOST_WAIT: usize = 100;

/// What a host's claims are compared with.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The committed and the candidate policy.
    pub policies: Vec<Arc<Policy>>,
    /// Networks in which a host's claims about its addresses are accepted.
    pub networks: Vec<IpNet>,
    /// Addresses at which hosts reach the platform.
    pub platform: Vec<IpAddr>,
    /// Single addresses that the settings name as management sources.
    pub management: Vec<IpAddr>,
    /// The remote address of the connection of the check-in.
    pub from: Option<IpAddr>,
    /// The other assets that hold addresses which the host claims.
    pub holders: BTreeMap<IpAddr, Holder>,
    /// The other asset whose name the host claims.
    pub namesake: Option<AssetId>,
    /// Whether this is the asset's first check-in: there are no accepted claims yet that it could abandon.
    pub registers: bool,
}

/// The result for a host's claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What is accepted from now on.
    pub held: Asset,
    /// Addresses withdrawn from other assets.
    pub taken: Vec<(IpAddr, AssetId)>,
    /// What is pending from now on, and earlier decisions of operators.
    pub claims: Vec<Claim>,
    /// The number of addresses that are not accepted and exceed the limit of pending ones.
    pub more_wait: usize,
}

/// Decides on a host's claims. `known`: the claims so far.
#[must_use]
pub fn judge(held: &Asset, said: &Said, known: &[Claim], world: &World, now: Timestamp) -> Judged {
    let decided = known.iter().filter(|claim| claim.standing != ClaimStanding::Waiting);
    let judged = Judged {
        held: held.clone(),
        taken: Vec::new(),
        claims: decided.cloned().collect(),
        more_wait: 0,
    };
    let known = known.iter().map(|claim| (&claim.fact, claim)).collect();
    let mut evaluation = ClaimEvaluation { judged, said, known, world, now, waiting: 0 };
    evaluation.name();
    evaluation.system();
    evaluation.program();
    evaluation.new_addresses();
    evaluation.old_addresses();
    evaluation.judged.held.addresses.sort_unstable();
    evaluation.judged
}

/// Why an address is accepted or not.
enum Address {
    Held(Evidence),
    Taken(AssetId),
    Waits(Reason, Option<AssetId>),
}

/// The evidence for an address besides the host's claim.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The check-in came from it, or an operator has accepted it.
    Shown,
    /// Nothing.
    Word,
}

struct ClaimEvaluation<'a> {
    judged: Judged,
    said: &'a Said,
    known: BTreeMap<&'a Fact, &'a Claim>,
    world: &'a World,
    now: Timestamp,
    /// The number of pending address claims so far.
    waiting: usize,
}

impl<'a> ClaimEvaluation<'a> {
    /// A host never changes a name.
    fn name(&mut self) {
        let name = &self.said.name;
        if *name == self.judged.held.name {
            return;
        }
        let (reason, other) = match &self.world.namesake {
            Some(other) => (Reason::NameTaken, Some(other.clone())),
            None if self.world.policies.iter().any(|policy| policy.names_asset(name)) => {
                (Reason::NameInPolicy, None)
            }
            None => (Reason::Renamed, None),
        };
        self.wait(Fact::Name(name.clone()), reason, other);
    }

    fn system(&mut self) {
        if self.said.os != self.judged.held.os {
            let changed = Asset { os: self.said.os.clone(), ..self.judged.held.clone() };
            self.follow(changed, Fact::Os(self.said.os.clone()));
        }
    }

    fn program(&mut self) {
        if self.said.source != self.judged.held.source {
            let changed = Asset { source: self.said.source, ..self.judged.held.clone() };
            self.follow(changed, Fact::Source(self.said.source));
        }
    }

    /// Accepts what changes no segment, unless an operator has rejected it.
    fn follow(&mut self, changed: Asset, fact: Fact) {
        match self.decision(&fact) {
            Some(ClaimStanding::Refused) => {}
            Some(ClaimStanding::Accepted) => self.judged.held = changed,
            _ if self.moves(&changed) => self.wait(fact, Reason::Segments, None),
            _ => self.judged.held = changed,
        }
    }

    /// What the host's addresses, possibly thousands, mean for segments.
    fn places(&self) -> Places<'a> {
        let segments = self.world.policies.iter().flat_map(|policy| policy.segments());
        Places::new(segments.map(|segment| &segment.criteria).collect(), &self.judged.held)
    }

    fn new_addresses(&mut self) {
        let mut places = self.places();
        let held: BTreeSet<IpAddr> = self.judged.held.addresses.iter().copied().collect();
        for &address in &self.said.addresses {
            if held.contains(&address) {
                continue;
            }
            let fact = Fact::Address(address);
            let decision = self.decision(&fact);
            if decision == Some(ClaimStanding::Refused) {
                continue;
            }
            match self.address(address, decision) {
                Address::Waits(reason, other) => self.wait(fact, reason, other),
                Address::Taken(other) => {
                    self.judged.taken.push((address, other));
                    self.judged.held.addresses.push(address);
                    places.add(address);
                }
                Address::Held(Evidence::Word) if self.may_leave() && places.would_add(address) => {
                    self.wait(fact, Reason::Segments, None);
                }
                Address::Held(_) => {
                    self.judged.held.addresses.push(address);
                    places.add(address);
                }
            }
        }
    }

    fn address(&self, address: IpAddr, decision: Option<ClaimStanding>) -> Address {
        let is_here = self.world.from == Some(address);
        let evidence = match decision {
            Some(ClaimStanding::Accepted) => Evidence::Shown,
            _ if is_here => Evidence::Shown,
            _ => Evidence::Word,
        };
        if let Some(holder) = self.world.holders.get(&address).filter(|holder| !holder.is_out) {
            let gives_way = !holder.says_so || !holder.is_sure || holder.is_silent;
            let other = holder.asset.clone();
            return match is_here && gives_way {
                true => Address::Taken(other),
                false if is_here || holder.is_sure => {
                    Address::Waits(Reason::OtherAsset, Some(other))
                }
                false => Address::Waits(Reason::Shared, Some(other)),
            };
        }
        if decision == Some(ClaimStanding::Accepted) {
            return Address::Held(evidence);
        }
        if self.world.platform.contains(&address) {
            return Address::Waits(Reason::Platform, None);
        }
        if self.world.management.contains(&address) {
            return Address::Waits(Reason::Management, None);
        }
        let is_inside = self.world.networks.iter().any(|net| net.contains(&address));
        if is_inside || is_here || self.is_beside(address) {
            Address::Held(evidence)
        } else {
            Address::Waits(Reason::Outside, None)
        }
    }

    /// Whether an IPv6 address is in the /64 of the check-in: a host changes the rest of it on its own (RFC
    /// 8981).
    fn is_beside(&self, address: IpAddr) -> bool {
        match (self.world.from, address) {
            (Some(IpAddr::V6(from)), IpAddr::V6(address)) => {
                from.segments()[..4] == address.segments()[..4]
            }
            _ => false,
        }
    }

    /// Addresses that the host no longer reports. The one that the check-in came from is still its own; one
    /// that keeps the asset in a segment stays until an operator decides.
    fn old_addresses(&mut self) {
        let mut places = self.places();
        let said: BTreeSet<IpAddr> = self.said.addresses.iter().copied().collect();
        let mut stay = Vec::new();
        for address in std::mem::take(&mut self.judged.held.addresses) {
            let fact = Fact::Gone(address);
            let goes = !said.contains(&address)
                && self.world.from != Some(address)
                && match self.decision(&fact) {
                    Some(ClaimStanding::Refused) => false,
                    Some(ClaimStanding::Accepted) => true,
                    _ if self.may_leave() && places.would_remove(address) => {
                        self.wait(fact, Reason::Segments, None);
                        false
                    }
                    _ => true,
                };
            if goes {
                places.remove(address);
            } else {
                stay.push(address);
            }
        }
        self.judged.held.addresses = stay;
    }

    /// Whether there is a segment that the asset could leave or enter by a claim of its host.
    fn may_leave(&self) -> bool {
        !self.world.registers
    }

    /// Whether this change moves an asset to other segments.
    fn moves(&self, changed: &Asset) -> bool {
        let segments = self.world.policies.iter().flat_map(|policy| policy.segments());
        self.may_leave()
            && segments
                .map(|segment| &segment.criteria)
                .any(|criteria| criteria.matches(&self.judged.held) != criteria.matches(changed))
    }

    fn decision(&self, fact: &Fact) -> Option<ClaimStanding> {
        let known = self.known.get(fact)?;
        Some(known.standing).filter(|standing| *standing != ClaimStanding::Waiting)
    }

    /// Makes a claim pending, keeping the time since when it is.
    fn wait(&mut self, fact: Fact, reason: Reason, other: Option<AssetId>) {
        let known = self.known.get(&fact);
        // An operator's decision is kept above.
        if known.is_some_and(|claim| claim.standing != ClaimStanding::Waiting) {
            return;
        }
        if matches!(fact, Fact::Address(_) | Fact::Gone(_)) {
            if self.waiting == MOST_WAIT {
                self.judged.more_wait += 1;
                return;
            }
            self.waiting += 1;
        }
        let since = known.map_or(self.now, |claim| claim.since);
        let standing = ClaimStanding::Waiting;
        self.judged.claims.push(Claim { fact, standing, reason, other, since });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xshield_policy::inventory::Source;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    fn asset(held: &str) -> Asset {
        Asset {
            id: "as-1".parse().unwrap(),
            name: "h".parse().unwrap(),
            tags: BTreeMap::new(),
            addresses: addresses(held),
            os: String::new(),
            source: Source::Spark,
        }
    }

    fn said(text: &str) -> Said {
        let (os, source) = (String::new(), Source::Spark);
        Said { name: "h".parse().unwrap(), os, source, addresses: addresses(text) }
    }

    /// The ones of `sure`, `says` and `silent` that are named.
    fn holder(text: &str) -> Holder {
        Holder {
            asset: "as-2".parse().unwrap(),
            is_sure: text.contains("sure"),
            says_so: text.contains("says"),
            is_silent: text.contains("silent"),
            is_out: text.contains("out"),
        }
    }

    fn world(from: &str) -> World {
        World {
            networks: ["10.0.0.0/8", "fc00::/7"].map(|net| net.parse().unwrap()).into(),
            platform: addresses("10.0.0.9 2001:db8::9"),
            management: addresses("10.0.0.8"),
            from: from.parse().ok(),
            ..World::default()
        }
    }

    fn reasons(judged: &Judged) -> Vec<Reason> {
        judged.claims.iter().map(|claim| claim.reason).collect()
    }

    #[test]
    fn addresses_are_judged_by_network_and_source_of_the_check_in() {
        for (from, claimed, held, waits) in [
            ("", "10.1.1.1 fd00::1", "10.1.1.1 fd00::1", &[][..]),
            ("", "8.8.8.8", "", &[Reason::Outside]),
            ("8.8.8.8", "8.8.8.8", "8.8.8.8", &[]),
            ("8.8.4.4", "8.8.8.8", "", &[Reason::Outside]),
            ("2001:db8::5", "2001:db8::abcd", "2001:db8::abcd", &[]),
            ("2001:db8:0:1::5", "2001:db8::abcd", "", &[Reason::Outside]),
            ("10.0.0.9", "10.0.0.9", "", &[Reason::Platform]),
            ("10.0.0.8", "10.0.0.8", "", &[Reason::Management]),
            ("2001:db8::5", "2001:db8::9", "", &[Reason::Platform]),
        ] {
            let judged = judge(&asset(""), &said(claimed), &[], &world(from), NOW);
            assert_eq!(judged.held.addresses, addresses(held), "{claimed} from {from:?}");
            assert_eq!(reasons(&judged), waits, "{claimed} from {from:?}");
        }
    }

    #[test]
    fn an_address_claimed_by_two_hosts_has_one_owner() {
        let (taken, other, shared) = (None, Some(Reason::OtherAsset), Some(Reason::Shared));
        for (from, holds, waits) in [
            ("10.1.1.1", "sure says", other),
            ("10.1.1.1", "sure says silent", taken),
            ("10.1.1.1", "sure", taken),
            ("10.1.1.1", "says", taken),
            ("", "sure says", other),
            ("", "sure says silent", other),
            ("", "says", shared),
            ("10.2.2.2", "sure says silent", other),
        ] {
            let address: IpAddr = "10.1.1.1".parse().unwrap();
            let mut world = world(from);
            world.holders.insert(address, holder(holds));
            let judged = judge(&asset(""), &said("10.1.1.1"), &[], &world, NOW);
            assert_eq!(reasons(&judged).first(), waits.as_ref(), "{holds} from {from:?}");
            assert_eq!(judged.taken.len(), usize::from(waits.is_none()), "{holds}");
            assert_eq!(judged.held.addresses.len(), usize::from(waits.is_none()), "{holds}");
        }
        let mut world = world("");
        world.holders.insert("10.1.1.1".parse().unwrap(), holder("sure says out"));
        let judged = judge(&asset(""), &said("10.1.1.1"), &[], &world, NOW);
        assert_eq!(judged.held.addresses.len(), 1, "what is out of service keeps nothing");
    }

    #[test]
    fn the_source_address_of_a_check_in_is_kept() {
        let judged = judge(&asset("10.1.1.1"), &said("10.1.1.2"), &[], &world("10.1.1.1"), NOW);
        assert_eq!(judged.held.addresses, addresses("10.1.1.1 10.1.1.2"));
    }

    #[test]
    fn decisions_of_operators_are_kept() {
        let claim = |fact, standing| {
            let (reason, other) = (Reason::Outside, None);
            Claim { fact, standing, reason, other, since: Timestamp(1) }
        };
        let known = [
            claim(Fact::Address("8.8.8.8".parse().unwrap()), ClaimStanding::Accepted),
            claim(Fact::Address("10.1.1.1".parse().unwrap()), ClaimStanding::Refused),
            claim(Fact::Address("8.8.4.4".parse().unwrap()), ClaimStanding::Waiting),
            claim(Fact::Address("9.9.9.9".parse().unwrap()), ClaimStanding::Waiting),
        ];
        let word = said("8.8.8.8 10.1.1.1 8.8.4.4");
        let judged = judge(&asset(""), &word, &known, &world(""), NOW);
        assert_eq!(judged.held.addresses, addresses("8.8.8.8"));
        assert_eq!(judged.claims, known[..3], "what is no longer said does not wait");
        let again = judge(&judged.held, &word, &judged.claims, &world(""), NOW.plus(60));
        assert_eq!(again, judged, "twice is once");
    }
}
