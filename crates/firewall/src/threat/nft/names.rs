//! The table's name.

/// The table that contains all of this, of family `inet`.
pub const TABLE: &str = "xshield_threat";
