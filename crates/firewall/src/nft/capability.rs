//! Tests the kernel's capabilities with a transaction that fails on purpose.

use super::constants::{
    EXPRESSION_DATA, EXPRESSION_NAME, LIST_ELEMENT, REGISTER32_0, TABLE_NAME, chain, ct, flag,
    message as kind, rule, set,
};
use super::encode::{Expressions, key_length, key_type};
use super::socket::{Batch, Link};
use super::wire::Writer;
use crate::Capabilities;
use crate::error::FirewallError;
use crate::plan::{Family, Field, FieldType, LIVE_COUNTER, LiveGroup};

const PROBE: &str = "xshield_probe";
const CHAIN: &str = "probe";

/// No ruleset is affected and the generation stays the same: the last message fails on purpose, so the kernel
/// reverts the whole batch, after having reported for each message whether it is valid.
pub(crate) fn probe(link: &mut Link) -> Result<Capabilities, FirewallError> {
    let mut batch = Batch::new(None);
    let mut ask = |what: u16, content: &dyn Fn(&mut Writer<'_>)| {
        batch.add(what, flag::CREATE | flag::APPEND, content);
        batch.sequence()
    };
    ask(kind::NEW_TABLE, &|w| w.text(TABLE_NAME, PROBE));
    ask(kind::NEW_CHAIN, &|w| {
        w.text(chain::TABLE, PROBE);
        w.text(chain::NAME, CHAIN);
    });
    let key = [FieldType::Address(Family::V4), FieldType::Port];
    let boxes = ask(kind::NEW_SET, &|w| {
        set_head(w, "boxes", set::INTERVAL | set::CONCAT, &key);
        w.nested(set::DESCRIPTION, |w| {
            w.nested(set::DESCRIPTION_CONCAT, |w| {
                for length in [4, 2] {
                    w.nested(LIST_ELEMENT, |w| w.be32(set::FIELD_LENGTH, length));
                }
            });
        });
    });
    // Kernels without the attribute ignore it, so it is tested whether an invalid value is refused.
    let nonsense = ask(kind::NEW_SET, &|w| {
        set_head(w, "counted", 0, &key);
        w.nested(set::EXPRESSION, |w| {
            w.text(EXPRESSION_NAME, "cmp");
            w.nested(EXPRESSION_DATA, |_| {});
        });
    });
    let flows = ask(kind::NEW_SET, &|w| {
        set_head(w, "flows", set::HAS_TIMEOUT | set::DYNAMIC, &key);
        w.nested(set::DESCRIPTION, |w| w.be32(set::DESCRIPTION_SIZE, 16));
        w.be64(set::TIMEOUT, 1000);
    });
    let record = ask(kind::NEW_RULE, &|w| {
        let key = [Field::Source(Family::V4), Field::DestinationPort];
        line(w, |e| e.record("flows", &key));
    });
    let cgroup = ask(kind::NEW_RULE, &|w| line(w, |e| e.cgroup(1, 1)));
    let fib = ask(kind::NEW_RULE, &|w| line(w, |e| e.local_destination()));
    let original = ask(kind::NEW_RULE, &|w| {
        line(w, |e| {
            e.original(ct::SOURCE_V4, REGISTER32_0);
            e.original(ct::SOURCE_V6, REGISTER32_0);
            e.original(ct::PORT_DESTINATION, REGISTER32_0);
        });
    });
    ask(kind::DEL_TABLE, &|w| w.text(TABLE_NAME, PROBE));
    ask(kind::DEL_TABLE, &|w| w.text(TABLE_NAME, "xshield_probe_never_there"));
    let refused = link.refusals(batch, "probing the features of the kernel")?;
    let taken = |sequence: u32| !refused.contains(&sequence);
    Ok(Capabilities {
        concat_intervals: taken(boxes),
        element_counters: !taken(nonsense),
        recorder: taken(flows) && taken(record),
        cgroups: taken(cgroup),
        local_destinations: taken(fib),
        forwarded: taken(original),
    })
}

/// Whether the kernel supports a rule that sends packets to a log group and counts them with a named counter.
pub(crate) fn can_hand_over(link: &mut Link) -> Result<bool, FirewallError> {
    let mut batch = Batch::of_table(PROBE, None);
    batch.table();
    batch.chain(CHAIN);
    batch.counter(LIVE_COUNTER);
    batch.add(kind::NEW_RULE, flag::CREATE | flag::APPEND, |w| {
        line(w, |e| {
            e.named_counter(LIVE_COUNTER);
            e.log_to(LiveGroup::DEFAULT, "");
        });
    });
    let asked = batch.sequence();
    batch.delete_table();
    batch.add(kind::DEL_TABLE, 0, |w| w.text(TABLE_NAME, "xshield_probe_never_there"));
    let refused =
        link.refusals(batch, "testing whether the kernel can send packets to a log group")?;
    // All except the last message must be accepted.
    Ok(!refused.iter().any(|&sequence| sequence <= asked))
}

fn line(w: &mut Writer<'_>, content: impl FnOnce(&mut Expressions<'_, '_>)) {
    w.text(rule::TABLE, PROBE);
    w.text(rule::CHAIN, CHAIN);
    w.nested(rule::EXPRESSIONS, |w| content(&mut Expressions(w)));
}

fn set_head(w: &mut Writer<'_>, name: &str, flags: u32, key: &[FieldType]) {
    w.text(set::TABLE, PROBE);
    w.text(set::NAME, name);
    w.be32(set::FLAGS, flags);
    w.be32(set::KEY_TYPE, key_type(key));
    w.be32(set::KEY_LENGTH, key_length(key));
    w.be32(set::ID, 0);
}

/// A kernel without nf_tables refuses even the simplest request.
pub(crate) fn no_nf_tables(error: FirewallError) -> FirewallError {
    match error {
        FirewallError::Refused { source, .. }
            if matches!(
                source.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT)
            ) =>
        {
            FirewallError::NoNfTables
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nf_tables_is_named() {
        let refused = |errno| FirewallError::Refused {
            action: "asking",
            source: std::io::Error::from_raw_os_error(errno),
            hint: String::new(),
        };
        for errno in [libc::EOPNOTSUPP, libc::EINVAL, libc::EPROTONOSUPPORT] {
            assert!(matches!(no_nf_tables(refused(errno)), FirewallError::NoNfTables));
        }
        assert!(matches!(no_nf_tables(refused(libc::ENOMEM)), FirewallError::Refused { .. }));
    }
}
