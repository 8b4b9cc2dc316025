//! Agentless enforcement: one cycle, then it exits.
fn main() {}
