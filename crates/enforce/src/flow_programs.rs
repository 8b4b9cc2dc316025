//! The programs and services of recorded flows, as far as they still run.

use std::collections::{HashMap, HashSet};

use xshield_host::operating_system::OperatingSystem;
use xshield_host::program::{Place, Program};

/// Programs by endpoint.
#[derive(Default)]
pub(crate) struct FlowPrograms(HashMap<Place, Program>);

impl FlowPrograms {
    /// Finds the programs at these endpoints.
    pub(crate) fn of(os: &dyn OperatingSystem, places: impl IntoIterator<Item = Place>) -> Self {
        let places: HashSet<Place> = places.into_iter().collect();
        match places.is_empty() {
            true => Self::default(),
            false => Self(os.programs_behind(&places)),
        }
    }

    /// The program at an endpoint.
    pub(crate) fn get(&self, place: &Place) -> Option<&Program> {
        self.0.get(place)
    }
}
