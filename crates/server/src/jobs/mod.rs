//! Background jobs.

pub mod compile;
pub mod host_configuration;
pub mod maintenance;
pub mod pace;
pub mod recover;
pub mod supervise;
pub mod threat_compile;
pub mod threat_feeds;
