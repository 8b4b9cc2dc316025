//! Several hosts on one machine: network namespaces, real kernels, real binaries, real packets.
//!
//! A [`Lab`] has a switch and [`Host`]s; each host has its own network, process list, name, `/etc`, `/var`
//! and `/run`, so that the programs under test behave as on their own machine and can't change this one.
//! [`service`]s listen, [`probe`]s connect to them, the [`matrix`] compares the results with the expected
//! ones, and [`kernel`] reads the rules with `nft`. Everything else is shared with the machine: programs,
//! `/home` and `/tmp`, so keep a host's temporary files in `/var/tmp` or in [`Host::dir`]. A [`machine`] has
//! all its own files, and runs systemd; a [`wine`] host runs the programs for Windows.
//!
//! Nothing of a lab outlives it: its hosts' first processes end with the lab, even if it is killed, and the
//! kernel ends the rest. Leftover files are removed by the next lab.

pub mod agent;
pub mod bench;
pub mod boot;
pub mod demo;
pub mod dns;
pub mod docker;
pub mod example;
pub mod external_host;
pub mod figure;
pub mod forward;
pub mod hold;
pub mod host;
pub mod init;
pub mod kernel;
pub mod lab;
pub mod machine;
pub mod matrix;
pub mod oracle;
pub mod peak;
pub mod platform;
pub mod privilege;
pub mod probe;
pub mod prober;
pub mod programs;
pub mod proxy;
pub mod real_proxy;
pub mod service;
pub mod shop;
pub mod smtp;
pub mod spark;
mod sys;
pub mod terminal;
pub mod wait;
pub mod walk;
pub mod wine;

pub use host::{Host, Running};
pub use lab::Lab;
pub use programs::Programs;

/// The advice if namespaces can't be created.
pub(crate) const HELP: &str = "run it as root, or let users make namespaces: \
     sysctl -w user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0 \
     (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined \
     --security-opt seccomp=unconfined)";
