//! Parses a body as a report, in bounded time and memory.

use std::io::Read as _;

use axum::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use xshield_wire::bounds::Cut;
use xshield_wire::message::Report;

use super::error::ReportError;
use crate::host_message::read_message;

/// The largest decompressed report, in bytes.
pub(super) const MOST: u64 = 32 << 20;
/// Larger ones are limited separately.
pub(super) const SMALL: u64 = 1 << 20;
/// No real report compresses better than this.
const MAX_RATIO: u64 = 500;
/// The compression window as a power of two: the memory for decompression besides its output.
const WINDOW_LOG: u32 = 23;
/// The magic number of a Zstandard frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A parsed report.
#[derive(Debug)]
pub struct Received {
    /// Its content, within every limit.
    pub(super) report: Report,
    /// What was truncated.
    pub(super) cuts: Vec<Cut>,
    /// Its decompressed length.
    pub(super) bytes: u64,
    /// Its memory reservation.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Received {
    /// Its identifier.
    #[must_use]
    pub fn batch(&self) -> xshield_wire::Bytes<16> {
        self.report.batch
    }
}

/// Why a report was not parsed.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is larger than allowed for.
    Larger,
    /// It can never be parsed.
    Bad(ReportError),
}

/// A decompressed report.
pub(super) struct Read {
    report: Report,
    cuts: Vec<Cut>,
    bytes: u64,
}

impl Read {
    pub(super) fn received(self, permit: OwnedSemaphorePermit) -> Received {
        let Self { report, cuts, bytes } = self;
        Received { report, cuts, bytes, _permit: permit }
    }
}

/// Parses a report of at most the given size, and truncates lists that are too long.
pub(super) fn read(body: &Bytes, most: u64) -> Result<Read, Refused> {
    let unpacked;
    let text: &[u8] = if body.starts_with(&ZSTD_MAGIC) {
        unpacked = unpack(body, most)?;
        &unpacked
    } else {
        body
    };
    let bytes = text.len() as u64;
    if bytes > most {
        return Err(Refused::Larger);
    }
    let mut report: Report = read_message(text).map_err(|error| Refused::Bad(error.into()))?;
    let cuts = report.fit();
    Ok(Read { report, cuts, bytes })
}

fn unpack(body: &[u8], most: u64) -> Result<Vec<u8>, Refused> {
    let refuse = |error: std::io::Error| Refused::Bad(ReportError::Unpack(error));
    let packed = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let unlikely = packed.saturating_mul(MAX_RATIO);
    let limit = most.min(unlikely);
    let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(refuse)?;
    reader.window_log_max(WINDOW_LOG).map_err(refuse)?;
    let mut unpacked = Vec::new();
    reader.take(limit + 1).read_to_end(&mut unpacked).map_err(refuse)?;
    if unpacked.len() as u64 <= limit {
        return Ok(unpacked);
    }
    if most < unlikely {
        return Err(Refused::Larger);
    }
    Err(Refused::Bad(too_large()))
}

/// A report that is never accepted.
pub(super) fn too_large() -> ReportError {
    ReportError::TooLarge { most: MOST, ratio: MAX_RATIO }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_damaged(refused: &Refused) -> bool {
        matches!(refused, Refused::Bad(ReportError::Unpack(_)))
    }

    #[test]
    fn decompression_bombs_and_damaged_reports_are_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; 32 << 20], 19).unwrap();
        let refused = unpack(&bomb, MOST).unwrap_err();
        assert!(matches!(refused, Refused::Bad(ReportError::TooLarge { .. })), "{refused:?}");
        let whole = zstd::bulk::compress(b"{\"version\":1}", 3).unwrap();
        assert_eq!(unpack(&whole, MOST).unwrap(), b"{\"version\":1}");
        for cut in 5..whole.len() {
            let refused = unpack(&whole[..cut], MOST).unwrap_err();
            assert!(is_damaged(&refused), "{cut}: {refused:?}");
        }
        let mut trailing = whole.clone();
        trailing.extend_from_slice(b"tail");
        assert!(is_damaged(&unpack(&trailing, MOST).unwrap_err()));
        let noise: Vec<u8> =
            (0_u32..1 << 20).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let large = zstd::bulk::compress(&noise, 1).unwrap();
        assert!(matches!(unpack(&large, SMALL), Err(Refused::Larger)), "for a place of its own");
        assert_eq!(unpack(&large, MOST).unwrap(), noise);
    }
}
