//! The complete list, or the complete difference of two revisions, as text: streamed, so that no response is
//! in memory as a whole.

use std::fmt::Write as _;
use std::sync::Arc;

use xshield_api::threat_list::{DiffQuery, ListQuery};
use xshield_store::Store;
use xshield_threat::{Prefix, ThreatSet};

use super::lists::ThreatLists;
use super::revisions::{Compared, addresses, compared, known_or_newest};
use crate::error::Result;

/// The number of lines of a chunk.
const PIECE: usize = 4096;

/// Prefixes that are written with the same sign.
#[derive(Debug)]
struct Part {
    sign: &'static str,
    set: Arc<ThreatSet>,
}

/// Lines about one or several sets of prefixes, in chunks of text.
#[derive(Debug)]
pub struct Lines {
    head: Option<String>,
    parts: Vec<Part>,
    /// The part being written, and its next entry.
    part: usize,
    next: usize,
}

impl Lines {
    fn new(head: String, parts: Vec<Part>) -> Self {
        Self { head: Some(head), parts, part: 0, next: 0 }
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        loop {
            let Part { sign, set } = self.parts.get(self.part)?;
            let v4 = set.v4().iter_from(self.next).map(Prefix::V4);
            let v6 = set.v6().iter_from(self.next.saturating_sub(set.v4().len()));
            let (mut text, mut taken) = (String::new(), 0);
            for prefix in v4.chain(v6.map(Prefix::V6)).take(PIECE) {
                // Writing to a string can't fail.
                let _ = writeln!(text, "{sign}{prefix}");
                taken += 1;
            }
            self.next += taken;
            if taken > 0 {
                return Some(text);
            }
            (self.part, self.next) = (self.part + 1, 0);
        }
    }
}

/// The whole list at a revision: one prefix per line, after a comment that names it.
///
/// # Errors
/// When the revision does not exist or is damaged, or the database fails.
pub async fn list(store: &Store, lists: &impl ThreatLists, query: &ListQuery) -> Result<Lines> {
    let revision = known_or_newest(&mut *store.read().await?, query.revision).await?;
    let head = format!(
        "# threat list, revision {} of {}, {} entries, sha256 {}\n",
        revision.revision,
        revision.created_at.to_rfc3339(),
        revision.entries,
        revision.digest
    );
    let set = addresses(lists, &revision).await?;
    Ok(Lines::new(head, vec![Part { sign: "", set }]))
}

/// Everything that was added and removed between two revisions: `+` or `-` and one prefix per line.
///
/// # Errors
/// When a revision does not exist or is damaged, or the database fails.
pub async fn changes(store: &Store, lists: &impl ThreatLists, query: &DiffQuery) -> Result<Lines> {
    let Compared { from, to, added, removed } = compared(store, lists, query).await?;
    let head = format!(
        "# threat list, revision {from} to {to}, {} entries added and {} removed\n",
        added.len(),
        removed.len()
    );
    let part = |sign, set: ThreatSet| Part { sign, set: set.into() };
    Ok(Lines::new(head, vec![part("+", added), part("-", removed)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_exported_once_for_any_chunking() {
        for (v4, v6) in
            [(0, 0), (1, 0), (0, 1), (PIECE, 0), (PIECE - 1, 2), (PIECE, PIECE), (3 * PIECE + 5, 7)]
        {
            let of_v4 = (0..v4 as u32).map(|n| Prefix::V4(xshield_threat::Net::host(n * 2)));
            let of_v6 = (0..v6 as u128).map(|n| Prefix::V6(xshield_threat::Net::host(n * 2)));
            let set: ThreatSet = of_v4.chain(of_v6).collect();
            let signed = |sign| set.iter().map(move |prefix| format!("{sign}{prefix}"));
            let expected: Vec<String> = signed("+").chain(signed("-")).collect();
            let set: Arc<ThreatSet> = set.clone().into();
            let parts = vec![Part { sign: "+", set: set.clone() }, Part { sign: "-", set }];
            let mut pieces = Lines::new("# head\n".to_owned(), parts);
            assert_eq!(pieces.next().as_deref(), Some("# head\n"));
            let pieces: Vec<String> = pieces.collect();
            assert!(pieces.iter().all(|piece| piece.lines().count() <= PIECE));
            let written = pieces.concat();
            let written: Vec<&str> = written.lines().collect();
            assert_eq!(written, expected, "{v4} and {v6}");
        }
    }
}
