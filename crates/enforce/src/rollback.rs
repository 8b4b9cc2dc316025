//! A platform that wants something older than this host has had was restored from a backup. Nothing older is
//! accepted; the platform is sent what it signed since, and then assigns higher numbers.

use xshield_wire::Verified;
use xshield_wire::envelope::Envelope;
use xshield_wire::message::{CheckInAnswer, Held};
use xshield_wire::threat::ThreatOrder;

use crate::core::known_good::LastKnownGood;
use crate::core::policy::PolicyPart;
use crate::core::threat::ThreatPart;
use crate::exchange::{CheckInState, Exchange};
use crate::progress::Progress;
use crate::run::Run;

/// What this host holds that the platform signed.
#[derive(Clone, Copy)]
pub(crate) struct SignedState<'a> {
    pub(crate) ruleset: Option<&'a LastKnownGood>,
    pub(crate) order: Option<&'a Verified<ThreatOrder>>,
}

impl SignedState<'_> {
    /// The newest that the platform signed for this host, as evidence.
    pub(crate) fn evidence(&self, progress: &Progress) -> Held {
        let read = |bytes: &[u8]| Envelope::from_bytes(bytes).ok();
        let label = self.ruleset.and_then(|known| known.ruleset.label());
        let newest = progress.newest_label.as_deref().map(str::as_bytes);
        let order = self.order.map(Verified::envelope);
        let newest_order = progress.threat.newest.as_deref().map(str::as_bytes);
        Held {
            ruleset: newest.or(label).and_then(read),
            threat: newest_order.or(order).and_then(read),
        }
    }
}

/// Lets such a platform catch up; returns what it wants then.
pub(crate) fn let_catch_up(
    answer: CheckInAnswer,
    run: &mut Run<'_>,
    exchange: &mut Exchange<'_>,
    state_to_report: CheckInState,
    policy: &PolicyPart,
    threat: &ThreatPart,
) -> CheckInAnswer {
    let signed = SignedState { ruleset: policy.proven(), order: threat.order() };
    let is_behind = |answer: &CheckInAnswer, progress: &Progress| {
        let ruleset = answer.wanted.map(|wanted| wanted.revision);
        let sequence = answer.threat.map(|wanted| wanted.sequence);
        let floor = policy.floor(progress.ruleset_floor()).revision;
        ruleset.is_some_and(|revision| revision < floor)
            || sequence.is_some_and(|sequence| sequence < threat.floor(&progress.threat))
    };
    if !is_behind(&answer, &run.progress) {
        return answer;
    }
    let evidence = signed.evidence(&run.progress);
    let Some(later) = exchange.show(run, state_to_report, evidence) else { return answer };
    if !is_behind(&later, &run.progress) {
        let text = "the platform had forgotten what this host was told: it was restored from a \
                    backup. It has assigned higher numbers than this host has had, and continues";
        run.note("platform-restored", text.to_owned());
    }
    later
}

/// Reports that the platform still wants something older.
pub(crate) fn stays_behind(run: &mut Run<'_>, wanted: &str, floor: &str) {
    run.note(
        "platform-behind",
        format!(
            "the platform wants {wanted}, and this host has had {floor}: the platform was \
             restored from an older backup, and did not accept the newer version that this host \
             sent. What is enforced stays in force. Upgrade the platform, or commit the policy \
             until its number is higher: xshield policy synchronize"
        ),
    );
}
