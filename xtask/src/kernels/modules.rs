//! Which modules of a kernel the firewall and the lab need, by `modules.dep` (depmod(8)).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

/// Modules by the beginning of their names. The kernel loads most of them itself, as on any host.
const WANTED: &[&str] = &[
    // The firewall.
    "nf_",
    "nft_",
    "nfnetlink",
    // Hosts and the switch between them.
    "bridge",
    "dummy",
    "overlay",
    "veth",
    // Owners of sockets, and listening sockets.
    "inet_diag",
    "netlink_diag",
    "sctp",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
];

/// The paths of the wanted modules and of all their dependencies.
///
/// # Errors
/// A line that is not `MODULE: NEEDED…`, or a dependency that is missing.
pub(super) fn needed(modules_dep: &str) -> Result<BTreeSet<String>> {
    closure(modules_dep, |name| WANTED.iter().any(|wanted| name.starts_with(wanted)))
}

fn closure(modules_dep: &str, wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<String>> {
    let mut needs = BTreeMap::new();
    for line in modules_dep.lines().filter(|line| !line.trim().is_empty()) {
        let (module, needed) =
            line.split_once(':').with_context(|| format!("modules.dep: no colon in {line:?}"))?;
        needs.insert(module, needed.split_whitespace().collect::<Vec<_>>());
    }
    let mut open: Vec<&str> = needs.keys().copied().filter(|path| wanted(name(path))).collect();
    let mut found = BTreeSet::new();
    while let Some(module) = open.pop() {
        let needed = needs
            .get(module)
            .with_context(|| format!("modules.dep: {module} is needed and not listed"))?;
        if found.insert(module.to_owned()) {
            open.extend(needed);
        }
    }
    Ok(found)
}

/// `kernel/net/netfilter/nf_tables.ko.xz` is the module `nf_tables`.
fn name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/net/veth.ko:
kernel/net/netfilter/nft_ct.ko.xz: kernel/net/netfilter/nf_tables.ko.xz kernel/net/nf_conntrack.ko.xz
kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko
kernel/net/netfilter/nfnetlink.ko:
kernel/net/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/fs/xfs.ko: kernel/lib/libcrc32c.ko
";

    fn paths(of: impl Fn(&str) -> bool) -> Vec<String> {
        closure(DEP, of).unwrap().into_iter().collect()
    }

    #[test]
    fn a_module_is_loaded_with_exactly_its_dependencies() {
        assert_eq!(paths(|name| name == "veth"), ["kernel/drivers/net/veth.ko"]);
        assert_eq!(
            paths(|name| name == "nft_ct"),
            [
                "kernel/lib/libcrc32c.ko",
                "kernel/net/netfilter/nf_tables.ko.xz",
                "kernel/net/netfilter/nfnetlink.ko",
                "kernel/net/netfilter/nft_ct.ko.xz",
                "kernel/net/nf_conntrack.ko.xz",
            ]
        );
        assert!(paths(|_| false).is_empty());
        assert!(!needed(DEP).unwrap().contains("kernel/fs/xfs.ko"));
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let missing = closure("a/nft_x.ko: a/gone.ko\n", |_| true).unwrap_err().to_string();
        assert_eq!(missing, "modules.dep: a/gone.ko is needed and not listed");
        let cut = closure("a/nft_x.ko\n", |_| true).unwrap_err().to_string();
        assert!(cut.contains("no colon"), "{cut}");
    }
}
