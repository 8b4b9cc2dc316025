//! The Xshield platform: policy, compiler, signed rulesets, telemetry, API, CLI.
fn main() {}
