//! The comments in chain `about`, which say which list is in which slot.

use crate::installed::Slot;
use crate::threat::list::{Counts, InstalledList, ListName};

/// Identifies the layout; a table with another layout is rebuilt.
const LAYOUT: &str = "xshield-threat/1";

/// Two comments, each short enough for nft.
pub(super) fn comments(list: &InstalledList) -> [String; 2] {
    let InstalledList { slot, list: ListName { revision, digest, counts }, guard } = list;
    [format!("{LAYOUT} {slot} {revision} {digest}"), format!("{counts} {guard}")]
}

/// Parses them; `None`: they are not ours, or of another layout.
pub(super) fn parse(comments: &[&str]) -> Option<InstalledList> {
    let [name, sizes] = comments else { return None };
    let mut words = name.split(' ');
    if words.next() != Some(LAYOUT) {
        return None;
    }
    let slot = match words.next()? {
        "a" => Slot::A,
        "b" => Slot::B,
        _ => return None,
    };
    let revision = words.next()?.parse().ok()?;
    let digest = words.next()?.parse().ok()?;
    let mut words = sizes.split(' ');
    let mut pair = || {
        let (hosts, nets) = words.next()?.split_once('+')?;
        Some((hosts.parse().ok()?, nets.parse().ok()?))
    };
    let ((hosts4, nets4), (hosts6, nets6)) = (pair()?, pair()?);
    let counts = Counts { hosts4, nets4, hosts6, nets6 };
    let guard = words.next()?.to_owned();
    Some(InstalledList { slot, list: ListName { revision, digest, counts }, guard })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Digest;

    #[test]
    fn comments_round_trip_and_fit() {
        let most = u32::MAX;
        let counts = Counts { hosts4: most, nets4: most, hosts6: most, nets6: most };
        for slot in [Slot::A, Slot::B] {
            let list = ListName { revision: u64::MAX, digest: Digest([0xab; 32]), counts };
            let standing =
                InstalledList { slot, list, guard: "0123456789abcdef01234567".to_owned() };
            let written = comments(&standing);
            assert!(written.iter().all(|comment| comment.len() <= 126), "{written:?}");
            let [name, sizes] = &written;
            assert_eq!(parse(&[name, sizes]), Some(standing));
        }
        assert_eq!(parse(&["xshield-threat/0 a 1 00", "1+2 3+4 x"]), None);
        assert_eq!(parse(&[]), None);
    }
}
