//! Lists parts of a table: its handle, sets and counters.

use super::constants::{TABLE_HANDLE, message as kind, object};
use super::decode::{ReadCounter, ReadSet};
use super::socket::Link;
use super::wire::Writer;
use crate::error::FirewallError;

/// The handle that the kernel assigned to a table; 0 if there is none.
pub(crate) fn table_handle(
    link: &mut Link,
    table: &str,
    action: &'static str,
) -> Result<u64, FirewallError> {
    link.list(
        kind::GET_TABLE,
        table,
        action,
        |_| {},
        |handle: &mut u64, answer| {
            *handle = answer.be64(TABLE_HANDLE).unwrap_or(0);
        },
    )
}

/// All sets of a table.
pub(crate) fn sets(
    link: &mut Link,
    table: &str,
    action: &'static str,
) -> Result<Vec<ReadSet>, FirewallError> {
    let result = link.list(
        kind::GET_SET,
        table,
        action,
        |_| {},
        |found: &mut Vec<_>, answer| {
            found.extend(ReadSet::of(answer));
        },
    );
    match result {
        Err(FirewallError::Refused { source, .. }) if is_missing(&source) => Ok(Vec::new()),
        other => other,
    }
}

/// All named counters of a table; none on kernels that do not support them (before Linux 4.10).
pub(crate) fn counters(
    link: &mut Link,
    table: &str,
    action: &'static str,
) -> Result<Vec<ReadCounter>, FirewallError> {
    let counters = |w: &mut Writer<'_>| w.be32(object::TYPE, object::COUNTER);
    let result =
        link.list(kind::GET_OBJECT, table, action, counters, |found: &mut Vec<_>, answer| {
            if answer.be32(object::TYPE) == Some(object::COUNTER) {
                found.extend(ReadCounter::of(answer));
            }
        });
    match result {
        Err(FirewallError::Refused { source, .. })
            if is_missing(&source)
                || matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

pub(crate) fn is_missing(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}
