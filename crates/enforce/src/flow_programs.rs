//! The programs and services behind flows that were counted, as far as they are still there.

use std::collections::{HashMap, HashSet};

use xshield_host::operating_system::OperatingSystem;
use xshield_host::program::{Place, Program};

/// Programs by place.
#[derive(Default)]
pub(crate) struct FlowPrograms(HashMap<Place, Program>);

impl FlowPrograms {
    /// Looks for what is behind these places.
    pub(crate) fn of(os: &dyn OperatingSystem, places: impl IntoIterator<Item = Place>) -> Self {
        let places: HashSet<Place> = places.into_iter().collect();
        match places.is_empty() {
            true => Self::default(),
            false => Self(os.programs_behind(&places)),
        }
    }

    /// The program behind a place.
    pub(crate) fn get(&self, place: &Place) -> Option<&Program> {
        self.0.get(place)
    }
}
