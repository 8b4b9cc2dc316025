use std::collections::BTreeMap;
use std::time::Duration;

use xshield_host::linux::watch::{TableChange, Watch, WatchResult};

use super::world::{in_own_network, nft};

const OURS: [&str; 2] = ["xshield", "xshield_threat"];

fn changes(result: WatchResult) -> Vec<(String, TableChange)> {
    match result {
        WatchResult::Unchanged => Vec::new(),
        WatchResult::Changed { tables, .. } => BTreeMap::into_iter(tables).collect(),
    }
}

#[test]
fn changes_by_others_are_seen() {
    in_own_network(|| {
        nft("table inet xshield { chain a { }\n }");
        let mut watch = Watch::open(&OURS).unwrap();
        assert_eq!(watch.check().unwrap(), WatchResult::Unchanged);
        let row = |name: &str, fate| (name.to_owned(), fate);
        #[rustfmt::skip]
        let table = [
            ("add table ip other", TableChange::Present, TableChange::Absent),
            ("add rule inet xshield a drop", TableChange::Present, TableChange::Absent),
            ("add chain inet xshield b", TableChange::Reshaped, TableChange::Absent),
            ("add table ip xshield_threat", TableChange::Present, TableChange::Absent),
            ("add table inet xshield_threat", TableChange::Present, TableChange::Appeared),
            ("delete table inet xshield", TableChange::Gone, TableChange::Present),
            ("add table inet xshield", TableChange::Appeared, TableChange::Present),
            ("delete table inet xshield\nadd table inet xshield", TableChange::Replaced, TableChange::Present),
            ("flush ruleset", TableChange::Gone, TableChange::Gone),
            ("add table ip other", TableChange::Absent, TableChange::Absent),
        ];
        for (rules, policy, threat) in table {
            nft(rules);
            let expected = [row("xshield", policy), row("xshield_threat", threat)];
            assert_eq!(changes(watch.check().unwrap()), expected, "{rules}");
            assert_eq!(watch.check().unwrap(), WatchResult::Unchanged, "{rules}");
        }
    });
}

#[test]
fn own_changes_are_expected_and_later_ones_are_not() {
    in_own_network(|| {
        let mut watch = Watch::open(&OURS).unwrap();
        nft("table inet xshield { }");
        let own = Watch::open(&OURS).unwrap().generation();
        nft("flush ruleset");
        watch.expect(own).unwrap();
        let changes = changes(watch.check().unwrap());
        assert!(!changes.is_empty(), "the flush came after");
        nft("table inet xshield { }");
        watch.expect(Watch::open(&OURS).unwrap().generation()).unwrap();
        assert_eq!(watch.wait(Duration::ZERO).unwrap(), WatchResult::Unchanged);
    });
}

#[test]
fn waiting_ends_with_a_change() {
    in_own_network(|| {
        let mut watch = Watch::open(&OURS).unwrap();
        let (go, gone) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                gone.recv().unwrap();
                nft("table inet xshield { }");
            });
            assert_eq!(watch.wait(Duration::ZERO).unwrap(), WatchResult::Unchanged);
            go.send(()).unwrap();
            let check = watch.wait(super::world::TIMEOUT).unwrap();
            assert!(matches!(check, WatchResult::Changed { .. }), "{check:?}");
        });
    });
}
