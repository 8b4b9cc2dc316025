//! Writing an initramfs: cpio archives in the "newc" format
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive being written. Parent directories are added automatically.
pub(super) struct Archive<W> {
    to: W,
    written: u64,
    inode: u32,
    directories: BTreeSet<String>,
}

/// The mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Executable,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, written: 0, inode: 0, directories: BTreeSet::new() }
    }

    /// `path` is absolute, here and below.
    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut above = String::new();
        for component in Path::new(path).components() {
            let Component::Normal(name) = component else { continue };
            if !above.is_empty() {
                above.push('/');
            }
            above.push_str(&name.to_string_lossy());
            if self.directories.insert(above.clone()) {
                self.entry(&above, DIRECTORY, 0, &mut io::empty())?;
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&mut self, path: &str, mode: Mode, bytes: &[u8]) -> io::Result<()> {
        self.file_of(path, mode, bytes.len() as u64, &mut &bytes[..])
    }

    pub(super) fn file(&mut self, path: &str, mode: Mode, source: &Path) -> io::Result<()> {
        let mut file = File::open(source)?;
        let length = file.metadata()?.len();
        self.file_of(path, mode, length, &mut file)
    }

    /// Completes the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, 0, &mut io::empty())?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn file_of(
        &mut self,
        path: &str,
        mode: Mode,
        length: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.above(path)?;
        let mode = match mode {
            Mode::Plain => FILE,
            Mode::Executable => PROGRAM,
        };
        self.entry(relative(path), mode, length, content)
    }

    fn above(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) => self.directory(parent),
            None => Ok(()),
        }
    }

    /// Header, name and content, each followed by zeros up to a multiple of four bytes.
    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        length: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let too_large = |_| io::Error::other(format!("{name} is too large for an archive"));
        let size = u32::try_from(length).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        self.inode += 1;
        let links = 1;
        // Inode, mode, user, group, links, time, size, device, special device, name, checksum.
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        fields.iter().for_each(|field| header.push_str(&format!("{field:08X}")));
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        let copied = io::copy(&mut content.take(length), &mut self.to)?;
        if copied != length {
            return Err(io::Error::other(format!("{name} became shorter while it was read")));
        }
        self.written += copied;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..usize::try_from(missing).unwrap_or_default()])
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as the kernel's `init/initramfs.c` reads them: name, mode, content.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let (mut offset, mut take) = (0, |offset: &mut usize, length: usize| {
            let (head, rest) = bytes.split_at(length);
            bytes = rest;
            *offset += length;
            head.to_vec()
        });
        loop {
            let header = String::from_utf8(take(&mut offset, 110)).unwrap();
            assert_eq!(&header[..6], "070701");
            let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = take(&mut offset, name_size);
            let padding = offset.next_multiple_of(4) - offset;
            take(&mut offset, padding);
            let content = take(&mut offset, size);
            let padding = offset.next_multiple_of(4) - offset;
            take(&mut offset, padding);
            assert_eq!(name.last(), Some(&0));
            let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
            if name == "TRAILER!!!" {
                return entries;
            }
            entries.push((name, mode, content));
        }
    }

    #[test]
    fn archives_match_the_kernels_format() {
        let mut archive = Archive::new(Vec::new());
        archive.bytes("/init", Mode::Executable, b"#!/bin/sh\n").unwrap();
        archive.directory("/proc").unwrap();
        archive.bytes("/usr/share/some/file", Mode::Plain, b"abc").unwrap();
        archive.bytes("/usr/share/other", Mode::Plain, b"").unwrap();
        let entries = read(&archive.finish().unwrap());
        let expected: [(&str, u32, &[u8]); 7] = [
            ("init", 0o100_755, b"#!/bin/sh\n"),
            ("proc", 0o040_755, b""),
            ("usr", 0o040_755, b""),
            ("usr/share", 0o040_755, b""),
            ("usr/share/some", 0o040_755, b""),
            ("usr/share/some/file", 0o100_644, b"abc"),
            ("usr/share/other", 0o100_644, b""),
        ];
        let expected = expected.map(|(name, mode, content)| (name.into(), mode, content.to_vec()));
        assert_eq!(entries, expected);
    }

    #[test]
    fn entries_of_any_length_are_aligned() {
        for length in 0..9 {
            let mut archive = Archive::new(Vec::new());
            let name = format!("/{}", "n".repeat(length + 1));
            archive.bytes(&name, Mode::Plain, &vec![7; length]).unwrap();
            archive.bytes("/last", Mode::Plain, b"!").unwrap();
            let bytes = archive.finish().unwrap();
            assert_eq!(bytes.len() % 4, 0);
            let entries = read(&bytes);
            assert_eq!(entries.len(), 2, "{entries:?}");
            assert_eq!(entries[0].2.len(), length);
        }
    }
}
