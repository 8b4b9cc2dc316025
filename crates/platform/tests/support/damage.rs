//! Damage to files of the platform on its own disk.
#![allow(unreachable_pub, reason = "test programs share it")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::TestPlatform;

/// The files of a kind: `listings`, or `files` (snapshots and deltas).
pub fn stored(platform: &TestPlatform, kind: &str) -> Vec<PathBuf> {
    let dir = platform.data_dir().join("threat").join(kind);
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "there are {kind}");
    files
}

/// The kinds of damage.
#[derive(Debug, Clone, Copy)]
pub enum Damage {
    Flipped,
    Cut,
    Emptied,
    Gone,
}

impl Damage {
    pub const ALL: [Self; 4] = [Self::Flipped, Self::Cut, Self::Emptied, Self::Gone];

    pub fn befall(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::Flipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            }
            Self::Cut => bytes.truncate(bytes.len() - 1),
            Self::Emptied => bytes.clear(),
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}
