//! The plan in a real kernel, each test in network namespaces of its own. `nft` reads independently.
#![cfg(target_os = "linux")]

mod lifecycle;
mod packets;
mod policies;
mod world;
