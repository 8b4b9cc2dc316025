//! An independent view: what `nft` reads from a host's kernel. Never our own code.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::Host;
use crate::lab::require_tool;

/// A host's whole nftables ruleset as `nft -j list ruleset` prints it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    items: Vec<Value>,
}

impl Kernel {
    /// Reads the ruleset of a host.
    ///
    /// # Errors
    /// When `nft` is missing or fails.
    pub fn read(host: &Host) -> Result<Self> {
        require_tool("nft", "nftables")?;
        let text = host.run("nft", ["-j", "list", "ruleset"])?;
        let mut document: Value = serde_json::from_str(&text).context("nft printed no JSON")?;
        let items = match document["nftables"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        Ok(Self { items })
    }

    /// `family name` of every table.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        self.of_kind("table")
            .map(|table| format!("{} {}", word(&table["family"]), word(&table["name"])))
            .collect()
    }

    /// The items of one kind, e.g. `rule`, `set`, `chain`.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.items.iter().filter_map(move |item| item.get(kind))
    }

    /// The programmed rules as text, without what changes by itself: handles, counts, and elements that
    /// packets add to dynamic sets. Two results are equal if nobody changed a rule.
    #[must_use]
    pub fn programmed(&self) -> Vec<String> {
        const KINDS: [&str; 4] = ["chain", "rule", "set", "map"];
        let kept = self.items.iter().filter(|item| KINDS.iter().any(|k| item.get(k).is_some()));
        kept.cloned().map(|item| settled(item).to_string()).collect()
    }

    /// The items of one kind in one table.
    pub fn in_table<'a>(
        &'a self,
        table: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = &'a Value> + 'a {
        self.of_kind(kind).filter(move |item| item["table"] == table)
    }
}

/// Removes what changes by itself from an item.
fn settled(mut item: Value) -> Value {
    settle(&mut item);
    item
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("handle");
            if let Some(Value::Object(counter)) = fields.get_mut("counter") {
                counter.remove("packets");
                counter.remove("bytes");
            }
            if fields.get("flags").is_some_and(|flags| flags.to_string().contains("dynamic")) {
                fields.remove("elem");
            }
            fields.values_mut().for_each(settle);
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
