//! What runs beside requests.

pub mod compile;
pub mod maintenance;
pub mod synchronize;
