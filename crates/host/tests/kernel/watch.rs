use std::collections::BTreeMap;
use std::time::Duration;

use xshield_host::linux::watch::{Fate, Look, Watch};

use super::world::{in_own_network, nft};

const OURS: [&str; 2] = ["xshield", "xshield_threat"];

fn fates(look: Look) -> Vec<(String, Fate)> {
    match look {
        Look::Unchanged => Vec::new(),
        Look::Changed { tables, .. } => BTreeMap::into_iter(tables).collect(),
    }
}

#[test]
fn changes_of_others_show() {
    in_own_network(|| {
        nft("table inet xshield { chain a { }\n }");
        let mut watch = Watch::open(&OURS).unwrap();
        assert_eq!(watch.look().unwrap(), Look::Unchanged);
        let row = |name: &str, fate| (name.to_owned(), fate);
        #[rustfmt::skip]
        let table = [
            ("add table ip other", Fate::Present, Fate::Absent),
            ("add rule inet xshield a drop", Fate::Present, Fate::Absent),
            ("add chain inet xshield b", Fate::Reshaped, Fate::Absent),
            ("add table ip xshield_threat", Fate::Present, Fate::Absent),
            ("add table inet xshield_threat", Fate::Present, Fate::Appeared),
            ("delete table inet xshield", Fate::Gone, Fate::Present),
            ("add table inet xshield", Fate::Appeared, Fate::Present),
            ("delete table inet xshield\nadd table inet xshield", Fate::Replaced, Fate::Present),
            ("flush ruleset", Fate::Gone, Fate::Gone),
            ("add table ip other", Fate::Absent, Fate::Absent),
        ];
        for (rules, policy, threat) in table {
            nft(rules);
            let expected = [row("xshield", policy), row("xshield_threat", threat)];
            assert_eq!(fates(watch.look().unwrap()), expected, "{rules}");
            assert_eq!(watch.look().unwrap(), Look::Unchanged, "{rules}");
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
        let fates = fates(watch.look().unwrap());
        assert!(!fates.is_empty(), "the flush came after");
        nft("table inet xshield { }");
        watch.expect(Watch::open(&OURS).unwrap().generation()).unwrap();
        assert_eq!(watch.wait(Duration::ZERO).unwrap(), Look::Unchanged);
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
            assert_eq!(watch.wait(Duration::ZERO).unwrap(), Look::Unchanged);
            go.send(()).unwrap();
            let look = watch.wait(super::world::TIMEOUT).unwrap();
            assert!(matches!(look, Look::Changed { .. }), "{look:?}");
        });
    });
}
