//! "Malicious IP Match": from what hosts and access logs tell to what people are told.
//!
//! | step | module |
//! |---|---|
//! | count once, add what the list knows | [`intake`] |

pub mod intake;
