//! The detected capabilities of the kernel, compared with what `nft` can load.

use xshield_firewall::{Capabilities, Firewall};

use crate::packets::Cgroup;
use crate::world::{in_namespace, sh, succeeds};

/// Whether `nft` can load it into a separate table.
fn loads(rules: &str) -> bool {
    sh("nft add table inet other; nft add chain inet other c");
    let loaded = succeeds(&format!("nft '{rules}'"));
    sh("nft delete table inet other");
    loaded
}

/// Kernels without counters of elements ignore them.
fn elements_are_counted() -> bool {
    sh("nft add table inet other");
    let loaded = succeeds(
        "nft 'add set inet other s { type ipv4_addr; counter; }
              add element inet other s { 192.0.2.1 counter }'",
    );
    let listed = sh("nft list table inet other").contains("192.0.2.1 counter packets 0");
    sh("nft delete table inet other");
    loaded && listed
}

#[test]
fn detected_capabilities_match_what_nft_can_load() {
    in_namespace(|| {
        let found = *Firewall::open().unwrap().capabilities();
        let word = |there| if there { "yes" } else { "no" };
        eprintln!(
            "KERNEL: probed: sets of ranges {}, counters of elements {}, recorder {}, cgroups {}, \
             local destinations {}, openers of forwarded flows {}",
            word(found.concat_intervals),
            word(found.element_counters),
            word(found.recorder),
            word(found.cgroups),
            word(found.local_destinations),
            word(found.forwarded)
        );
        // nft finds cgroups by their paths there.
        let cgroup = Cgroup::make()
            .filter(|_| std::path::Path::new("/sys/fs/cgroup").join(Cgroup::NAME).is_dir());
        let nft = Capabilities {
            concat_intervals: loads(
                "add set inet other s { type ipv4_addr . inet_service; flags interval; }
                 add element inet other s { 192.0.2.1-192.0.2.9 . 1-5 }",
            ),
            element_counters: elements_are_counted(),
            recorder: loads(
                "add set inet other s { type ipv4_addr . inet_service; size 16; timeout 1m;
                     flags dynamic,timeout; }
                 add rule inet other c update @s { ip saddr . tcp dport counter }",
            ),
            local_destinations: loads("add rule inet other c fib daddr type local accept"),
            cgroups: match &cgroup {
                Some(_) => loads(&format!(
                    "add rule inet other c socket cgroupv2 level 1 \"{}\"",
                    Cgroup::NAME
                )),
                None => found.cgroups,
            },
            forwarded: loads("add rule inet other c ct original ip saddr 192.0.2.1 accept"),
        };
        assert_eq!(found, nft);
        if cgroup.is_none() {
            eprintln!(
                "SKIPPED: no cgroup v2 at /sys/fs/cgroup that can be written; the rest is checked"
            );
        }
    });
}
