//! What the host says about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use xshield_host::operating_system::OperatingSystem as _;
use xshield_host::resolver::ResolverTimeouts;
use xshield_host::windows::services::{self, ServiceState};
use xshield_host::windows::{Windows, accounts, machine, paths, system};

#[test]
fn this_host_describes_itself() {
    let facts = system::host_facts().unwrap();
    eprintln!("{facts:?}");
    assert!(!facts.name.is_empty() && facts.name == Windows.host_name());
    assert!(facts.os.contains("Windows"));
    let numbers: Vec<u32> = facts.kernel.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers >= vec![6, 1, 7601]);
    assert!(!facts.addresses.iter().any(|address| address.is_loopback()));
    assert!(system::addresses().unwrap().iter().any(|address| address.is_loopback()));
    assert_eq!(facts.boot_id.len(), 32);
    assert_eq!(system::boot_id().unwrap(), facts.boot_id, "the same until the next start");
    system::version().unwrap().supported().unwrap();
}

#[test]
fn hardware_is_described() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let found = machine::telemetry(now, Windows.uptime_ms());
    eprintln!("{found:?}");
    assert!(found.booted > 1_500_000_000 && found.booted <= now);
    assert!(found.memory > 16 << 20 && found.cpu.count > 0);
    assert_eq!(found.architecture, "x86_64");
    assert!(found.machine.is_some());
    assert_eq!(machine::telemetry(now, 0).machine, found.machine, "the same each time");
    let system = found.disks.iter().find(|disk| disk.mount == r"C:\").unwrap();
    assert!(system.size > 0 && system.free <= system.size);
    assert!(system.device.starts_with(r"\Device\"));
    let is_loopback = |mac: &Option<String>| mac.as_deref() == Some("00:00:00:00:00:00");
    assert!(!found.interfaces.iter().any(|interface| is_loopback(&interface.mac)));
}

#[test]
fn the_uptime_increases() {
    let before = Windows.uptime_ms();
    assert!(before > 0);
    while Windows.uptime_ms() == before {
        std::thread::yield_now();
    }
    assert!(Windows.uptime_ms() > before);
}

#[test]
fn names_can_be_resolved() {
    // Which servers there are depends on the machine; the hosts file and literal addresses do not.
    let resolver = Windows.resolver(ResolverTimeouts::default());
    assert_eq!(
        resolver.resolve_host("10.0.0.5").unwrap(),
        ["10.0.0.5".parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(Windows.name_servers().iter().all(|server| !server.is_loopback()));
}

#[test]
fn accounts_have_names_and_identities() {
    let system = accounts::name("S-1-5-18").unwrap();
    assert_eq!(accounts::identity(&system).unwrap().as_deref(), Some("S-1-5-18"), "{system}");
    assert_eq!(accounts::identity("nobody has this name 7b1f").unwrap(), None);
    assert!(accounts::name("S-1-5-21-1-2-3-1001").is_err());
    // Whichever it is, Windows tells.
    accounts::is_elevated().unwrap();
}

#[test]
fn service_states_are_read() {
    assert_eq!(services::state("nobody has this name 7b1f").unwrap(), ServiceState::Missing);
    let engine = services::state(services::FILTER_ENGINE).unwrap();
    eprintln!("{engine:?}");
    let by_process = services::by_process().unwrap();
    assert!(!by_process.is_empty() && !by_process.contains_key(&0));
}

#[test]
fn paths_of_programs_are_translated() {
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let drives = paths::drives();
    let device = drives.device_path(&program).unwrap();
    assert!(device.starts_with(r"\device\"), "{device}");
    let back = drives.dos_path(&device).unwrap();
    assert_eq!(back.to_ascii_lowercase(), program.to_ascii_lowercase());
}
