//! Reads the table, and checks whether it is what its comments say.

use std::net::IpAddr;

use ipnet::IpNet;
use ring::digest::{Context, SHA256};

use super::comments;
use super::elements::{asked, behind};
use super::guard::{Guard, LookupHook};
use super::names::TABLE;
use crate::error::FirewallError;
use crate::installed::Slot;
use crate::nft::constants::{DATA_VALUE, OWNER, element, flag, message as kind};
use crate::nft::decode::{ReadLine, ReadSet};
use crate::nft::lists::{is_missing, sets, table_handle};
use crate::nft::read::{chains, elements, rules};
use crate::nft::slot::{self, kernel_name};
use crate::nft::socket::Link;
use crate::nft::steady::{ConsistentRead, steady};
use crate::nft::wire::{Attributes, Writer};
use crate::plan::{Chain, is_shared};
use crate::programmed::Generation;
use crate::threat::error::ThreatError;
use crate::threat::list::InstalledList;
use crate::threat::list_set::{ListSet, SetContent};
use crate::threat::state::{Difference, ThreatState};

/// An unreferenced chain whose rules' comments describe what is in force.
pub(crate) const ABOUT: &str = "about";

/// The table without the list's elements, read consistently.
pub(crate) struct Survey {
    /// The generation to which changes are bound: the kernel refuses them at another one. `None`: not bound.
    pub generation: Option<Generation>,
    pub state: ThreatState,
    pub sets: Vec<ReadSet>,
    pub chains: Vec<String>,
}

impl Survey {
    pub(crate) fn read(link: &mut Link) -> Result<Self, FirewallError> {
        let action = "reading the threat list's table";
        let once = |link: &mut Link| Self::read_once(link, action);
        let ConsistentRead { read, generation, .. } =
            steady(link, action, Link::generation, once, Self::is_same)?;
        Ok(Self { generation, ..read })
    }

    /// Whether two surveys are equal. Packets add to the recorder's sets, so only the state derived from sets
    /// is compared.
    fn is_same(&self, other: &Self) -> bool {
        let names = |survey: &Self| -> Vec<String> {
            survey.sets.iter().map(|set| set.name.clone()).collect()
        };
        self.state == other.state && self.chains == other.chains && names(self) == names(other)
    }

    fn read_once(link: &mut Link, action: &'static str) -> Result<Self, FirewallError> {
        let generation = None;
        if table_handle(link, TABLE, action)? == 0 {
            let (sets, chains) = (Vec::new(), Vec::new());
            return Ok(Self { generation, state: ThreatState::Absent, sets, chains });
        }
        let sets = sets(link, TABLE, action)?;
        let chains = chains(link, TABLE, action)?;
        let lines = rules(link, TABLE, action)?;
        let state = match about(&lines) {
            None if !lines.iter().any(|read| is_gate(&read.chain)) => ThreatState::Absent,
            None => ThreatState::Broken { what: "its comments are not ours".to_owned() },
            Some(standing) => match incomplete(&sets, &standing) {
                Some(what) => ThreatState::Broken { what },
                None => {
                    let guard = guard(link, standing.slot, &sets, &chains, lines)?;
                    match guard.digest() == standing.guard {
                        true => ThreatState::InForce(standing),
                        false => ThreatState::Disturbed(standing),
                    }
                }
            },
        };
        Ok(Self { generation, state, sets, chains })
    }

    pub(crate) fn list_set(&self, set: ListSet, slot: Slot) -> Option<&ReadSet> {
        let name = kernel_name(&set.name(), Some(slot));
        self.sets.iter().find(|read| read.name == name)
    }
}

pub(crate) fn is_gate(chain: &str) -> bool {
    LookupHook::ALL.iter().any(|gate| gate.name() == chain)
}

fn about(lines: &[ReadLine]) -> Option<InstalledList> {
    let comments = lines.iter().filter(|read| read.chain == ABOUT);
    let comments: Vec<&str> = comments.filter_map(|read| read.line.label.as_deref()).collect();
    comments::parse(&comments)
}

/// What is missing in the sets of the list.
fn incomplete(sets: &[ReadSet], standing: &InstalledList) -> Option<String> {
    ListSet::ALL.into_iter().find_map(|set| {
        let name = kernel_name(&set.name(), Some(standing.slot));
        let Some(read) = sets.iter().find(|read| read.name == name) else {
            return Some(format!("set {name} is missing"));
        };
        let expected = standing.list.counts.of(set);
        match held(read, set) {
            Some(held) if held != expected => {
                Some(format!("set {name} holds {held} entries instead of {expected}"))
            }
            _ => None,
        }
    })
}

/// The number of entries of a set, if the kernel reports it.
pub(crate) fn held(read: &ReadSet, set: ListSet) -> Option<u32> {
    match set.holds {
        SetContent::Hosts => read.count,
        SetContent::Nets => None,
    }
}

