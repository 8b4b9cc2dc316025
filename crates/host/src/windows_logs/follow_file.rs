//! Reads `pfirewall.log` from run to run: each complete line once. When the file is full, Windows renames it
//! to `pfirewall.log.old` and begins a new one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::firewall_log::{FirewallLine, FirewallLog};

/// A longer line is not one of Windows Firewall's.
const LONGEST_LINE: u64 = 16 << 10;
/// The number of bytes before the offset that identify a file.
const MARKED: u64 = 256;
/// The start of the line that names the columns.
const COLUMNS: &str = "#Fields:";

/// How far the file has been read. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    offset: u64,
    /// Identifies the file: the start of the SHA-256 of the bytes before the offset.
    mark: String,
    /// The last line that named the columns; empty if there was none.
    columns: String,
    /// Identifies the end of the renamed file; empty if there was none. New files all begin with the same
    /// lines: only this shows that one has taken the place of another before anything else was written.
    renamed: String,
}

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBatch {
    /// The lines, the oldest first.
    pub lines: Vec<FirewallLine>,
    /// Lines that could not be parsed.
    pub unreadable: u64,
    /// Whether lines may be missing: the file that was read last is gone.
    pub has_gap: bool,
    /// Where the next read begins.
    pub position: FilePosition,
}

/// Reads at most `most` lines after `position` from `path`, and before them the rest of the file that
/// Windows renamed. Without a position, only the columns are read.
///
/// # Errors
/// If the file can't be read; the position stays valid.
pub fn follow_file(
    path: &Path,
    position: Option<&FilePosition>,
    most: usize,
) -> io::Result<FileBatch> {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    let mut old = File::open(Path::new(&name)).ok();
    let renamed = old.as_mut().map(end_mark).transpose()?.unwrap_or_default();
    let mut file = File::open(path)?;
    let mut reading = Reading { most, renamed, ..Reading::default() };
    let Some(position) = position else {
        reading.read(&mut file, 0, Use::Columns)?;
        return reading.finish(&mut file, false);
    };
    reading.use_columns(&position.columns);
    let is_same = is_at(&mut file, position)?;
    let may_be_renamed = !is_same || reading.renamed != position.renamed;
    let is_renamed = match &mut old {
        Some(old) => may_be_renamed && is_at(old, position)?,
        None => false,
    };
    let rest = old.filter(|_| is_renamed);
    let has_gap = !is_same && rest.is_none();
    let begin = if is_same && rest.is_none() { position.offset } else { 0 };
    if let Some(mut rest) = rest {
        reading.read(&mut rest, position.offset, Use::Lines)?;
        if reading.is_full() {
            return reading.finish(&mut rest, false);
        }
    }
    reading.read(&mut file, begin, Use::Lines)?;
    reading.finish(&mut file, has_gap)
}

/// Whether this is the file that was read up to the position.
fn is_at(file: &mut File, position: &FilePosition) -> io::Result<bool> {
    let is_long_enough = position.offset <= file.metadata()?.len();
    Ok(is_long_enough && mark(file, position.offset)? == position.mark)
}

fn end_mark(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    mark(file, length)
}

