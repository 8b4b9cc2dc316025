//! Measures the crate on real lists: `measure DIRECTORY` with `name_date.txt.gz` files; each figure is a JSON
//! line. Days of one name are processed in order of their dates.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;
use xshield_threat::codec::{
    Delta, FlatReader, FlatWriter, Limits, delta, read_snapshot, snapshot,
};
use xshield_threat::compile::{Compiler, Feed};
use xshield_threat::feed::{self, Format, Levels};
use xshield_threat::listing::store;
use xshield_threat::plan::{Expansion, MovesBuilder};
use xshield_threat::protect::special_ranges;
use xshield_threat::{Confidence, Prefix, ThreatSet};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    compile_and_ask()?;
    let Some(directory) = std::env::args().nth(1) else { return Ok(()) };
    for (name, days) in histories(Path::new(&directory))? {
        let mut before: Option<(String, Vec<u8>, ThreatSet)> = None;
        for (day, path) in days {
            let mut text = Vec::new();
            GzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut text)?;
            let set = set(&text)?;
            snapshot_figures(&name, &day, &text, &set)?;
            if let Some((day_before, text_before, set_before)) = &before {
                let days = format!("{day_before}..{day}");
                delta_figures(&name, &days, (text_before, set_before), (&text, &set))?;
            }
            before = Some((day, text, set));
        }
    }
    Ok(())
}

/// Files by the name before their last `_`, then by the part after it.
fn histories(directory: &Path) -> Result<BTreeMap<String, BTreeMap<String, PathBuf>>, Failed> {
    let mut histories: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((name, day)) = file.strip_suffix(".txt.gz").and_then(|it| it.rsplit_once('_'))
        else {
            continue;
        };
        histories.entry(name.to_owned()).or_default().insert(day.to_owned(), path);
    }
    Ok(histories)
}

fn format() -> Format {
    let step = |level: u8| Confidence::new(level * 10).map(|of| (u32::from(level), of));
    Format::Plain { levels: Some(Levels((1..=10).filter_map(step).collect())) }
}

fn set(text: &[u8]) -> Result<ThreatSet, Failed> {
    let (listing, summary) =
        feed::listing(&format(), text, feed::Limits::default(), Confidence::FULL)?;
    if summary.rejected > 0 {
        let samples = summary.samples.iter().take(3).map(|one| (one.line, one.reason.to_string()));
        eprintln!("{} lines rejected, such as {:?}", summary.rejected, samples.collect::<Vec<_>>());
    }
    Ok(listing.set(Confidence::NONE))
}

/// One million distinct pseudo-random addresses in random order, from text to list.
fn compile_and_ask() -> Result<(), Failed> {
    let mut text = String::new();
    for number in 0..1_000_000 {
        text += &format!("{}\n", Ipv4Addr::from(scattered(number)));
    }
    let (mut best, mut list, mut stored) = (f64::MAX, None, Vec::new());
    for _ in 0..5 {
        let begun = Instant::now();
        let (listing, _) =
            feed::listing(&format(), text.as_bytes(), feed::Limits::default(), Confidence::FULL)?;
        let listing = listing.since_of(None, 1_790_000_000);
        stored = store::encode(&listing);
        let feed = Feed { id: "random".parse()?, least: Confidence::NONE, listing };
        let protected = special_ranges();
        list = Some(Compiler { feeds: vec![feed], exceptions: vec![], protected }.compile());
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let Some(list) = list else { return Ok(()) };
    println!("{}", json!({"figure": "threat.compile_1m_s", "value": best}));
    let asked: Vec<Prefix> = list.set().iter().step_by(1_000).collect();
    let begun = Instant::now();
    asked.iter().for_each(|prefix| drop(black_box(list.why(prefix.first()))));
    let each = begun.elapsed().as_secs_f64() * 1e6 / asked.len() as f64;
    println!("{}", json!({"figure": "threat.why_us", "value": each}));

    let begun = Instant::now();
    let bytes = snapshot(list.set());
    let encode = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let read = read_snapshot(&bytes[..], Limits::default())?;
    let decode = begun.elapsed().as_secs_f64();
    assert_eq!(&read, list.set());
    println!(
        "{}",
        json!({"figure": "threat.codec_1m", "bytes": bytes.len(), "encode_s": encode, "decode_s": decode})
    );
    let begun = Instant::now();
    let listing = store::decode(&stored)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"figure": "threat.store_1m", "bytes": stored.len(), "decode_s": seconds, "entries": listing.len()})
    );
    stream(list.set())
}

