//! Reading the audit log.

use xshield_api::page::Page;
use xshield_model::audit_entry::AuditEntry;
use xshield_store::Conn;
use xshield_store::audit::{self, AuditFilter};

use crate::error::Result;
use crate::paging::{Paging, paged};

/// The entries, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &AuditFilter,
    paging: Paging<i64>,
) -> Result<Page<AuditEntry>> {
    let entries = audit::list(conn, filter, paging.after, paging.to_read()).await?;
    Ok(paged(entries, paging.limit, |entry| entry.id, |entry| entry))
}
