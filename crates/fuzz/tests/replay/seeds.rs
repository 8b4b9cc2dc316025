//! The sources of inputs.

use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The inputs of a target with their origin: its corpus, and similar data of other tests.
pub(crate) fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds = files(&crates().join("fuzz/corpus").join(target), &[]);
    let of_others: &[(&str, &[u8])] = match target {
        "documents" => &[("../examples/shop", &[])],
        "messages" | "envelope" => &[("wire/tests/recorded/v1", &[])],
        // The first byte determines what the rest is.
        "software" => {
            &[("host/src/linux/software/data", &[0]), ("host/src/linux/software/data", &[1])]
        }
        _ => &[],
    };
    for (directory, prefix) in of_others {
        seeds.extend(files(&crates().join(directory), prefix));
    }
    seeds
}

fn files(directory: &Path, prefix: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, [prefix, &fs::read(&path).unwrap()].concat())
    };
    paths.into_iter().filter(|path| path.is_file()).map(read).collect()
}

/// The names of all targets of all crates, in order.
pub(crate) fn targets() -> Vec<String> {
    let mut names = Vec::new();
    for member in fs::read_dir(crates()).unwrap() {
        let targets = member.unwrap().path().join("fuzz/fuzz_targets");
        let Ok(entries) = fs::read_dir(targets) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        let sources = paths.filter(|path| path.extension().is_some_and(|end| end == "rs"));
        names.extend(sources.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    names
}
