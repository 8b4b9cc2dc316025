//! Live events: what the rules deny, and what matches the threat list, told within a second.
//!
//! [`hear`] binds the log group and folds packets into flows; [`tell`] says whose they are and sends
//! them. Between the two lies one batch at most: while the platform is slow or out of reach, packets are
//! folded on, and what finds no room is counted. Nothing is kept on disk and nothing is added to a
//! count: the recorder, which cycles read, is the record.
//!
//! The rules hand packets over while this program holds the group. When another program holds it, or
//! live events are off, the next cycle takes those lines out of the rules.

mod account;
mod hear;
pub mod shared;
mod tell;

pub use hear::run as hear;
pub use tell::run as tell;
