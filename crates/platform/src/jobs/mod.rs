//! What runs beside requests.

pub mod compile;
pub mod host_configuration;
pub mod maintenance;
pub mod synchronize;
pub mod threat_compile;
pub mod threat_feeds;
