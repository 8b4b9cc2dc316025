//! What the table is called.

/// The table that all of this lives in, of family `inet`.
pub const TABLE: &str = "xshield_threat";
