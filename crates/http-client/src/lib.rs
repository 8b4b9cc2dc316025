//! Requests to servers that operators name: restricted and limited. Blocks.
//!
//! Every hop's name is resolved here, every address is checked, and only a checked address is connected to:
//! DNS rebinding has no effect ([`guard`]). Responses are limited in size and time ([`fetch`], [`body`]).

pub mod body;
pub mod fetch;
pub mod guard;
