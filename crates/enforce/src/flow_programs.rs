//! The programs and services behind flows that were counted, as far as they are still there.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use xshield_host::linux::programs::{Program, Programs, SocketOwner};
use xshield_policy::{Direction, Protocol};

/// Where a flow's local end is: its own address and port when it serves, the other's when it asks.
pub(crate) type Place = (Direction, Protocol, SocketAddr);

/// Programs by place.
#[derive(Default)]
pub(crate) struct FlowPrograms(HashMap<Place, Program>);

impl FlowPrograms {
    /// Looks for what is behind these places. A program that has ended meanwhile is not found; what
    /// serves a port mostly is.
    pub(crate) fn of(places: impl IntoIterator<Item = Place>) -> Self {
        let places: HashSet<Place> = places.into_iter().collect();
        if places.is_empty() {
            return Self::default();
        }
        let Ok(mut programs) = Programs::open() else { return Self::default() };
        let mut owners: HashMap<Place, SocketOwner> = HashMap::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let of = |wanted: Direction| {
                let places = places.iter();
                let fits = places.filter(move |place| place.0 == wanted && place.1 == protocol);
                fits.map(|place| place.2)
            };
            let asked: HashSet<SocketAddr> = of(Direction::Outbound).collect();
            if !asked.is_empty() {
                let found = programs.openers_to(protocol, &asked).into_iter();
                owners.extend(found.map(|(to, by)| ((Direction::Outbound, protocol, to), by)));
            }
            for local in of(Direction::Inbound) {
                let server = programs.server(protocol, local);
                owners.extend(server.map(|by| ((Direction::Inbound, protocol, local), by)));
            }
        }
        programs.search(owners.values().copied());
        let program = |owner: &SocketOwner| match programs.known(owner) {
            Some(program) => (*program).clone(),
            None => programs.without_process(owner),
        };
        Self(owners.into_iter().map(|(place, owner)| (place, program(&owner))).collect())
    }

    /// The program behind a place.
    pub(crate) fn get(&self, place: &Place) -> Option<&Program> {
        self.0.get(place)
    }
}
