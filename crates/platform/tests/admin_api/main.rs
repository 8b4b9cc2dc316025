//! The admin API: permissions, refusals, and what is stored.

mod access;
mod policies;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;

fn kind(answer: &Value) -> &str {
    answer["type"].as_str().unwrap_or_default().trim_start_matches("/problems/")
}
