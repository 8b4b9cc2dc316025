//! Random access to bytes, with a limit on the total number read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why a database can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The error returned by the OS.
    #[error("could not read")]
    Io(#[from] io::Error),
    /// The content is damaged.
    #[error("{0}")]
    Damaged(&'static str),
}

/// Random access to bytes.
pub trait Source {
    /// The number of bytes.
    ///
    /// # Errors
    /// The error returned by the OS.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// When there are not that many bytes there, or the OS returns an error.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Limits the bytes read to somewhat more than the whole database, since a damaged one may contain cycles.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    size: u64,
    left: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Result<Self, Fault> {
        let size = source.size()?;
        Ok(Self { source, size, left: size.saturating_mul(4).saturating_add(1 << 20) })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let left = self.left.checked_sub(buffer.len() as u64);
        self.left = left.ok_or(Fault::Damaged("its pages refer to each other in a circle"))?;
        match self.source.read_at(at, buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Fault::Damaged("it is cut off"))
            }
            other => Ok(other?),
        }
    }
}

/// Numbers at offsets in a page.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// As [`be16`].
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// As [`be16`].
pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
