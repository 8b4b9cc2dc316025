//! The contents of the packages.

use anyhow::{Context as _, Result};

use crate::run;

/// The compression effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// For tests.
    Fast,
    /// For releases.
    Small,
}

/// How a program is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linking {
    /// Depends only on the kernel.
    Static,
    /// Requires the C library of the build machine or a later one.
    Dynamic,
}

/// The source of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A built program.
    Binary(&'static str),
    /// A file of this repository.
    File(&'static str),
    /// A manual page of `packages/man`, to be compressed.
    Manual(&'static str),
    /// The shell completions printed by a program: program, shell.
    Completions(&'static str, &'static str),
}

/// What happens to a file in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It is replaced.
    Replaced,
    /// It is kept if it was changed.
    Kept,
}

/// A file of a package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) source: Source,
    /// Absolute.
    pub(super) path: &'static str,
    pub(super) mode: u32,
    pub(super) upgrade: Upgrade,
}

/// A package, in either format.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    /// The crate of its programs.
    pub(super) krate: &'static str,
    pub(super) linking: Linking,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// The prefix of its scripts in `packages/scripts`.
    pub(super) scripts: &'static str,
    pub(super) items: &'static [Item],
}

impl Package {
    /// A maintainer script's body, from `packages/scripts`.
    pub(super) fn script(&self, moment: &str) -> Result<String> {
        let path =
            run::root().join("packages/scripts").join(format!("{}.{moment}.sh", self.scripts));
        std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    }
}

const fn item(source: Source, path: &'static str, mode: u32) -> Item {
    Item { source, path, mode, upgrade: Upgrade::Replaced }
}

/// A unit of `packages/systemd`.
macro_rules! unit {
    ($name:literal) => {
        item(
            Source::File(concat!("packages/systemd/", $name)),
            concat!("/usr/lib/systemd/system/", $name),
            0o644,
        )
    };
}

/// A manual page of this section.
macro_rules! manual {
    ($name:literal, $section:literal) => {
        item(
            Source::Manual(concat!($name, ".", $section)),
            concat!("/usr/share/man/man", $section, "/", $name, ".", $section, ".gz"),
            0o644,
        )
    };
}

/// The shell completions of a program.
macro_rules! completions {
    (bash, $program:literal) => {
        item(
            Source::Completions($program, "bash"),
            concat!("/usr/share/bash-completion/completions/", $program),
            0o644,
        )
    };
    (zsh, $program:literal) => {
        item(
            Source::Completions($program, "zsh"),
            concat!("/usr/share/zsh/vendor-completions/_", $program),
            0o644,
        )
    };
}

pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "xshield-spark",
        krate: "ctspark",
        linking: Linking::Static,
        summary: "Micro-segmentation with this host's own firewall, without an agent",
        description: "One run fetches this host's signed policy, programs nftables with it, \
             verifies that it is in the kernel, and reports what it observed. A configuration \
             manager runs it every few minutes.",
        scripts: "spark",
        items: &[
            item(Source::Binary("ctspark"), "/usr/sbin/ctspark", 0o755),
            unit!("ctspark.service"),
            unit!("ctspark.timer"),
            manual!("ctspark", "1"),
        ],
    },
    Package {
        name: "xshield-agent",
        krate: "ctagent",
        linking: Linking::Static,
        summary: "Micro-segmentation with this host's own firewall, with a resident agent",
        description: "Fetches this host's signed policy at once when it changes, programs \
             nftables with it, verifies that it is in the kernel, repairs changes by others, and \
             reports what it observed.",
        scripts: "agent",
        items: &[
            item(Source::Binary("ctagent"), "/usr/sbin/ctagent", 0o755),
            item(Source::Binary("ctagentcmd"), "/usr/sbin/ctagentcmd", 0o755),
            unit!("ctagent.service"),
            manual!("ctagent", "8"),
            manual!("ctagentcmd", "8"),
            completions!(bash, "ctagent"),
            completions!(bash, "ctagentcmd"),
            completions!(zsh, "ctagent"),
            completions!(zsh, "ctagentcmd"),
        ],
    },
    Package {
        name: "xshield-platform",
        krate: "xshield",
        linking: Linking::Dynamic,
        summary: "The Xshield platform: policy, compiler, threat feeds, telemetry",
        description: "Compiles the operators' policy into a small signed ruleset for each host, \
             and shows what the hosts report. The same program is the client of its API.",
        scripts: "platform",
        items: &[
            item(Source::Binary("xshield"), "/usr/bin/xshield", 0o755),
            item(
                Source::File("crates/server/static/htmx.LICENSE"),
                "/usr/share/doc/xshield-platform/htmx.LICENSE",
                0o644,
            ),
            manual!("xshield", "1"),
            unit!("xshield.service"),
            Item {
                source: Source::File("packages/config/platform.env"),
                path: "/etc/xshield/platform.env",
                mode: 0o644,
                upgrade: Upgrade::Kept,
            },
            completions!(bash, "xshield"),
            completions!(zsh, "xshield"),
        ],
    },
];