/// The list on a host's disk, and a day's change of 0.4 % on top of it.
fn stream(base: &ThreatSet) -> Result<(), Failed> {
    let begun = Instant::now();
    let flat = flat(base)?;
    let write = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let mut reader = FlatReader::new(&flat[..], Limits::default())?;
    while reader.read()?.is_some() {}
    let read = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"figure": "threat.flat_1m", "bytes": flat.len(), "write_s": write, "read_s": read})
    );

    let kept = base.iter().enumerate().filter(|(at, _)| at % 500 != 7).map(|(_, prefix)| prefix);
    let new = (2_000_000..2_002_000)
        .map(|number| Prefix::from(IpAddr::from(Ipv4Addr::from(scattered(number)))));
    let target: ThreatSet = kept.chain(new).collect();
    let delta = delta(base, &target);
    let begun = Instant::now();
    let open = || FlatReader::as_base(&flat[..], Limits::default());
    let change = Delta::read(&delta[..], open()?, Limits::default())?;
    let mut moves = MovesBuilder::default();
    let mut changed = FlatWriter::of(Vec::new(), change.to());
    for step in change.steps(open()?) {
        let step = step?;
        moves.note(step);
        step.target().map_or(Ok(()), |prefix| changed.push(prefix))?;
    }
    let (_, trailer) = changed.finish()?;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(trailer.digest, target.digest());
    let moves = moves.finish();
    println!(
        "{}",
        json!({
            "figure": "threat.stream_1m_s", "value": seconds, "delta_bytes": delta.len(),
            "gone": moves.gone().len(), "new": moves.come().len(),
        })
    );
    Ok(())
}

fn flat(set: &ThreatSet) -> Result<Vec<u8>, Failed> {
    let mut writer = FlatWriter::new(Vec::new());
    for prefix in set.iter() {
        writer.push(prefix)?;
    }
    Ok(writer.finish()?.0)
}

/// A reversible mixing of bits (the end of MurmurHash3), so that no number occurs twice.
fn scattered(number: u32) -> u32 {
    let mixed = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}

fn snapshot_figures(name: &str, day: &str, text: &[u8], set: &ThreatSet) -> Result<(), Failed> {
    let bytes = snapshot(set);
    assert_eq!(&read_snapshot(&bytes[..], Limits::default())?, set);
    println!(
        "{}",
        json!({
            "figure": "threat.wire_snapshot_bytes", "list": name, "day": day,
            "value": bytes.len(), "entries": set.len(), "text": text.len(),
            "gzip_text": gzip(text)?, "zstd_text": zstd::encode_all(text, 19)?.len(),
            "bits_per_entry": bytes.len() as f64 * 8.0 / set.len() as f64,
        })
    );
    Ok(())
}

fn delta_figures(
    name: &str,
    days: &str,
    before: (&[u8], &ThreatSet),
    after: (&[u8], &ThreatSet),
) -> Result<(), Failed> {
    let bytes = delta(before.1, after.1);
    let change = Delta::read(&bytes[..], before.1.iter().map(Ok), Limits::default())?;
    assert_eq!(&change.apply(before.1)?, after.1);
    let mut moves = MovesBuilder::default();
    change.steps(before.1.iter().map(Ok)).try_for_each(|step| step.map(|step| moves.note(step)))?;
    let moves = moves.finish();
    assert!(
        before
            .1
            .iter()
            .filter(|prefix| moves.gone().entry(prefix.first()).is_none())
            .eq(after.1.iter().filter(|prefix| moves.come().entry(prefix.first()).is_none()))
    );
    let diff = diff(before.0, after.0)?;
    println!(
        "{}",
        json!({
            "figure": "threat.wire_delta_bytes", "list": name, "days": days,
            "value": bytes.len(), "removed": change.removed().len(), "added": change.added().len(),
            "elements_gone": moves.elements_gone(Expansion::NONE).count(),
            "elements_new": moves.elements_new(Expansion::NONE).count(),
            "diff": diff.len(), "gzip_diff": gzip(&diff)?,
            "zstd_diff": zstd::encode_all(&diff[..], 19)?.len(),
        })
    );
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<usize, Failed> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

/// The output of `diff`.
fn diff(before: &[u8], after: &[u8]) -> Result<Vec<u8>, Failed> {
    let directory = std::env::temp_dir().join(format!("xshield-measure-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let (old, new) = (directory.join("before"), directory.join("after"));
    std::fs::write(&old, before)?;
    std::fs::write(&new, after)?;
    let output = Command::new("diff").arg(&old).arg(&new).output()?;
    std::fs::remove_dir_all(&directory)?;
    Ok(output.stdout)
}