fn mark(file: &mut File, offset: u64) -> io::Result<String> {
    let size = offset.min(MARKED);
    file.seek(SeekFrom::Start(offset - size))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    let sum = digest(&SHA256, &bytes);
    Ok(sum.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// What lines are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Only those that name the columns count.
    Columns,
    Lines,
}

/// A read under way.
#[derive(Default)]
struct Reading {
    most: usize,
    log: FirewallLog,
    columns: String,
    lines: Vec<FirewallLine>,
    unreadable: u64,
    offset: u64,
    renamed: String,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.lines.len() >= self.most
    }

    fn use_columns(&mut self, line: &str) {
        // A line that names columns is never refused.
        if self.log.line(line).is_ok() {
            self.columns = line.to_owned();
        }
    }

    /// Reads complete lines from `offset` on.
    fn read(&mut self, file: &mut File, offset: u64, purpose: Use) -> io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while purpose == Use::Columns || !self.is_full() {
            line.clear();
            let size = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            let is_complete = line.ends_with(b"\n");
            if !is_complete && (size as u64) < LONGEST_LINE {
                break;
            }
            self.offset += size as u64;
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if text.starts_with(COLUMNS) {
                self.use_columns(text);
            } else if purpose == Use::Lines {
                match self.log.line(text) {
                    Ok(line) => self.lines.extend(line),
                    Err(_) => self.unreadable += 1,
                }
            }
        }
        Ok(())
    }

    fn finish(self, file: &mut File, has_gap: bool) -> io::Result<FileBatch> {
        let position = FilePosition {
            offset: self.offset,
            mark: mark(file, self.offset)?,
            columns: self.columns,
            renamed: self.renamed,
        };
        Ok(FileBatch { lines: self.lines, unreadable: self.unreadable, has_gap, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows_logs::Detail;
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::path::PathBuf;

    const HEADER: &str = "#Version: 1.5\r\n#Software: Microsoft Windows Firewall\r\n\r\n\
        #Fields: date time action protocol src-ip dst-ip src-port dst-port size tcpflags tcpsyn tcpack \
        tcpwin icmptype icmpcode info path\r\n\r\n";

    fn line(port: u16) -> String {
        format!(
            "2026-11-30 12:00:00 DROP TCP 10.0.0.9 10.0.0.5 {port} 445 0 - 0 0 0 - - - RECEIVE\r\n"
        )
    }

    struct Log {
        _dir: tempfile::TempDir,
        path: PathBuf,
        position: Option<FilePosition>,
    }

    impl Log {
        fn new(content: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("pfirewall.log");
            fs::write(&path, content).unwrap();
            Self { _dir: dir, path, position: None }
        }

        fn append(&self, text: &str) {
            let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// As Windows does when the file is full.
        fn rename(&self) {
            fs::rename(&self.path, self.path.with_extension("log.old")).unwrap();
            fs::write(&self.path, HEADER).unwrap();
        }

        /// The remote ports of what is read, and whether there is a gap.
        fn read(&mut self, most: usize) -> (Vec<u16>, u64, bool) {
            let batch = follow_file(&self.path, self.position.as_ref(), most).unwrap();
            let kept = serde_json::to_string(&batch.position).unwrap();
            self.position = Some(serde_json::from_str(&kept).unwrap());
            let port = |line: &FirewallLine| match line {
                FirewallLine::Flow { detail: Detail::Ports { remote, .. }, .. } => *remote,
                other => panic!("{other:?}"),
            };
            (batch.lines.iter().map(port).collect(), batch.unreadable, batch.has_gap)
        }
    }

    #[test]
    fn each_line_is_read_once() {
        let mut log = Log::new(&(HEADER.to_owned() + &line(1)));
        assert_eq!(log.read(10), (vec![], 0, false), "lines from before the first run");
        assert_eq!(log.read(10), (vec![], 0, false));
        log.append(&line(2));
        log.append(&line(3)[..40]);
        assert_eq!(log.read(10), (vec![2], 0, false), "a line that is being written waits");
        log.append(&line(3)[40..]);
        log.append("2026-11-30 12:00:00 DROP TCP nonsense\r\n");
        log.append(&line(4));
        assert_eq!(log.read(1), (vec![3], 0, false));
        assert_eq!(log.read(10), (vec![4], 1, false));
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end() {
        let mut log = Log::new(HEADER);
        assert_eq!(log.read(10), (vec![], 0, false));
        (1..=3).for_each(|port| log.append(&line(port)));
        assert_eq!(log.read(1), (vec![1], 0, false));
        log.rename();
        log.append(&line(4));
        assert_eq!(log.read(1), (vec![2], 0, false));
        assert_eq!(log.read(10), (vec![3, 4], 0, false));
        assert_eq!(log.read(10), (vec![], 0, false));
    }

    #[test]
    fn a_partly_read_file_is_read_to_its_end() {
        let mut log = Log::new(HEADER);
        log.read(10);
        log.append(&line(1));
        log.rename();
        assert_eq!(log.read(10), (vec![1], 0, false));
        assert_eq!(log.read(10), (vec![], 0, false));
        log.append(&line(2));
        log.rename();
        log.append(&line(3));
        assert_eq!(log.read(10), (vec![2, 3], 0, false));
    }

    #[test]
    fn a_missing_file_is_a_gap() {
        let mut log = Log::new(&(HEADER.to_owned() + &line(1)));
        log.read(10);
        log.rename();
        log.append(&line(2));
        log.rename();
        log.append(&line(3));
        assert_eq!(log.read(10), (vec![3], 0, true));
        fs::write(&log.path, HEADER).unwrap();
        fs::remove_file(log.path.with_extension("log.old")).unwrap();
        assert_eq!(log.read(10), (vec![], 0, true), "emptied");
        fs::remove_file(&log.path).unwrap();
        assert!(follow_file(&log.path, log.position.as_ref(), 10).is_err());
    }

    #[test]
    fn an_endless_line_is_skipped_in_bounded_memory() {
        let mut log = Log::new(HEADER);
        log.read(10);
        log.append(&"x".repeat(100_000));
        log.append("\r\n");
        log.append(&line(5));
        let (ports, unreadable, has_gap) = log.read(10);
        assert_eq!((ports, has_gap), (vec![5], false));
        assert!(unreadable > 0);
    }
}
