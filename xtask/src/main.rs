//! Project tasks: demo, test, ci, bench, layers, dist.
fn main() {}
