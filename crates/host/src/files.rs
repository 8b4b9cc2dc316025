//! Files that are either complete or absent, and whose damage is detected.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(windows)]
use crate::windows;

/// First word of a sealed file. A new layout gets a new number.
const MAGIC: &str = "xshield-sealed-1";

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner only: mode 0600; on Windows, SYSTEM and Administrators.
    Private,
    /// Everyone reads, the owner writes: mode 0644; on Windows, as its directory says.
    Public,
}

/// A file that other users could read.
#[derive(Debug)]
pub struct Exposed {
    /// Who could read it, in the system's terms: `mode 644`, `open to BUILTIN\Users`.
    pub to: String,
    /// Whether its permissions could be corrected.
    pub closed: io::Result<()>,
}

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk is full; the previous content is untouched.
    #[error(
        "could not write {path}: the disk is full; the previous content is intact, free some space"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// Writing failed; the previous content is untouched.
    #[error("could not write {path}; the previous content is intact")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// The file exists, but reading it failed.
    #[error("could not read {path}; check its permissions and the disk")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// The content is not what was written. The file was moved aside if possible.
    #[error("{path} is damaged ({reason}){}", moved(.kept))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How the damage was detected.
        reason: String,
        /// The path of the damaged file, kept for inspection.
        kept: Option<PathBuf>,
    },
    /// A value that has no JSON form; a defect of the program.
    #[error("could not write {path}: its content has no JSON form")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The part that can't be encoded.
        #[source]
        source: serde_json::Error,
    },
}

fn moved(kept: &Option<PathBuf>) -> String {
    kept.as_ref().map(|path| format!("; it was moved to {}", path.display())).unwrap_or_default()
}

/// Replaces `path` by `bytes`: the new file is written beside it, flushed and renamed, and the directory
/// flushed. A reader of `path` always sees the old or the new content, even after a power failure.
///
/// Two writers of one path must exclude each other, see [`crate::lock`].
///
/// # Errors
/// [`FileError::Full`] or [`FileError::Write`]; the old content is then untouched.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let beside = sibling(path, ".new");
    let attempt = write_beside(&beside, bytes, access)
        .and_then(|()| replace(&beside, path))
        .and_then(|()| sync_directory(path));
    attempt.map_err(|source| {
        let _ = fs::remove_file(&beside);
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FileError::Full { path, source }
            }
            _ => FileError::Write { path, source },
        }
    })
}

/// Writes `value` as JSON with a checksum; see [`read_state`].
///
/// # Errors
/// As [`write()`], and [`FileError::Encode`].
pub fn write_state<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let payload = serde_json::to_vec(value)
        .map_err(|source| FileError::Encode { path: path.to_owned(), source })?;
    write(path, &seal(&payload), Access::Private)
}

/// Reads a file written by [`write_state`]; `None` if there is none.
///
/// # Errors
/// [`FileError::Damaged`] when the content is not exactly what was written or is not a `T`: the file is then
/// renamed to `….damaged`, so that the next read returns `None`. [`FileError::Read`] otherwise.
pub fn read_state<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(content) = read(path)? else { return Ok(None) };
    let value = unseal(&content).map_err(str::to_owned).and_then(|payload| {
        serde_json::from_slice(payload).map_err(|error| format!("unexpected content: {error}"))
    });
    value.map(Some).map_err(|reason| set_aside(path, reason))
}

/// Reads the whole file; `None` if there is none.
///
/// # Errors
/// [`FileError::Read`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Encodes a header line with the payload's length and SHA-256, followed by the payload.
#[must_use]
pub fn seal(payload: &[u8]) -> Vec<u8> {
    let mut content = header(payload).into_bytes();
    content.extend_from_slice(payload);
    content
}

/// The payload of [`seal`].
///
/// # Errors
/// The reason, if any byte differs from what was sealed.
pub fn unseal(content: &[u8]) -> Result<&[u8], &'static str> {
    let end = content.iter().position(|&byte| byte == b'\n').ok_or("its first line is cut off")?;
    let (head, payload) = content.split_at(end + 1);
    if !head.starts_with(MAGIC.as_bytes()) {
        return Err("it does not start like a file of this program");
    }
    if head == header(payload).as_bytes() { Ok(payload) } else { Err("its checksum is wrong") }
}

fn header(payload: &[u8]) -> String {
    let sum: String =
        digest(&SHA256, payload).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{MAGIC} {} {sum}\n", payload.len())
}

