//! Builds sets and their look-ups from rules sorted by shape.

use super::boxes::{RuleBox, layers};
use super::model::{Element, Family, Key, Set, Shape};
use super::shapes::{
    ELEMENT_LIMIT, Entry, FamilyServices, Lookup, LookupKey, Pool, Sets, Shapes, WITH_PORTS,
    key_types, ranges_of,
};
use super::tree::{LEAF, Tree, part};
use crate::Capabilities;

/// Sorts the rules of one direction and action; `prefix` starts the names of their sets.
pub(crate) fn shapes(entries: &[Entry], prefix: &str, capabilities: &Capabilities) -> Shapes {
    let mut shapes = Shapes { sets: Vec::new(), lookups: Vec::new(), line_rules: Vec::new() };
    for family in Family::BOTH {
        let mut pool = Pool::default();
        for (order, entry) in entries.iter().enumerate() {
            let ranges = ranges_of(&entry.peers, family);
            let split = FamilyServices::new(&entry.services, family);
            if ranges.is_empty() || entry.services.is_empty() {
                continue;
            }
            let ports = split.ports.len();
            let blows_up = ranges.len() * ports > ELEMENT_LIMIT.max(4 * (ranges.len() + ports));
            if entry.owner.is_some() || blows_up {
                shapes.line_rule(
                    entry,
                    family,
                    ranges,
                    split.service_matches(),
                    prefix,
                    capabilities,
                );
                continue;
            }
            let rest = pool.add(order, entry, &ranges, split, capabilities);
            if !rest.is_empty() {
                shapes.line_rule(entry, family, ranges, rest, prefix, capabilities);
            }
        }
        let counted = capabilities.element_counters;
        SetBuilder { shapes: &mut shapes, entries, family, prefix, counted }.take(pool);
    }
    shapes
}

/// The sets of one family's rules of one direction and action, under construction.
struct SetBuilder<'a> {
    shapes: &'a mut Shapes,
    entries: &'a [Entry],
    family: Family,
    prefix: &'a str,
    counted: bool,
}

