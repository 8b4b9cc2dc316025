//! The hardware of this host: processors, memory, disks, interfaces, virtualization.
//!
//! What can't be determined is left empty.

pub mod cloud;
mod disks;
mod interfaces;
mod virtualization;

use std::fs;
use std::path::Path;

use ring::digest::{SHA256, digest};
use xshield_wire::Bytes;
use xshield_wire::message::{Digest, UnixSeconds};
use xshield_wire::telemetry::{Cpu, HostTelemetry};

use super::os_release::{self, OsRelease};

/// The files read here are short; a longer one is not what is expected.
const MOST_BYTES: u64 = 1 << 20;
/// The longest text of the firmware, in characters.
const LONGEST_TEXT: usize = 200;

/// Describes this host at `taken`, without asking a cloud: see [`cloud`].
#[must_use]
pub fn telemetry(taken: UnixSeconds) -> HostTelemetry {
    let root = Path::new("/");
    let system = rustix::system::uname();
    HostTelemetry {
        taken,
        booted: boot_time(&read(root, "proc/stat")).unwrap_or(0),
        os: os_name(root),
        kernel: system.release().to_string_lossy().into_owned(),
        architecture: system.machine().to_string_lossy().into_owned(),
        machine: machine(&read(root, "etc/machine-id")),
        cpu: cpu(&read(root, "proc/cpuinfo"), &read(root, "sys/devices/system/cpu/online")),
        memory: memory(root),
        disks: disks::disks(&read(root, "proc/self/mountinfo")),
        interfaces: interfaces::interfaces().unwrap_or_default(),
        runs_in: virtualization::runs_in(root),
        hardware: virtualization::hardware(root),
        cloud: None,
    }
}

/// A short text file under `root`; empty if it does not exist.
fn read(root: &Path, path: &str) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(root.join(path)) {
        let _ = file.take(MOST_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text from other sources, made safe to be displayed.
fn tidy(text: &str) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

fn os_name(root: &Path) -> String {
    let pretty = os_release::pretty_name(root).ok().flatten();
    let plain = || OsRelease::read(root).map(|os| os.name()).unwrap_or_default();
    pretty.and_then(|name| tidy(&name)).unwrap_or_else(plain)
}

/// `btime` of proc_stat(5).
fn boot_time(stat: &str) -> Option<UnixSeconds> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// machine-id(5) asks that the id be hashed before it leaves the host.
fn machine(id: &str) -> Option<Digest> {
    let id = id.trim();
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let sum = digest(&SHA256, format!("xshield machine {id}").as_bytes());
    sum.as_ref().try_into().ok().map(Bytes)
}

/// proc_cpuinfo(5): names differ by architecture. `online` is a list like `0-3,5`.
fn cpu(info: &str, online: &str) -> Cpu {
    let value = |key: &str| {
        let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
        pairs.find_map(|(found, value)| (found.trim() == key).then(|| tidy(value)).flatten())
    };
    let model = ["model name", "cpu model", "cpu", "Model", "Hardware", "Processor"];
    let listed = info.lines().filter(|line| line.starts_with("processor")).count();
    Cpu {
        model: model.iter().find_map(|key| value(key)).unwrap_or_default(),
        count: cpu_list(online).unwrap_or_else(|| u32::try_from(listed).unwrap_or(u32::MAX)),
    }
}

fn cpu_list(text: &str) -> Option<u32> {
    let mut ranges = text.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.try_fold(0_u32, |sum, count| sum.checked_add(count?))
}

/// The memory of the host whose files are under `root`, in bytes; 0 if it is not known.
pub(super) fn memory(root: &Path) -> u64 {
    memory_in(&read(root, "proc/meminfo")).unwrap_or(0)
}

/// In bytes, from the KiB of proc_meminfo(5).
fn memory_in(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn this_machine() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let found = telemetry(now);
        assert!(found.booted > 1_500_000_000 && found.booted <= now, "{found:?}");
        assert!(found.memory > 16 << 20, "{found:?}");
        let count = std::thread::available_parallelism().unwrap().get();
        assert!(found.cpu.count as usize >= count, "{found:?}");
        let root = found.disks.iter().find(|disk| disk.mount == "/").unwrap();
        assert!(root.size > 0 && root.free <= root.size, "{found:?}");
        assert!(found.interfaces.iter().all(|interface| interface.name != "lo"), "{found:?}");
        assert!(!found.os.is_empty() && !found.kernel.is_empty() && !found.architecture.is_empty());
    }

    #[test]
    fn processors_are_counted() {
        #[rustfmt::skip]
        let table = [
            ("processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: other\n", "0-1\n", "AMD EPYC", 2),
            ("processor\t: 0\nBogoMIPS\t: 1\n\nModel\t: Raspberry Pi 4\n", "0-3,5\n", "Raspberry Pi 4", 5),
            ("processor\t: 0\ncpu\t: POWER9\n", "", "POWER9", 1),
            ("", "3-1", "", 0),
            ("", "0-4294967295", "", 0),
        ];
        for (info, online, model, count) in table {
            assert_eq!(cpu(info, online), Cpu { model: model.to_owned(), count }, "{info:?}");
        }
    }

    #[test]
    fn values_with_units_are_parsed() {
        assert_eq!(memory_in("MemTotal:       24685588 kB\n"), Some(24_685_588 << 10));
        assert_eq!(memory_in("MemTotal: 99999999999999999999 kB"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1763690000\n"), Some(1_763_690_000));
        let id = "0123456789abcdef0123456789abcdef";
        assert!(machine(id).is_some() && machine(&format!("{id}\n")) == machine(id));
        assert_eq!((machine("uninitialized\n"), machine("")), (None, None));
    }
}
