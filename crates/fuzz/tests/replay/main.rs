//! Runs every fuzz target with its corpus and with mutations of it.
#![allow(
    unused_attributes,
    unreachable_pub,
    clippy::duplicate_mod,
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the targets are programs of their own elsewhere, and a panic is what they report with"
)]

mod near;
mod seeds;

#[path = "../../../threat/fuzz/fuzz_targets/access_log.rs"]
mod access_log;
#[path = "../../../host/fuzz/fuzz_targets/cloud_metadata.rs"]
mod cloud_metadata;
#[path = "../../../host/fuzz/fuzz_targets/conntrack.rs"]
mod conntrack;
#[path = "../../../threat/fuzz/fuzz_targets/delta.rs"]
mod delta;
#[path = "../../../policy/fuzz/fuzz_targets/documents.rs"]
mod documents;
#[path = "../../../wire/fuzz/fuzz_targets/envelope.rs"]
mod envelope;
#[path = "../../../threat/fuzz/fuzz_targets/feeds.rs"]
mod feeds;
#[path = "../../../threat/fuzz/fuzz_targets/flat.rs"]
mod flat;
#[path = "../../../host/fuzz/fuzz_targets/kernel_log_line.rs"]
mod kernel_log_line;
#[path = "../../../wire/fuzz/fuzz_targets/messages.rs"]
mod messages;
#[path = "../../../host/fuzz/fuzz_targets/nflog.rs"]
mod nflog;
#[path = "../../../host/fuzz/fuzz_targets/os_release.rs"]
mod os_release;
#[path = "../../../server/fuzz/fuzz_targets/reports.rs"]
mod reports;
#[path = "../../../host/fuzz/fuzz_targets/resolv_conf.rs"]
mod resolv_conf;
#[path = "../../../wire/fuzz/fuzz_targets/signature.rs"]
mod signature;
#[path = "../../../threat/fuzz/fuzz_targets/snapshot.rs"]
mod snapshot;
#[path = "../../../host/fuzz/fuzz_targets/software.rs"]
mod software;
#[path = "../../../host/fuzz/fuzz_targets/state_file.rs"]
mod state_file;
#[path = "../../../threat/fuzz/fuzz_targets/store.rs"]
mod store;
#[path = "../../../threat/fuzz/fuzz_targets/text.rs"]
mod text;
#[path = "../../../policy/fuzz/fuzz_targets/texts.rs"]
mod texts;
#[path = "../../../host/fuzz/fuzz_targets/time_servers.rs"]
mod time_servers;
#[path = "../../../firewall/fuzz/fuzz_targets/wfp_xml.rs"]
mod wfp_xml;
#[path = "../../../host/fuzz/fuzz_targets/windows_event.rs"]
mod windows_event;
#[path = "../../../host/fuzz/fuzz_targets/windows_firewall_log.rs"]
mod windows_firewall_log;

/// A target, with the name of its file.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("wfp_xml", wfp_xml::run),
    ("cloud_metadata", cloud_metadata::run),
    ("conntrack", conntrack::run),
    ("kernel_log_line", kernel_log_line::run),
    ("nflog", nflog::run),
    ("os_release", os_release::run),
    ("resolv_conf", resolv_conf::run),
    ("software", software::run),
    ("state_file", state_file::run),
    ("time_servers", time_servers::run),
    ("windows_event", windows_event::run),
    ("windows_firewall_log", windows_firewall_log::run),
    ("documents", documents::run),
    ("texts", texts::run),
    ("access_log", access_log::run),
    ("delta", delta::run),
    ("feeds", feeds::run),
    ("flat", flat::run),
    ("snapshot", snapshot::run),
    ("store", store::run),
    ("text", text::run),
    ("envelope", envelope::run),
    ("messages", messages::run),
    ("signature", signature::run),
    ("reports", reports::run),
];

#[test]
fn every_target_passes_its_corpus_and_mutations() {
    for (name, run) in TARGETS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has no input: put one into crates/fuzz/corpus/{name}");
        for (origin, seed) in seeds {
            for input in near::to(&seed) {
                // Printed if the target panics: its input.
                println!("{name}: {origin}: {}", input.escape_ascii());
                run(&input);
            }
        }
    }
}

#[test]
fn every_target_of_every_crate_is_run() {
    let mut listed: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    assert_eq!(seeds::targets(), listed);
}
