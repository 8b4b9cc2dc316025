//! Detects virtual machines and containers by the traces that hypervisors and container engines leave. Hints,
//! not proof: whoever creates the machine may make it look like another.

use std::path::Path;

use super::{read, tidy};
use crate::firmware;

/// The virtualization; a container takes precedence over its machine. `None`: apparently bare metal.
pub(super) fn runs_in(root: &Path) -> Option<String> {
    container(root).or_else(|| machine(root))
}

/// Maker and model.
pub(super) fn hardware(root: &Path) -> Option<String> {
    let field = |name: &str| tidy(&read(root, &format!("sys/class/dmi/id/{name}")));
    let words: Vec<String> =
        [field("sys_vendor"), field("product_name")].into_iter().flatten().collect();
    let board = || tidy(read(root, "sys/firmware/devicetree/base/model").trim_end_matches('\0'));
    if words.is_empty() { board() } else { Some(words.join(" ")) }
}

fn container(root: &Path) -> Option<String> {
    // systemd's convention: the engine sets a variable for the first process.
    // <https://systemd.io/CONTAINER_INTERFACE>
    let environment = read(root, "proc/1/environ");
    let told = environment.split('\0').find_map(|entry| entry.strip_prefix("container="));
    let noted = read(root, "run/systemd/container");
    if let Some(engine) = told.and_then(tidy).or_else(|| tidy(&noted)) {
        return Some(engine);
    }
    if root.join("run/.containerenv").exists() {
        return Some("podman".to_owned());
    }
    if root.join(".dockerenv").exists() {
        return Some("docker".to_owned());
    }
    let release = read(root, "proc/sys/kernel/osrelease");
    if release.contains("Microsoft") || release.contains("WSL") {
        return Some("wsl".to_owned());
    }
    let cgroup = read(root, "proc/1/cgroup");
    let marks = [("kubepods", "kubernetes"), ("docker", "docker"), ("/lxc", "lxc")];
    marks.iter().find(|(mark, _)| cgroup.contains(mark)).map(|(_, name)| (*name).to_owned())
}

fn machine(root: &Path) -> Option<String> {
    let fields = ["sys_vendor", "product_name", "product_version", "bios_vendor", "board_vendor"];
    let firmware: Vec<String> =
        fields.iter().map(|field| read(root, &format!("sys/class/dmi/id/{field}"))).collect();
    if let Some(machine) = firmware::machine(&firmware) {
        return Some(machine.to_owned());
    }
    if read(root, "sys/hypervisor/type").trim() == "xen" {
        return Some("xen".to_owned());
    }
    let info = read(root, "proc/cpuinfo");
    let flags = info.lines().find(|line| line.starts_with("flags"))?;
    flags.split_whitespace().any(|flag| flag == "hypervisor").then(|| "vm".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn virtual_machines_and_containers_are_recognised() {
        const VENDOR: &str = "sys/class/dmi/id/sys_vendor";
        const PRODUCT: &str = "sys/class/dmi/id/product_name";
        const FLAGS: (&str, &str) = ("proc/cpuinfo", "flags\t: fpu hypervisor lm\n");
        #[rustfmt::skip]
        type Row = (&'static [(&'static str, &'static str)], Option<&'static str>, Option<&'static str>);
        let table: &[Row] = &[
            (&[], None, None),
            (
                &[(VENDOR, "Dell Inc.\n"), (PRODUCT, "PowerEdge R650\n")],
                None,
                Some("Dell Inc. PowerEdge R650"),
            ),
            (&[(VENDOR, "VMware, Inc.\n")], Some("vmware"), Some("VMware, Inc.")),
            (&[(VENDOR, "QEMU\n"), (PRODUCT, "KVM\n")], Some("kvm"), Some("QEMU KVM")),
            (
                &[(VENDOR, "Microsoft Corporation"), (PRODUCT, "Virtual Machine")],
                Some("hyperv"),
                Some("Microsoft Corporation Virtual Machine"),
            ),
            (
                &[(VENDOR, "Microsoft Corporation"), (PRODUCT, "Surface Pro")],
                None,
                Some("Microsoft Corporation Surface Pro"),
            ),
            (
                &[(VENDOR, "Amazon EC2"), (PRODUCT, "m5.large")],
                Some("amazon"),
                Some("Amazon EC2 m5.large"),
            ),
            (&[("sys/hypervisor/type", "xen\n")], Some("xen"), None),
            (&[FLAGS], Some("vm"), None),
            (&[FLAGS, ("proc/1/environ", "PATH=/bin\0container=lxc\0")], Some("lxc"), None),
            (&[FLAGS, ("run/systemd/container", "systemd-nspawn\n")], Some("systemd-nspawn"), None),
            (&[FLAGS, (".dockerenv", "")], Some("docker"), None),
            (&[FLAGS, ("run/.containerenv", "")], Some("podman"), None),
            (&[("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n")], Some("kubernetes"), None),
            (&[("proc/1/cgroup", "0::/init.scope\n")], None, None),
            (
                &[("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")],
                Some("wsl"),
                None,
            ),
            (
                &[("sys/firmware/devicetree/base/model", "Raspberry Pi 4\0")],
                None,
                Some("Raspberry Pi 4"),
            ),
        ];
        for (files, expected, made) in table {
            let root = tempfile::tempdir().unwrap();
            for (path, content) in *files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            assert_eq!(runs_in(root.path()).as_deref(), *expected, "{files:?}");
            assert_eq!(hardware(root.path()).as_deref(), *made, "{files:?}");
        }
    }
}
