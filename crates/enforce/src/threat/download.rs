//! Fetches the files of a list from the platform to disk.

use std::fs::File;
use std::io::{self, Write};

use ring::digest::{Context, SHA256};
use xshield_wire::threat::ThreatFile;

use super::error::ListFileError;
use super::store::Store;
use crate::client::Client;
use crate::environment::Downloaded;

/// Downloads the file with this number of a path; `watch` is told how far it is.
pub(super) fn download(
    client: &mut Client<'_>,
    store: &Store,
    watch: fn(Downloaded),
    number: usize,
    file: &ThreatFile,
) -> Result<(), ListFileError> {
    let path = store.fetched(number);
    let whole = file.bytes;
    let begin = || {
        let file = store.begin(&path).map_err(io::Error::other)?;
        Ok(HashingWriter { file, sum: Context::new(&SHA256), bytes: 0, whole, watch })
    };
    let HashingWriter { sum, bytes, .. } = client.threat_file(file, begin)?;
    match bytes == file.bytes && sum.finish().as_ref() == file.sha256.0 {
        true => Ok(()),
        false => Err(ListFileError::WrongFile),
    }
}

/// A file whose SHA-256 is computed while it is written.
struct HashingWriter {
    file: File,
    sum: Context,
    bytes: u64,
    /// The expected number of bytes.
    whole: u64,
    watch: fn(Downloaded),
}

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        (self.watch)(Downloaded { bytes: self.bytes, whole: self.whole });
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
