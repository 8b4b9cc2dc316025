//! Process 1 of a lab host: sets up the host's own files, then keeps its namespaces for as long as the lab
//! lives.
//!
//! The lab holds the other end of standard input. When the lab ends, for whatever reason, the pipe is closed,
//! process 1 exits, and the kernel kills every process of the host and removes its network.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::sys::{self, Mount};

/// Arguments of a host's process 1.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Host name.
    #[arg(long)]
    name: String,
    /// A directory of this host in the lab's workspace.
    #[arg(long)]
    dir: String,
    /// The DNS server for /etc/resolv.conf.
    #[arg(long)]
    resolver: Option<std::net::IpAddr>,
}

/// Runs until standard input closes.
///
/// # Errors
/// When the host's files can't be set up.
pub fn run(args: &InitArgs) -> Result<()> {
    give_own_files(args)?;
    sys::set_host_name(&args.name).context("could not set the host name")?;
    // Every process of the host may ping; by default, this is disabled in a new network namespace.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").context("could not allow pings")?;
    sys::disown_children();
    println!("ready");
    std::io::stdout().flush()?;

    let mut end = [0; 1];
    loop {
        match std::io::stdin().read(&mut end) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("lost the connection to the lab"),
        }
    }
}

/// `/etc` and `/var` start as copies of the machine's, and changes stay on this host; `/run` starts empty, so
/// that no program of the host can talk to the machine's service manager.
fn give_own_files(args: &InitArgs) -> Result<()> {
    sys::mount(Mount::Private, "/").context("could not detach the mounts from the machine's")?;
    sys::mount(Mount::Proc, "/proc").context("could not mount /proc")?;
    let layers = format!("{}/layers", args.dir);
    fs::create_dir_all(&layers).with_context(|| format!("could not create {layers}"))?;
    sys::mount(Mount::Memory, &layers).with_context(|| format!("could not mount {layers}"))?;
    // In a user namespace, directories of the machine's root are not writable; these become the host's.
    overlay(&layers, "/etc", &["systemd/system", "xshield"])?;
    overlay(&layers, "/var", &["cache", "lib", "log", "tmp"])?;
    sys::mount(Mount::Memory, "/run").context("could not mount /run")?;

    replace("/etc/hostname", &format!("{}\n", args.name))?;
    replace(
        "/etc/hosts",
        &format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {}\n", args.name),
    )?;
    replace("/etc/machine-id", &format!("{:0>32}\n", hex(&args.name)))?;
    let resolver = args.resolver.map_or(String::new(), |address| format!("nameserver {address}\n"));
    replace("/etc/resolv.conf", &resolver)
}

fn overlay(layers: &str, directory: &str, own: &[&str]) -> Result<()> {
    let (upper, work) = (format!("{layers}{directory}/upper"), format!("{layers}{directory}/work"));
    let own = own.iter().map(|name| format!("{upper}/{name}"));
    for path in own.chain([work.clone()]) {
        fs::create_dir_all(&path).with_context(|| format!("could not create {path}"))?;
    }
    let options = format!("lowerdir={directory},upperdir={upper},workdir={work}");
    // In a user namespace, the kernel only allows overlays to store their marks in user.* attributes.
    let unprivileged = format!("{options},userxattr");
    sys::mount(Mount::Overlay(&options), directory)
        .or_else(|_| sys::mount(Mount::Overlay(&unprivileged), directory))
        .with_context(|| {
            format!(
                "could not lay a private copy over {directory}; the lab needs overlayfs \
                 (as root any kernel since 4.0, without root Linux 5.11 or later)"
            )
        })
}

/// Replaces a file of the machine by one of the host, even if it is a symbolic link.
pub(crate) fn replace(path: &str, text: &str) -> Result<()> {
    if Path::new(path).symlink_metadata().is_ok() {
        fs::remove_file(path).with_context(|| format!("could not replace {path}"))?;
    }
    fs::write(path, text).with_context(|| format!("could not write {path}"))
}

fn hex(text: &str) -> String {
    text.bytes().take(16).map(|byte| format!("{byte:02x}")).collect()
}
