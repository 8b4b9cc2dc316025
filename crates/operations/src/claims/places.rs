//! What a host's addresses mean for segments. Of thousands of addresses few differ with regard to criteria:
//! two in the same of the networks that criteria name are equivalent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Asset;

/// The networks that contain an address, by position.
type Place = Vec<usize>;

/// An asset by the places of its addresses.
pub(super) struct Places<'a> {
    criteria: Vec<&'a Criteria>,
    networks: Vec<&'a IpNet>,
    /// The asset without its addresses.
    bare: Asset,
    /// The number of addresses in each place, and one of them.
    taken: BTreeMap<Place, (usize, IpAddr)>,
    /// Results for places since the last change.
    asked: BTreeMap<Place, bool>,
}

impl<'a> Places<'a> {
    pub(super) fn new(criteria: Vec<&'a Criteria>, asset: &Asset) -> Self {
        let criteria: Vec<_> =
            criteria.into_iter().filter(|one| one.networks().next().is_some()).collect();
        let mut networks: Vec<_> = criteria.iter().flat_map(|one| one.networks()).collect();
        networks.sort_unstable();
        networks.dedup();
        let bare = Asset { addresses: Vec::new(), ..asset.clone() };
        let (taken, asked) = (BTreeMap::new(), BTreeMap::new());
        let mut places = Self { criteria, networks, bare, taken, asked };
        asset.addresses.iter().for_each(|address| places.add(*address));
        places
    }

    fn of(&self, address: IpAddr) -> Place {
        let inside = self.networks.iter().enumerate().filter(|(_, net)| net.contains(&address));
        inside.map(|(position, _)| position).collect()
    }

    /// The asset gets an address.
    pub(super) fn add(&mut self, address: IpAddr) {
        let count = &mut self.taken.entry(self.of(address)).or_insert((0, address)).0;
        *count += 1;
        if *count == 1 {
            self.asked.clear();
        }
    }

    /// The asset loses an address that it has.
    pub(super) fn remove(&mut self, address: IpAddr) {
        let place = self.of(address);
        let Some((count, _)) = self.taken.get_mut(&place) else { return };
        *count -= 1;
        if *count == 0 {
            self.taken.remove(&place);
            self.asked.clear();
        }
    }

    /// Whether this additional address would move the asset to other segments.
    pub(super) fn would_add(&mut self, address: IpAddr) -> bool {
        let place = self.of(address);
        if self.taken.contains_key(&place) {
            return false;
        }
        let others: Vec<_> = self.taken.values().map(|(_, one)| *one).collect();
        let with = others.iter().copied().chain([address]).collect();
        self.differs(place, others.clone(), with)
    }

    /// Whether removing this address, which it has, would move the asset to other segments.
    pub(super) fn would_remove(&mut self, address: IpAddr) -> bool {
        let place = self.of(address);
        if self.taken.get(&place).is_none_or(|(count, _)| *count > 1) {
            return false;
        }
        let all = self.taken.values().map(|(_, one)| *one).collect();
        let others = self.taken.iter().filter(|(taken, _)| **taken != place);
        let others = others.map(|(_, (_, one))| *one).collect();
        self.differs(place, all, others)
    }

    fn differs(&mut self, place: Place, before: Vec<IpAddr>, after: Vec<IpAddr>) -> bool {
        if let Some(known) = self.asked.get(&place) {
            return *known;
        }
        let before = Asset { addresses: before, ..self.bare.clone() };
        let after = Asset { addresses: after, ..self.bare.clone() };
        let differs = self.criteria.iter().any(|one| one.matches(&before) != one.matches(&after));
        self.asked.insert(place, differs);
        differs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xshield_policy::inventory::Source;

    use super::*;

    const CRITERIA: [&str; 4] = [
        "asset.address = '10.0.0.0/30'",
        "role = 'x' or not asset.address in ('10.0.0.2', '10.0.0.8/29')",
        "asset.address = '10.0.0.0/29' and asset.address != '10.0.0.9'",
        "asset.os = 'y'",
    ];

    fn asset(addresses: &[u8]) -> Asset {
        Asset {
            id: "as-1".parse().unwrap(),
            name: "h".parse().unwrap(),
            tags: BTreeMap::new(),
            addresses: addresses.iter().map(|last| [10, 0, 0, *last].into()).collect(),
            os: String::new(),
            source: Source::Spark,
        }
    }

    proptest! {
        #[test]
        fn networks_are_found_as_by_comparing_all_addresses(
            start in proptest::collection::btree_set(0..20_u8, 0..10),
            steps in proptest::collection::vec((0..20_u8, any::<bool>()), 0..30),
        ) {
            let criteria: Vec<Criteria> = CRITERIA.map(|text| text.parse().unwrap()).into();
            let in_them = |addresses: &[u8]| -> Vec<bool> {
                criteria.iter().map(|one| one.matches(&asset(addresses))).collect()
            };
            let mut held: Vec<u8> = start.into_iter().collect();
            let mut places = Places::new(criteria.iter().collect(), &asset(&held));
            for (last, taken) in steps {
                let address = [10, 0, 0, last].into();
                let mut changed = held.clone();
                let would = if held.contains(&last) {
                    changed.retain(|one| *one != last);
                    places.would_remove(address)
                } else {
                    changed.push(last);
                    places.would_add(address)
                };
                prop_assert_eq!(would, in_them(&held) != in_them(&changed));
                if taken {
                    match held.contains(&last) {
                        true => places.remove(address),
                        false => places.add(address),
                    }
                    held = changed;
                }
            }
        }
    }
}
