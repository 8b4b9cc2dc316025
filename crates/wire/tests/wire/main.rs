//! Hosts and platform talk, and others try to.

mod envelopes;
mod fixtures;
mod keys;
mod messages;
mod sessions;
mod signatures;
