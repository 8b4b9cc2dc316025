//! The audit log.

pub use xshield_model::audit_entry::AuditEntry;
