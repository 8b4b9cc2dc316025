//! Requests to servers that operators name: guarded, bounded. Blocks.
//!
//! Every hop's name is resolved here, every address is looked at, and only an address that was looked at
//! is connected to: no name can change its mind in between ([`guard`]). What comes back is bounded in
//! bytes and time ([`fetch`], [`body`]).

pub mod body;
pub mod fetch;
pub mod guard;