/// Renames a damaged file and returns the error for it.
pub(crate) fn set_aside(path: &Path, reason: String) -> FileError {
    let aside = sibling(path, ".damaged");
    let kept = fs::rename(path, &aside).is_ok().then_some(aside);
    FileError::Damaged { path: path.to_owned(), reason, kept }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn write_beside(beside: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    // A leftover of a killed run, or someone's symbolic link, must not be written through.
    if let Err(error) = fs::remove_file(beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = create(beside, access)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a directory and its parents with access for the owner only, on Windows for SYSTEM and
/// Administrators; an existing one stays as it is.
///
/// # Errors
/// The error returned by the OS.
pub fn private_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
        .recursive(true)
        .create(path);
    #[cfg(windows)]
    windows::private_directory(path)
}

/// Gives a file the name of another one, which it replaces, and waits until that is on the disk.
///
/// # Errors
/// The error returned by the OS.
pub fn replace_file(new: &Path, old: &Path) -> io::Result<()> {
    replace(new, old)?;
    sync_directory(old)
}

/// Opens an empty file for writing with access for the owner only, on Windows for SYSTEM and
/// Administrators.
///
/// # Errors
/// The error returned by the OS.
pub fn private_file(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    return std::os::unix::fs::OpenOptionsExt::mode(&mut OpenOptions::new(), 0o600)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    #[cfg(windows)]
    windows::private_file(path, windows::Before::Anything)
}

/// Removes other users' access to a file; `None` if they had none.
#[must_use]
pub fn close(path: &Path) -> Option<Exposed> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).ok()?.permissions().mode();
        let close = || fs::set_permissions(path, fs::Permissions::from_mode(0o600));
        (mode & 0o077 != 0)
            .then(|| Exposed { to: format!("mode {:o}", mode & 0o777), closed: close() })
    }
    #[cfg(windows)]
    windows::close(path).map(|(to, closed)| Exposed { to, closed })
}

#[cfg(unix)]
fn create(path: &Path, access: Access) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mode = match access {
        Access::Private => 0o600,
        Access::Public => 0o644,
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mode above is subject to the umask; this one is not.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

#[cfg(windows)]
fn create(path: &Path, access: Access) -> io::Result<File> {
    match access {
        Access::Private => windows::private_file(path, windows::Before::Nothing),
        Access::Public => OpenOptions::new().write(true).create_new(true).open(path),
    }
}

#[cfg(unix)]
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    fs::rename(new, old)
}

#[cfg(windows)]
use windows::replace;

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The rename has been written through.
#[cfg(windows)]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sample = Vec<(String, u32)>;

    fn sample() -> Sample {
        vec![("revision".to_owned(), 7), ("sequence".to_owned(), 42)]
    }

    #[test]
    fn state_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(read_state::<Sample>(&path).unwrap(), None);
        write_state(&path, &sample()).unwrap();
        write_state(&path, &sample()).unwrap();
        assert_eq!(read_state::<Sample>(&path).unwrap(), Some(sample()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[cfg(unix)]
    #[test]
    fn state_is_private_under_any_umask() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (access, mode) in [(Access::Private, 0o600), (Access::Public, 0o644)] {
            let path = dir.path().join("file");
            write(&path, b"x", access).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn every_truncation_and_flipped_bit_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_state(&path, &sample()).unwrap();
        let whole = fs::read(&path).unwrap();
        let truncated = (0..whole.len()).map(|end| whole[..end].to_vec());
        let flipped = (0..whole.len() * 8).map(|bit| {
            let mut content = whole.clone();
            content[bit / 8] ^= 1 << (bit % 8);
            content
        });
        for content in truncated.chain(flipped) {
            fs::write(&path, &content).unwrap();
            let error = read_state::<Sample>(&path).unwrap_err();
            let FileError::Damaged { kept: Some(kept), .. } = error else { panic!("{error}") };
            assert_eq!(fs::read(&kept).unwrap(), content, "kept for inspection");
            assert_eq!(read_state::<Sample>(&path).unwrap(), None, "out of the way");
        }
    }

    #[test]
    fn an_intact_file_of_another_type_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_state(&path, &"text").unwrap();
        let error = read_state::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains("unexpected content") && error.contains(".damaged"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write(&path, b"old", Access::Private).unwrap();
        // A directory in place of the temporary file: it can't be removed as a file.
        fs::create_dir(dir.path().join("state.new")).unwrap();
        let error = write(&path, b"new", Access::Private).unwrap_err().to_string();
        assert!(error.contains("intact"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
