//! The programs that labs, tests and measurements need, their packages, and which tests need them.

/// A program and its packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// Debian's package.
    pub(crate) debian: &'static str,
    /// Fedora's and RHEL's package; `None` where neither has one.
    pub(crate) fedora: Option<&'static str>,
    /// Prefixes of the names of the tests that need it; empty: everything needs it.
    pub(crate) tests: &'static [&'static str],
}

const fn tool(program: &'static str, debian: &'static str, fedora: &'static str) -> Tool {
    Tool { program, debian, fedora: Some(fedora), tests: &[] }
}

const fn tested(tool: Tool, tests: &'static [&'static str]) -> Tool {
    Tool { tests, ..tool }
}

const fn windows(program: &'static str, debian: &'static str) -> Tool {
    Tool { program, debian, fedora: None, tests: WINDOWS_HOSTS }
}

const REAL_PROXIES: &[&str] = &[
    "tinyproxy_takes_over_when_squid_dies_or_hangs",
    "a_407_of_squid_or_tinyproxy_is_not_a_dead_proxy",
    "a_very_slow_connection_is_not_taken_for_a_failure",
    "proxies_fail_in_turn_and_no_report_is_lost",
];
const SYSTEMD: &[&str] =
    &["systemd_runs_the_agent_in_its_sandbox", "systemd_runs_platform_and_spark_and_then_an_agent"];
const BROWSER: &[&str] = &["an_operator_sees_a_failed_proxy_and_collects_diagnostics"];
const CONTAINERS: &[&str] = &["published_ports_and_containers_obey_the_policy"];
const TRANSLATION: &[&str] = &[
    "published_ports_and_containers_obey_the_policy",
    "rules_of_iptables_are_read",
    "translations_name_whose_packets_they_concern",
];
const PACKED: &[&str] = &[
    "dpkg_installs_upgrades_and_removes",
    "rpm_installs_upgrades_and_removes",
    "systemd_runs_the_agent_in_its_sandbox",
    "systemd_runs_platform_and_spark_and_then_an_agent",
];
const TRACKING: &[&str] = &[
    "connections_lost_by_conntrack_are_restored",
    "connections_picked_up_in_the_wrong_direction_are_corrected",
    "short_connections_become_paths_with_bytes_and_programs",
    "an_unread_flood_is_counted_and_recovered_from_a_dump",
    "connections_lost_by_conntrack_work_after_the_next_run",
    "the_agent_restores_lost_conntrack_entries_at_once",
];
const INTERPRETED: &[&str] = &[
    "the_interpreter_passes_its_tables",
    "kernels_match_the_documentation",
    "a_wrong_accept_and_a_wrong_drop_are_detected_and_named",
];
const WINDOWS_HOSTS: &[&str] = &[
    "a_filter_engine_that_refuses_keeps_its_policy_and_the_error_says_what_to_do",
    "a_windows_host_and_linux_hosts_enforce_the_shop_together",
    "a_windows_trial_that_fails_or_hangs_is_reverted",
    "a_windows_run_killed_at_any_step_leaves_a_whole_policy_and_the_next_run_finishes",
    "windows_hosts_repair_explain_restore_and_remove_as_linux_hosts_do",
    "a_windows_host_blocks_and_reports_listed_peers",
];
const SIGNED: &[&str] = &[
    "signed_programs_verify_and_changed_ones_do_not",
    "a_program_that_could_not_be_signed_stays_as_it_was",
    "windows_hosts_repair_explain_restore_and_remove_as_linux_hosts_do",
];
const KILLED: &[&str] = &["a_policy_that_blocks_the_platform_is_reverted"];

/// Required by every lab, including the demo's.
pub(crate) const LAB: &[Tool] =
    &[tool("nft", "nftables", "nftables"), tool("ip", "iproute2", "iproute")];
/// Required by the prober.
pub(crate) const PROBER: &[Tool] = &[tested(tool("python3", "python3", "python3"), INTERPRETED)];
/// Also required by tests of the firewall and the host.
pub(crate) const KERNEL_TESTS: &[Tool] =
    &[tested(tool("conntrack", "conntrack", "conntrack-tools"), TRACKING)];
/// Required by the other tests: common proxies, the service manager, a browser, and a container engine with
/// the content of its image.
pub(crate) const TESTS: &[Tool] = &[
    tested(tool("pkill", "procps", "procps-ng"), KILLED),
    tested(tool("squid", "squid", "squid"), REAL_PROXIES),
    tested(tool("tinyproxy", "tinyproxy", "tinyproxy"), REAL_PROXIES),
    tested(tool("systemctl", "systemd", "systemd"), SYSTEMD),
    tested(tool("chromium", "chromium", "chromium"), BROWSER),
    tested(tool("chromedriver", "chromium-driver", "chromedriver"), BROWSER),
    tested(tool("dockerd", "docker.io", "moby-engine"), CONTAINERS),
    tested(tool("iptables", "iptables", "iptables-nft"), TRANSLATION),
    tested(tool("iptables", "iptables", "iptables-nft"), WINDOWS_HOSTS),
    tested(tool("busybox", "busybox-static", "busybox"), CONTAINERS),
    tested(tool("openssl", "openssl", "openssl"), SIGNED),
    tested(tool("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32", "mingw64-gcc"), SIGNED),
];
/// Debian's cargo, whatever else is in PATH.
pub(crate) const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Debian's clippy, of the same version as its compiler.
pub(crate) const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";
/// Required for compiling for Windows, which tests with Windows hosts need, too; Fedora has no compiler that builds a standard library from source.
pub(crate) const WINDOWS: &[Tool] = &[
    windows("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
    windows(DEBIAN_CARGO, "cargo-web"),
    windows("/usr/bin/rustc", "rustc-web"),
    windows(DEBIAN_CLIPPY, "rust-web-clippy"),
    windows("/usr/lib/rustlib/src/rust/library/std/Cargo.toml", "rust-web-src"),
];
/// Required for running Windows tests.
pub(crate) const WINE: &[Tool] = &[windows("wine", "wine")];
/// Required for signing programs for Windows.
pub(crate) const SIGNING: &[Tool] =
    &[tested(tool("osslsigncode", "osslsigncode", "osslsigncode"), SIGNED)];
/// Required for building packages.
pub(crate) const PACKAGING: &[Tool] = &[
    tested(tool("dpkg-deb", "dpkg", "dpkg"), PACKED),
    tested(tool("rpmbuild", "rpm", "rpm-build"), PACKED),
    tested(tool("gzip", "gzip", "gzip"), PACKED),
];
/// Required for booting other kernels, and the content of their machines.
pub(crate) const KERNELS: &[Tool] = &[
    tool("qemu-system-x86_64", "qemu-system-x86", "qemu-system-x86-core"),
    tool("busybox", "busybox-static", "busybox"),
    tool("depmod", "kmod", "kmod"),
    tool("dpkg-deb", "dpkg", "dpkg"),
    tool("strip", "binutils", "binutils"),
];
/// Compared with our firewall, besides nft.
pub(crate) const PEERS: &[Tool] = &[tool("iptables-restore", "iptables", "iptables-nft")];
/// Used by `bench hostile` to damage a database and to create a small disk.
pub(crate) const HOSTILE: &[Tool] =
    &[tool("sqlite3", "sqlite3", "sqlite"), tool("unshare", "util-linux", "util-linux")];
/// Also compared for threat lists.
pub(crate) const THREAT_PEERS: &[Tool] =
    &[tool("ipset", "ipset", "ipset"), tool("gzip", "gzip", "gzip")];
