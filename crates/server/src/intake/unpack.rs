//! A body becomes a report, in bounded time and memory.

use std::io::Read as _;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use xshield_wire::bounds::Cut;
use xshield_wire::message::Report;

use crate::host_message::read_message;
use crate::problem::Problem;

/// Largest unpacked report, in bytes.
pub(super) const MOST: u64 = 32 << 20;
/// One that is larger has a place in memory of its own.
pub(super) const SMALL: u64 = 1 << 20;
/// Nothing a host says packs better than this.
const MAX_RATIO: u64 = 500;
/// The packer's window, as a power of two: what unpacking may take besides its output.
const WINDOW_LOG: u32 = 23;
/// A Zstandard frame begins so (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A report that was read.
#[derive(Debug)]
pub struct Received {
    /// What it says, within every bound.
    pub(super) report: Report,
    /// What was cut off.
    pub(super) cuts: Vec<Cut>,
    /// Its length, unpacked.
    pub(super) bytes: u64,
    /// Its place in memory.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Received {
    /// Names it.
    #[must_use]
    pub fn batch(&self) -> xshield_wire::Bytes<16> {
        self.report.batch
    }
}

/// Why a report was not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is larger than was allowed for.
    Larger,
    /// It will never be read.
    Bad(Problem),
}

/// A report, unpacked.
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

/// Reads a report of so many bytes at most, and cuts what is too much of it.
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
    let mut report: Report = read_message(text).map_err(Refused::Bad)?;
    let cuts = report.fit();
    Ok(Read { report, cuts, bytes })
}

fn unpack(body: &[u8], most: u64) -> Result<Vec<u8>, Refused> {
    let refuse = |error: std::io::Error| {
        let title = "The body can't be unpacked";
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid-zstd", title);
        Refused::Bad(problem.detail(error.to_string()))
    };
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

/// A report that is never taken.
pub(super) fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The report is too large").detail(
        format!(
            "at most {MOST} bytes, unpacked, and {MAX_RATIO} for each that is sent; send several \
             reports"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(refused: Refused) -> StatusCode {
        match refused {
            Refused::Larger => StatusCode::CONTINUE,
            Refused::Bad(problem) => problem.status,
        }
    }

    #[test]
    fn bombs_and_damage_are_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; 32 << 20], 19).unwrap();
        assert_eq!(status(unpack(&bomb, MOST).unwrap_err()), StatusCode::PAYLOAD_TOO_LARGE);
        let whole = zstd::bulk::compress(b"{\"version\":1}", 3).unwrap();
        assert_eq!(unpack(&whole, MOST).unwrap(), b"{\"version\":1}");
        for cut in 5..whole.len() {
            let refused = unpack(&whole[..cut], MOST).unwrap_err();
            assert_eq!(status(refused), StatusCode::BAD_REQUEST, "{cut}");
        }
        let mut trailing = whole.clone();
        trailing.extend_from_slice(b"tail");
        assert_eq!(status(unpack(&trailing, MOST).unwrap_err()), StatusCode::BAD_REQUEST);
        let noise: Vec<u8> =
            (0_u32..1 << 20).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let large = zstd::bulk::compress(&noise, 1).unwrap();
        assert!(matches!(unpack(&large, SMALL), Err(Refused::Larger)), "for a place of its own");
        assert_eq!(unpack(&large, MOST).unwrap(), noise);
    }
}