impl SetBuilder<'_> {
    fn take(&mut self, pool: Pool) {
        let n = self.family.number();
        self.exact(format!("host{n}"), LookupKey::AddressAndPort, pool.hosts);
        if pool.ports.iter().map(Vec::len).sum::<usize>() <= LEAF {
            self.ports_together(pool.ports);
        } else {
            self.ports_parted(pool.ports);
        }
        let two = |address: u128, service: u16| [address, service.into(), 0, 0];
        self.boxes(format!("net{n}"), None, LookupKey::AddressAndProtocol, pool.nets, two);
        let icmp = Some(self.family.icmp());
        self.boxes(format!("icmp{n}"), icmp, LookupKey::AddressAndIcmpType, pool.icmp, two);
    }

    /// For few boxes: the protocols share sets.
    fn ports_together(&mut self, ports: [Vec<RuleBox>; WITH_PORTS.len()]) {
        let mut sets: Vec<Vec<Element>> = Vec::new();
        for ((protocol, _), boxes) in WITH_PORTS.into_iter().zip(ports) {
            let key = |address: u128, port: u16| [address, protocol.into(), port.into(), 0];
            for (depth, layer) in layers(boxes).into_iter().enumerate() {
                let elements = layer.into_iter().map(|flat| element(flat, self.entries, key));
                match sets.get_mut(depth) {
                    Some(same) => same.extend(elements),
                    None => sets.push(elements.collect()),
                }
            }
        }
        let asks = LookupKey::AddressAndPort;
        for name in self.layers(&format!("port{}", self.family.number()), asks, sets) {
            self.look_up(None, asks, Sets::One(name));
        }
    }

    /// For many boxes. Services open to all are separate, since they would be in every part.
    fn ports_parted(&mut self, ports: [Vec<RuleBox>; WITH_PORTS.len()]) {
        let (n, everyone) = (self.family.number(), (0, self.family.max()));
        let mut services = Vec::new();
        let mut rest = Vec::new();
        for ((protocol, word), boxes) in WITH_PORTS.into_iter().zip(ports) {
            let (open, some): (Vec<RuleBox>, Vec<RuleBox>) =
                boxes.into_iter().partition(|flat| flat.addresses == everyone);
            let (single, wide): (Vec<RuleBox>, Vec<RuleBox>) =
                open.into_iter().partition(|flat| flat.services.0 == flat.services.1);
            let key = |_: u128, port: u16| [protocol.into(), port.into(), 0, 0];
            services.extend(single.into_iter().map(|flat| element(flat, self.entries, key)));
            rest.push((protocol, format!("open{n}_{word}"), wide));
            rest.push((protocol, format!("port{n}_{word}"), some));
        }
        self.exact(format!("service{n}"), LookupKey::Port, services);
        for (protocol, name, boxes) in rest {
            let key = |address: u128, port: u16| [address, protocol.into(), port.into(), 0];
            self.boxes(name, Some(protocol), LookupKey::AddressAndPort, boxes, key);
        }
    }

    /// A hash set. If elements are equal, the first one's rule is named.
    fn exact(&mut self, kind: String, asks: LookupKey, mut elements: Vec<Element>) {
        if elements.is_empty() {
            return;
        }
        elements.sort_by_key(|element| element.first);
        elements.dedup_by_key(|element| element.first);
        let name = format!("{}_{kind}", self.prefix);
        self.set(name.clone(), asks, Shape::Exact, elements);
        self.look_up(None, asks, Sets::One(name));
    }

    fn boxes(
        &mut self,
        kind: String,
        protocol: Option<u8>,
        asks: LookupKey,
        boxes: Vec<RuleBox>,
        key: impl Fn(u128, u16) -> Key + Copy,
    ) {
        let entries = self.entries;
        let elements = |boxes: Vec<RuleBox>| -> Vec<Vec<Element>> {
            let elements =
                |layer: Vec<RuleBox>| layer.into_iter().map(|flat| element(flat, entries, key));
            layers(boxes).into_iter().map(|layer| elements(layer).collect()).collect()
        };
        match part(boxes) {
            Tree::Leaf(boxes) => {
                for name in self.layers(&kind, asks, elements(boxes)) {
                    self.look_up(protocol, asks, Sets::One(name));
                }
            }
            fork => {
                let mut leaf = 0;
                let tree = fork.map(&mut |boxes| {
                    leaf += 1;
                    self.layers(&format!("{kind}_{leaf}"), asks, elements(boxes))
                });
                self.look_up(protocol, asks, Sets::Parted { stem: kind, tree });
            }
        }
    }

    /// One set per layer; returns their names.
    fn layers(&mut self, kind: &str, asks: LookupKey, layers: Vec<Vec<Element>>) -> Vec<String> {
        let mut names = Vec::new();
        for (depth, mut elements) in layers.into_iter().enumerate() {
            elements.sort_unstable();
            let depth = if depth == 0 { String::new() } else { format!("_{}", depth + 1) };
            let name = format!("{}_{kind}{depth}", self.prefix);
            self.set(name.clone(), asks, Shape::Boxes, elements);
            names.push(name);
        }
        names
    }

    fn set(&mut self, name: String, asks: LookupKey, shape: Shape, elements: Vec<Element>) {
        let key = key_types(asks, self.family);
        self.shapes.sets.push(Set { name, key, shape, counted: self.counted, elements });
    }

    fn look_up(&mut self, protocol: Option<u8>, asks: LookupKey, sets: Sets) {
        self.shapes.lookups.push(Lookup { family: self.family, protocol, asks, sets });
    }
}

fn element(flat: RuleBox, entries: &[Entry], key: impl Fn(u128, u16) -> Key) -> Element {
    Element {
        first: key(flat.addresses.0, flat.services.0),
        last: key(flat.addresses.1, flat.services.1),
        label: entries[flat.order].label.clone(),
    }
}
