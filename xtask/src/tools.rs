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
    Tool { program, debian, fedora: None, tests: &[] }
}

const REAL_PROXIES: &[&str] = &[
    "squid_dies_or_falls_silent_and_tinyproxy_takes_over",
    "a_407_of_squid_and_tinyproxy_is_no_dead_proxy",
    "a_line_as_slow_as_a_modem_is_slow_and_not_broken",
    "proxies_die_one_after_the_other_and_nothing_is_lost",
];
const SYSTEMD: &[&str] = &[
    "systemd_runs_the_agent_in_its_sandbox",
    "systemd_runs_platform_and_spark_and_an_agent_in_its_place",
];
const BROWSER: &[&str] = &["an_operator_sees_a_failed_proxy_and_collects_diagnostics"];
const CONTAINERS: &[&str] = &["published_ports_and_containers_obey_the_policy"];
const TRANSLATION: &[&str] = &[
    "published_ports_and_containers_obey_the_policy",
    "rules_of_iptables_are_read",
    "whose_packets_are_translated_is_told",
];
const PACKED: &[&str] = &[
    "dpkg_installs_upgrades_and_removes",
    "rpm_installs_upgrades_and_removes",
    "systemd_runs_the_agent_in_its_sandbox",
    "systemd_runs_platform_and_spark_and_an_agent_in_its_place",
];
const TRACKING: &[&str] = &[
    "connections_that_tracking_lost_are_told_again",
    "connections_that_tracking_took_up_from_the_wrong_side_are_turned",
    "short_connections_become_paths_with_bytes_and_programs",
    "a_flood_that_nobody_reads_is_counted_and_made_good_from_the_list",
    "connections_that_tracking_lost_are_heard_after_the_next_run",
    "the_agent_tells_tracking_at_once_what_it_lost",
];
const INTERPRETED: &[&str] = &[
    "the_interpreter_reads_the_documentation",
    "kernels_do_what_the_documentation_says",
    "a_wrong_accept_and_a_wrong_drop_are_noticed_and_named",
];
const KILLED: &[&str] = &["a_policy_through_which_the_platform_does_not_answer_is_taken_back"];

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
    tested(tool("busybox", "busybox-static", "busybox"), CONTAINERS),
];
/// Debian's cargo: whatever else is in PATH.
pub(crate) const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Required for compiling for Windows; Fedora has no compiler that builds a standard library from source.
pub(crate) const WINDOWS: &[Tool] = &[
    windows("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
    windows(DEBIAN_CARGO, "cargo-web"),
    windows("/usr/bin/rustc", "rustc-web"),
    windows("/usr/lib/rustlib/src/rust/library/std/Cargo.toml", "rust-web-src"),
];
/// Required for running Windows tests.
pub(crate) const WINE: &[Tool] = &[windows("wine", "wine")];
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
