//! What filters say of the plan that they belong to.

use xshield_policy::Revision;

use crate::plan::Digest;

/// What the filters that match everything say of the plan that they belong to.
pub(super) fn mark(revision: Revision, digest: Digest) -> String {
    format!("revision {revision}, plan {digest}")
}

/// What such a text says; `None` of any other.
pub(super) fn read_mark(text: &str) -> Option<(Revision, Digest)> {
    let (revision, digest) = text.strip_prefix("revision ")?.split_once(", plan ")?;
    Some((Revision(revision.parse().ok()?), digest.parse().ok()?))
}
