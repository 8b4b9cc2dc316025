//! How Windows writes down access lists, paths, service identities and versions. Pure; the same on every
//! OS.

pub mod access;
pub mod adapters;
pub mod audit;
pub mod paths;
pub mod service_identity;
pub mod smbios;
pub mod uninstall;
pub mod version;
