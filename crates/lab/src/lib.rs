//! Several hosts on one machine: network namespaces, real kernels, real binaries, real packets.
//!
//! A [`Lab`] has a switch and [`Host`]s; each host has its own network, process list, name, `/etc`,
//! `/var` and `/run`, so that the programs under test behave as on a machine of their own and can't
//! touch this one. [`service`]s listen, [`probe`]s speak to them, the [`matrix`] compares what
//! happened with what should have, and [`kernel`] reads the result back through `nft`. Everything else
//! is the machine's: programs, `/home`, and `/tmp`, so keep a host's scratch files in `/var/tmp` or in
//! [`Host::dir`]. A [`machine`] has all its files to itself, and runs systemd.
//!
//! Nothing of a lab outlives it: its hosts' first processes end when the lab does, also when it is
//! killed, and the kernel takes the rest with them. Left-over files are removed by the next lab.

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

pub use host::{Host, Running};
pub use lab::Lab;
pub use programs::Programs;

/// What to do where namespaces can't be made.
pub(crate) const HELP: &str = "run it as root, or let users make namespaces: \
     sysctl -w user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0 \
     (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined \
     --security-opt seccomp=unconfined)";
