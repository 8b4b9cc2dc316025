//! The content from a server or a file, with a size limit and decompression.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// A stream of bytes from an external source.
pub type Bytes = Box<dyn Read + Send>;

/// The limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("received more than {0} bytes; raise the feed's limit if that is expected")]
pub struct TooMuch(pub u64);

/// Fails when more than `limit` bytes arrive.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(TooMuch(self.limit)))?;
        Ok(read)
    }
}

/// A web server may compress what is compressed already.
const LAYERS: usize = 2;
/// The memory limit for decompression, as a power of two.
const WINDOW_LOG: u32 = 27;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The bytes, at most `limit` before decompression, decompressed from gzip and zstd. The reader has to limit
/// the output.
///
/// # Errors
/// When the first bytes can't be read.
pub fn unpacked(raw: impl Read + Send + 'static, limit: u64) -> io::Result<Bytes> {
    let mut bytes: Bytes = Box::new(Bounded { inner: raw, left: limit, limit });
    for _ in 0..LAYERS {
        let mut head = Vec::new();
        bytes.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
        let is = |magic: &[u8]| head.starts_with(magic);
        let (gzip, zstd) = (is(&GZIP), is(&ZSTD));
        let whole = BufReader::with_capacity(64 << 10, Cursor::new(head).chain(bytes));
        bytes = if gzip {
            Box::new(MultiGzDecoder::new(whole))
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        } else {
            return Ok(Box::new(whole));
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(raw: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpacked(Cursor::new(raw), limit)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn compressed_and_plain_bodies_are_read() {
        let text = b"1.2.3.4\n".repeat(100);
        let zstd = zstd::bulk::compress(&text, 3).unwrap();
        for raw in [text.clone(), gzip(&text), zstd.clone(), gzip(&gzip(&text)), gzip(&zstd)] {
            assert_eq!(read(raw, 1 << 20).unwrap(), text);
        }
        assert_eq!(read(Vec::new(), 10).unwrap(), b"");
        assert_eq!(read(b"x".to_vec(), 10).unwrap(), b"x");
    }

    #[test]
    fn oversized_and_truncated_bodies_are_errors() {
        let text = b"1.2.3.4\n".repeat(1000);
        let error = read(text.clone(), 100).unwrap_err();
        assert_eq!(error.to_string(), TooMuch(100).to_string());
        let packed = gzip(&text);
        assert!(read(packed[..packed.len() - 4].to_vec(), 1 << 20).is_err(), "its checksum is cut");
        let packed = zstd::bulk::compress(&text, 3).unwrap();
        assert!(read(packed[..packed.len() - 2].to_vec(), 1 << 20).is_err());
    }
}
