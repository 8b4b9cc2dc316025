//! The clock offset of a host, as reported to operators. Every signed message carries its time; the signature
//! is checked before.

use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::{Store, assets, commit, problems};
use xshield_wire::message::{self, UnixSeconds};
use xshield_wire::session::MAX_CLOCK_SKEW;

use crate::problem::Answer;

/// Differences up to this many seconds may come from a slow network.
const NOTABLE: u64 = 60;

/// The problem text for a host whose clock shows `host` now; `None` while the difference is small.
pub(super) fn problem(host: UnixSeconds, now: Timestamp) -> Option<message::Problem> {
    let skew = now.unix().abs_diff(host);
    if skew <= NOTABLE {
        return None;
    }
    let way = if host < now.unix() { "behind" } else { "ahead of" };
    // In whole minutes, so that a drifting clock does not fill the history.
    let text = format!(
        "the host's clock is {} min {way} the platform's, which refuses more than {} min: set it, \
         and see that a time service runs",
        skew.div_ceil(60),
        MAX_CLOCK_SKEW / 60
    );
    Some(message::Problem { code: "clock-skew".to_owned(), text })
}

/// Records that a registered host was refused because of its clock: it can't report this itself.
pub(super) async fn note_refused(store: &Store, asset: &AssetId, host: UnixSeconds) -> Answer<()> {
    let now = Timestamp::now();
    let Some(problem) = problem(host, now) else { return Ok(()) };
    let mut tx = store.write().await?;
    if let Some(asset) = assets::by_id(&mut tx, asset.as_str()).await? {
        problems::note(&mut tx, &asset.id, &asset.problems, &[problem], now).await?;
    }
    commit(tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_skew_is_reported_with_its_direction() {
        let now = Timestamp(1_790_000_000);
        #[rustfmt::skip]
        let table: [(i64, Option<&str>); 6] = [
            (0, None),
            (-60, None),
            (60, None),
            (-61, Some("2 min behind the platform's")),
            (61, Some("2 min ahead of the platform's")),
            (-7200, Some("120 min behind the platform's")),
        ];
        for (offset, wanted) in table {
            let got = problem(now.unix().checked_add_signed(offset).unwrap(), now);
            let text = got.map(|problem| problem.text);
            match wanted {
                None => assert_eq!(text, None, "{offset}"),
                Some(wanted) => {
                    assert!(text.as_ref().unwrap().contains(wanted), "{offset}: {text:?}")
                }
            }
        }
    }
}