/// Reads the guard from the kernel.
fn guard(
    link: &mut Link,
    slot: Slot,
    sets: &[ReadSet],
    chains: &[String],
    lines: Vec<ReadLine>,
) -> Result<Guard, FirewallError> {
    let action = "reading the failsafe of the threat list";
    let mut guard = Guard::default();
    for read in sets {
        let Some((of, plain)) = slot::split(&read.name) else { continue };
        if of != slot || ListSet::ALL.iter().any(|set| set.name() == plain) {
            continue;
        }
        let Some(mut known) = read.as_plan(plain) else { continue };
        let (items, _) = elements(link, TABLE, &read.name, &known.key, action)?;
        known.elements.extend(items.into_iter().map(|item| item.element));
        known.elements.sort_unstable_by_key(|element| (element.first, element.last));
        guard.sets.push(known);
    }
    for name in chains {
        let plain = match slot::split(name) {
            Some((of, plain)) if of == slot => plain,
            None if name != ABOUT => name.as_str(),
            _ => continue,
        };
        guard.chains.push(Chain { name: plain.to_owned(), lines: Vec::new() });
    }
    for ReadLine { chain, line, .. } in lines {
        let plain = match slot::split(&chain) {
            Some((of, plain)) if of == slot => plain,
            None => chain.as_str(),
            Some(_) => continue,
        };
        if let Some(chain) = guard.chains.iter_mut().find(|known| known.name == plain) {
            chain.lines.push(line);
        }
    }
    Ok(guard)
}

/// The chains and sets of a slot, by kernel name.
pub(crate) fn of_slot(slot: Slot) -> impl Fn(&str) -> bool {
    move |name| slot::split(name).is_some_and(|(of, _)| of == slot)
}

/// Whether a chain belongs to no slot and is rewritten with every guard.
pub(crate) fn is_common_chain(name: &str) -> bool {
    is_gate(name) || is_shared(name)
}

/// An order-independent digest of a set: the sum of the SHA-256 of its elements, in four lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub elements: u64,
    lanes: [u64; 4],
}

impl Sum {
    fn add(&mut self, key: &[u8], is_end: bool) {
        let mut context = Context::new(&SHA256);
        context.update(&[u8::from(is_end)]);
        context.update(key);
        let hash = context.finish();
        for (lane, bytes) in self.lanes.iter_mut().zip(hash.as_ref().chunks_exact(8)) {
            let bytes = bytes.try_into().map_or(0, u64::from_ne_bytes);
            *lane = lane.wrapping_add(bytes);
        }
        self.elements += 1;
    }

    fn add_address(&mut self, address: IpAddr, is_end: bool) {
        match address {
            IpAddr::V4(address) => self.add(&address.octets(), is_end),
            IpAddr::V6(address) => self.add(&address.octets(), is_end),
        }
    }

    /// Adds an entry as the kernel would list it.
    pub(crate) fn add_entry(&mut self, entry: &IpNet) {
        match ListSet::of(entry).holds {
            SetContent::Hosts => self.add_address(entry.addr(), false),
            SetContent::Nets => {
                self.add_address(entry.network(), false);
                if let Some(end) = behind(entry.broadcast()) {
                    self.add_address(end, true);
                }
            }
        }
    }

    /// Computes the sum of a whole set in the kernel.
    pub(crate) fn of_set(link: &mut Link, set: ListSet, slot: Slot) -> Result<Self, FirewallError> {
        let action = "reading the whole threat list";
        let name = kernel_name(&set.name(), Some(slot));
        let of_set = |w: &mut Writer<'_>| w.text(element::LIST_SET, &name);
        link.list(kind::GET_ELEMENT, TABLE, action, of_set, |sum: &mut Self, answer| {
            for (_, item) in answer.nested(element::LIST_ELEMENTS).into_iter().flatten() {
                let item = Attributes(item);
                if let Some((key, is_end)) = key_of(item) {
                    // nft puts such an element before the first interval, for very old kernels.
                    if !(is_end && key.iter().all(|&byte| byte == 0)) {
                        sum.add(key, is_end);
                    }
                }
            }
        })
    }
}

fn key_of(item: Attributes<'_>) -> Option<(&[u8], bool)> {
    let key = item.nested(element::KEY)?.get(DATA_VALUE)?;
    let flags = item.be32(element::FLAGS).unwrap_or(0);
    Some((key, flags & element::INTERVAL_END != 0))
}

/// Looks up one element in the kernel; `None` if there is none.
pub(crate) fn element_at(
    link: &mut Link,
    set: ListSet,
    slot: Slot,
    address: IpAddr,
    is_end: bool,
) -> Result<Option<IpAddr>, FirewallError> {
    let action = "looking up an address in the threat list";
    let name = kernel_name(&set.name(), Some(slot));
    let question = |w: &mut Writer<'_>| {
        w.text(OWNER, TABLE);
        w.text(element::LIST_SET, &name);
        asked(w, address, is_end);
    };
    let found = link.get(kind::GET_ELEMENT, flag::ACK, action, question, |answer| {
        let (_, item) = answer.nested(element::LIST_ELEMENTS)?.next()?;
        let (key, _) = key_of(Attributes(item))?;
        address_of(key)
    });
    match found {
        Err(FirewallError::Refused { source, .. }) if is_missing(&source) => Ok(None),
        other => other,
    }
}

fn address_of(key: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(key).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(key).ok().map(IpAddr::from))
}

/// Compares the kernel's sets with a list, equivalent to comparing all elements.
pub(crate) fn verify(
    link: &mut Link,
    slot: Slot,
    entries: impl IntoIterator<Item = IpNet>,
) -> Result<Vec<Difference>, ThreatError> {
    let mut wanted = [Sum::default(); 4];
    for entry in entries {
        let set = ListSet::of(&entry);
        if let Some(at) = ListSet::ALL.iter().position(|one| *one == set) {
            wanted[at].add_entry(&entry);
        }
    }
    let mut differences = Vec::new();
    for (set, wanted) in ListSet::ALL.into_iter().zip(wanted) {
        let found = Sum::of_set(link, set, slot)?;
        if found != wanted {
            let name = kernel_name(&set.name(), Some(slot));
            let (wanted, found) = (wanted.elements, found.elements);
            differences.push(Difference { set: name, wanted, found });
        }
    }
    Ok(differences)
}
