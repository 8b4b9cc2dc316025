//! Which hypervisor a machine runs on, according to its firmware.

/// Texts of the firmware and their meaning. The first match counts.
const MARKS: &[(&str, &str)] = &[
    ("VMware", "vmware"),
    ("innotek GmbH", "virtualbox"),
    ("VirtualBox", "virtualbox"),
    ("Xen", "xen"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("Virtual Machine", "hyperv"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Apple Virtualization", "apple"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("KVM", "kvm"),
    ("QEMU", "qemu"),
    ("Bochs", "qemu"),
];

/// The hypervisor; `None` if no text identifies one.
pub(crate) fn machine(firmware: &[String]) -> Option<&'static str> {
    let said = |mark: &str| firmware.iter().any(|text| text.contains(mark));
    MARKS.iter().find(|(mark, _)| said(mark)).map(|(_, name)| *name)
}
