//! The settings of a resident program: from the host's own file, otherwise from the platform's configuration,
//! otherwise the defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use xshield_firewall::LiveGroup;
use xshield_wire::control::{HostConfiguration, Switch};

/// The keys of the configuration file; `None` if a key is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resident {
    /// Seconds between two check-ins.
    pub heartbeat: Option<u64>,
    /// Seconds between two reports of paths.
    pub telemetry: Option<u64>,
    /// Seconds between two scans of the installed software.
    pub inventory: Option<u64>,
    /// Whether the cloud's metadata service is queried.
    pub cloud_metadata: Option<Asking>,
    /// In percent of one core.
    pub cpu_budget_percent: Option<f64>,
    /// Resident memory, in MiB.
    pub memory_budget_mib: Option<u64>,
    /// Whether denials and matches are reported as they occur.
    pub live_events: Option<Switch>,
    /// The log group for live events.
    pub live_group: Option<LiveGroup>,
}

/// Whether a service on the network is queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asking {
    /// It is.
    Ask,
    /// It is not.
    Leave,
}

/// The settings in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The time between two check-ins, before jitter.
    pub heartbeat: Duration,
    /// The time between two reports of paths.
    pub telemetry: Duration,
    /// The time between two scans of the installed software.
    pub inventory: Duration,
    /// Whether the cloud's metadata service is queried.
    pub cloud_metadata: Asking,
    /// In thousandths of one core.
    pub cpu_budget: u32,
    /// Resident memory, in KiB.
    pub memory_budget: u64,
    /// The log group for live events; `None`: there are none.
    pub live: Option<LiveGroup>,
}

const HEARTBEAT: RangeInclusive<u64> = 1..=86_400;
const TELEMETRY: RangeInclusive<u64> = 10..=86_400;
const INVENTORY: RangeInclusive<u64> = 60..=604_800;
/// In thousandths of one core.
const CPU: RangeInclusive<u64> = 1..=1_000;
/// In MiB.
const MEMORY: RangeInclusive<u64> = 16..=4_096;

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(120),
            telemetry: Duration::from_secs(300),
            inventory: Duration::from_secs(3_600),
            cloud_metadata: Asking::Leave,
            cpu_budget: 100,
            memory_budget: 64 * 1024,
            live: Some(LiveGroup::DEFAULT),
        }
    }
}

impl Resident {
    /// Refuses values out of range, with the key's name and what was expected.
    pub(crate) fn checked(self) -> Result<Self, (&'static str, String)> {
        for (field, value, bounds) in [
            ("heartbeat-seconds", self.heartbeat, HEARTBEAT),
            ("telemetry-seconds", self.telemetry, TELEMETRY),
            ("inventory-seconds", self.inventory, INVENTORY),
            ("memory-budget-mib", self.memory_budget_mib, MEMORY),
        ] {
            if value.is_some_and(|value| !bounds.contains(&value)) {
                return Err((field, format!("expected {} to {}", bounds.start(), bounds.end())));
            }
        }
        if self.cpu_budget_percent.is_some_and(|percent| !(0.1..=100.0).contains(&percent)) {
            return Err(("cpu-budget-percent", "expected 0.1 to 100".to_owned()));
        }
        Ok(self)
    }

    /// The settings in use; the platform's configuration applies where the file has no value. A value of the
    /// platform that is out of range is replaced by the nearest valid one.
    #[must_use]
    pub fn settings(&self, platform: Option<&HostConfiguration>) -> Settings {
        let default = Settings::default();
        let of_platform = platform.cloned().unwrap_or_default();
        let seconds = |own: Option<u64>, theirs: Option<u32>, bounds: RangeInclusive<u64>, or| {
            let theirs = theirs.map(|value| within(u64::from(value), bounds));
            own.or(theirs).map_or(or, Duration::from_secs)
        };
        let asking = of_platform.cloud_metadata.map(|switch| match switch {
            Switch::On => Asking::Ask,
            Switch::Off => Asking::Leave,
        });
        let percent = self.cpu_budget_percent.map(|percent| (percent * 10.0).round() as u32);
        let cpu = of_platform.cpu_budget.map(|cpu| within(u64::from(cpu), CPU) as u32);
        let memory = of_platform.memory_budget.map(|mib| within(u64::from(mib), MEMORY));
        let memory = self.memory_budget_mib.or(memory);
        let live = match self.live_events.or(of_platform.live_events) {
            Some(Switch::Off) => None,
            Some(Switch::On) | None => Some(self.live_group.unwrap_or(LiveGroup::DEFAULT)),
        };
        Settings {
            heartbeat: seconds(self.heartbeat, of_platform.heartbeat, HEARTBEAT, default.heartbeat),
            telemetry: seconds(self.telemetry, of_platform.telemetry, TELEMETRY, default.telemetry),
            inventory: seconds(self.inventory, of_platform.inventory, INVENTORY, default.inventory),
            cloud_metadata: self.cloud_metadata.or(asking).unwrap_or(default.cloud_metadata),
            cpu_budget: percent.or(cpu).unwrap_or(default.cpu_budget),
            memory_budget: memory.map_or(default.memory_budget, |mib| mib * 1024),
            live,
        }
    }
}

fn within(value: u64, bounds: RangeInclusive<u64>) -> u64 {
    value.clamp(*bounds.start(), *bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_overrides_the_platform_and_the_platform_the_default() {
        let platform = HostConfiguration {
            version: 1,
            heartbeat: Some(60),
            telemetry: Some(1),
            cloud_metadata: Some(Switch::On),
            cpu_budget: Some(u16::MAX),
            ..HostConfiguration::default()
        };
        let file = Resident { heartbeat: Some(30), ..Resident::default() };
        assert_eq!(Resident::default().settings(None), Settings::default());
        let both = file.settings(Some(&platform));
        assert_eq!(both.heartbeat, Duration::from_secs(30));
        assert_eq!(both.telemetry, Duration::from_secs(10), "the nearest that is allowed");
        assert_eq!((both.cloud_metadata, both.cpu_budget), (Asking::Ask, 1_000));
        assert_eq!(both.live, Some(LiveGroup::DEFAULT));
        let off = HostConfiguration { live_events: Some(Switch::Off), ..platform };
        assert_eq!(file.settings(Some(&off)).live, None);
        let live_group = LiveGroup::new(5);
        let on = Resident { live_events: Some(Switch::On), live_group, ..Resident::default() };
        assert_eq!(on.settings(Some(&off)).live, live_group);
        assert_eq!(both.memory_budget, Settings::default().memory_budget);
        assert_eq!(file.settings(None).heartbeat, Duration::from_secs(30));
    }
}
