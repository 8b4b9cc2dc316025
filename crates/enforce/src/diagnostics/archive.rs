//! A size-limited archive in memory: tar (POSIX.1-1988 ustar), compressed with gzip (RFC 1952).

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The longest file in it, in bytes; of a longer one the end is kept.
const LONGEST: usize = 4 << 20;
const BLOCK: usize = 512;
/// The longest name in a ustar header without prefix.
const LONGEST_NAME: usize = 100;

/// An archive under construction.
pub(crate) struct Archive {
    packed: GzEncoder<Vec<u8>>,
    made: u64,
}

impl Archive {
    /// `made`: the modification time of its files.
    pub(crate) fn new(made: u64) -> Self {
        Self { packed: GzEncoder::new(Vec::new(), Compression::default()), made }
    }

    /// Adds a file. `name`: relative, of plain characters, at most 100 bytes.
    ///
    /// # Errors
    /// When compression fails.
    pub(crate) fn add(&mut self, name: &str, content: &str) -> io::Result<()> {
        let content = content.as_bytes();
        let content = &content[content.len().saturating_sub(LONGEST)..];
        self.packed.write_all(&header(name, content.len(), self.made))?;
        self.packed.write_all(content)?;
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        self.packed.write_all(&[0; BLOCK][..padding])
    }

    /// Completes the archive.
    ///
    /// # Errors
    /// When compression fails.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.packed.write_all(&[0; 2 * BLOCK])?;
        self.packed.finish()
    }
}

fn header(name: &str, length: usize, made: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name.get(..LONGEST_NAME).unwrap_or(name));
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    put(136, &format!("{made:011o}\0"));
    // The checksum is computed with spaces in its own field.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_the_archive() {
        let mut archive = Archive::new(1_790_000_000);
        archive.add("summary.txt", "all is well\n").unwrap();
        archive.add("empty", "").unwrap();
        let long = format!("{}end", "x".repeat(LONGEST));
        archive.add("long", &long).unwrap();
        let packed = archive.finish().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar")
            .args(["-xzf", "-", "-C"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&packed).unwrap();
        assert!(tar.wait().unwrap().success());
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("summary.txt"), "all is well\n");
        assert_eq!(read("empty"), "");
        assert_eq!((read("long").len(), read("long").ends_with("xend")), (LONGEST, true));
    }
}
