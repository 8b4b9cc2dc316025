//! Mounted file systems that store data on a disk.

use std::collections::BTreeMap;

use xshield_wire::telemetry::Disk;

/// File systems on disks. Others are in memory, are views of these, or are remote: querying the size of a
/// remote one can hang as long as its server is unreachable.
const REAL: [&str; 17] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs", "msdos",
    "nilfs2", "ntfs", "ntfs3", "reiserfs", "vfat", "xfs", "zfs",
];
/// The most disks reported.
const MOST: usize = 256;

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    point: String,
    file_system: String,
    source: String,
}

/// One row for each file system, with the first mount point in the mount table.
pub(super) fn disks(mountinfo: &str) -> Vec<Disk> {
    let disk = |mount: Mount| {
        let space = rustix::fs::statvfs(&mount.point).ok()?;
        Some(Disk {
            mount: mount.point,
            device: mount.source,
            file_system: mount.file_system,
            size: space.f_blocks.saturating_mul(space.f_frsize),
            free: space.f_bavail.saturating_mul(space.f_frsize),
        })
    };
    mounts(mountinfo).into_iter().filter_map(disk).take(MOST).collect()
}

/// `id parent dev root mount-point options… - type source options`, proc_pid_mountinfo(5).
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut order = Vec::new();
    let mut by_device = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut left = left.split(' ').skip(2);
        let (Some(device), Some(_), Some(point)) = (left.next(), left.next(), left.next()) else {
            continue;
        };
        let mut right = right.split(' ');
        let (Some(kind), Some(source)) = (right.next(), right.next()) else { continue };
        let point = unescape(point);
        // A container's root is an overlay on its host's disk, and the only one that it has.
        if !(REAL.contains(&kind) || kind == "overlay" && point == "/") {
            continue;
        }
        // Parts of a btrfs or ZFS pool have their own device numbers but the same source.
        let pool = source.split('/').next().unwrap_or(source);
        let file_system = match kind {
            "btrfs" => source.to_owned(),
            "zfs" => pool.to_owned(),
            _ => device.to_owned(),
        };
        let (file_system_type, source) = (kind.to_owned(), unescape(source));
        by_device.entry(file_system.clone()).or_insert_with(|| {
            order.push(file_system);
            Mount { point, file_system: file_system_type, source }
        });
    }
    order.iter().filter_map(|device| by_device.remove(device)).collect()
}

/// Decodes blanks and similar characters written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[3..]);
            }
            None => {
                bytes.push(b'\\');
                bytes.extend(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_file_systems_are_listed_once() {
        let table = "\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 254:0 /home /mnt/bind rw - ext4 /dev/vda rw
29 27 254:1 / /srv/big\\040disk rw - xfs /dev/mapper/a\\134b rw
30 27 0:50 / /home rw - btrfs /dev/sdb rw
31 27 0:51 / /var rw - btrfs /dev/sdb rw
32 27 0:60 / /tank rw - zfs tank/data rw
33 27 0:61 / /tank/more rw - zfs tank/more rw
34 27 0:70 / /mnt/nfs rw - nfs4 server:/x rw
35 27 0:71 / /run rw - tmpfs tmpfs rw
36 27 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
37 27 0:72 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
nonsense
1 - x";
        let points: Vec<_> =
            mounts(table).into_iter().map(|mount| (mount.point, mount.source)).collect();
        let expected = [
            ("/", "/dev/vda"),
            ("/srv/big disk", "/dev/mapper/a\\b"),
            ("/home", "/dev/sdb"),
            ("/tank", "tank/data"),
        ];
        assert_eq!(points, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let container = mounts("1 0 0:33 / / rw - overlay overlay rw");
        assert_eq!(container[0].file_system, "overlay");
    }

    proptest! {
        #[test]
        fn any_mount_table_is_parsed(text in "[ \\-/\\\\0-9a-zé\n]{0,200}") {
            let _ = mounts(&text);
            let _ = unescape(&text);
        }
    }
}
