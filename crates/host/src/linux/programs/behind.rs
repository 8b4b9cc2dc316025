//! The programs and services of recorded flows, as far as they still run.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use xshield_policy::{Direction, Protocol};

use super::{Programs, SocketOwner};
use crate::program::{Place, Program};

pub(crate) fn behind(places: &HashSet<Place>) -> HashMap<Place, Program> {
    let Ok(mut programs) = Programs::open() else { return HashMap::new() };
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
    owners.into_iter().map(|(place, owner)| (place, program(&owner))).collect()
}
