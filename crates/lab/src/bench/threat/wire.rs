//! Sizes of real lists and their daily changes compared with general compression of the text, and the
//! platform's times for a million lines: measured by the threat crate's example.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::BenchContext;

/// Other sizes to compare with, by field.
const PACKED: [(&str, &str); 4] = [
    ("gzip_text", "gzip -9 of the text"),
    ("zstd_text", "zstd -19 of the text"),
    ("gzip_diff", "gzip -9 of diff"),
    ("zstd_diff", "zstd -19 of diff"),
];

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let Some(measure) = bench.measure else {
        eprintln!("the threat crate's example was not given (--measure): no sizes");
        return Ok(());
    };
    let output = Command::new(measure).args(bench.feeds).output();
    let output = output.with_context(|| format!("could not start {}", measure.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut totals: BTreeMap<(String, &str), [u64; 2]> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let found: Map<String, Value> = serde_json::from_str(line)?;
        let (Some(Value::String(name)), Some(value)) = (found.get("figure"), found.get("value"))
        else {
            continue;
        };
        let unit = match name.rsplit_once('_') {
            Some((_, unit @ ("bytes" | "us" | "s"))) => unit,
            _ => "",
        };
        let mut whole = json!({"name": name, "value": value, "unit": unit});
        for field in ["list", "day", "days"] {
            if let Some(text) = found.get(field) {
                whole[field] = text.clone();
            }
        }
        let mut alone = true;
        for (field, peer) in PACKED {
            let Some(peer_value) = found.get(field).and_then(Value::as_u64) else { continue };
            let total = totals.entry((name.clone(), peer)).or_default();
            total[0] += value.as_u64().unwrap_or_default();
            total[1] += peer_value;
            let mut line = whole.clone();
            compare(&mut line, peer, value.as_f64().unwrap_or_default(), peer_value);
            println!("{line}");
            alone = false;
        }
        if alone {
            println!("{whole}");
        }
    }
    for ((name, peer), [value, peer_value]) in totals {
        let mut line = json!({"name": name, "value": value, "unit": "bytes", "list": "all"});
        #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
        compare(&mut line, peer, value as f64, peer_value);
        println!("{line}");
    }
    Ok(())
}

fn compare(line: &mut Value, peer: &str, value: f64, peer_value: u64) {
    line["peer"] = peer.into();
    line["peer_value"] = peer_value.into();
    #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    let ratio = value / peer_value as f64;
    line["ratio"] = ratio.into();
}
