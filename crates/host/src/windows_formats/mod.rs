//! How Windows writes down access lists, paths, service identities and versions, and the settings of the
//! time service. Pure; the same on every
//! OS.

pub mod access;
pub mod adapters;
pub mod audit;
pub mod paths;
pub mod service_identity;
pub mod smbios;
pub mod uninstall;
pub mod version;
pub mod w32time;
