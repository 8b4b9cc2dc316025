//! Paths as programs write them (`C:\Windows\notepad.exe`) and as the kernel writes them
//! (`\Device\HarddiskVolume2\Windows\notepad.exe`).

use std::collections::BTreeMap;

/// No path of Windows has more UTF-16 units.
pub const LONGEST_PATH: usize = 32_767;
/// Where paths of other computers are.
const NETWORK: &str = r"\Device\Mup";
/// A letter may stand for a directory of another, which may again.
const DEEPEST_SUBSTITUTION: usize = 8;

/// What the drive letters of a host stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drives(BTreeMap<char, String>);

/// Why a path has no device path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts nowhere.
    #[error("{0:?} is not a full path: expected a drive letter or \\\\server\\share")]
    NotFull(String),
    /// The host has no such drive.
    #[error("{path:?} is on drive {drive}:, which this host does not have")]
    NoDrive {
        /// The path.
        path: String,
        /// The letter.
        drive: char,
    },
    /// The letters stand for each other.
    #[error("drive {0}: stands for a directory of itself; check it with: subst")]
    Circle(char),
    /// Longer than any path.
    #[error("a path of {0} characters is longer than Windows allows ({LONGEST_PATH})")]
    TooLong(usize),
}

impl FromIterator<(char, String)> for Drives {
    /// Takes letters and what the object manager says they stand for: `\Device\…`, or `\??\C:\…` for a
    /// directory.
    fn from_iter<I: IntoIterator<Item = (char, String)>>(drives: I) -> Self {
        let drives = drives.into_iter();
        Self(drives.map(|(letter, target)| (letter.to_ascii_uppercase(), target)).collect())
    }
}

impl Drives {
    /// The device path, in small letters, as filters and events name executables.
    ///
    /// Letters outside ASCII are made small by Unicode's table, and Windows has its own: where the file
    /// exists, `FwpmGetAppIdFromFileName0` is exact for them, too.
    ///
    /// # Errors
    /// When it is no full path, or on a drive that the host does not have.
    pub fn device_path(&self, path: &str) -> Result<String, PathError> {
        let length = path.encode_utf16().count();
        if length > LONGEST_PATH {
            return Err(PathError::TooLong(length));
        }
        Ok(small(&self.resolved(path, 0)?))
    }

    fn resolved(&self, path: &str, depth: usize) -> Result<String, PathError> {
        let not_full = || PathError::NotFull(path.to_owned());
        let plain = [r"\\?\", r"\\.\", r"\??\"].iter().find_map(|mark| path.strip_prefix(mark));
        let unc = match plain {
            Some(rest) => strip_any_case(rest, r"UNC\"),
            None => path.strip_prefix(r"\\"),
        };
        if let Some(rest) = unc {
            let mut parts = rest.split('\\');
            let named = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
            let is_share = named(parts.next()) && named(parts.next());
            return if is_share { Ok(format!(r"{NETWORK}\{rest}")) } else { Err(not_full()) };
        }
        let path = plain.unwrap_or(path);
        if strip_any_case(path, r"\Device\").is_some() {
            return Ok(path.to_owned());
        }
        let mut characters = path.chars();
        let (Some(letter), Some(':')) = (characters.next(), characters.next()) else {
            return Err(not_full());
        };
        let below = characters.as_str();
        if !letter.is_ascii_alphabetic() || !(below.is_empty() || below.starts_with('\\')) {
            return Err(not_full());
        }
        let drive = letter.to_ascii_uppercase();
        let no_drive = || PathError::NoDrive { path: path.to_owned(), drive };
        let target = self.0.get(&drive).ok_or_else(no_drive)?;
        if let Some(directory) = target.strip_prefix(r"\??\") {
            if depth == DEEPEST_SUBSTITUTION {
                return Err(PathError::Circle(drive));
            }
            let full = match strip_any_case(directory, r"UNC\") {
                Some(share) => format!(r"\\{share}{below}"),
                None => format!("{}{below}", directory.trim_end_matches('\\')),
            };
            return self.resolved(&full, depth + 1);
        }
        Ok(format!("{}{below}", network_target(target).unwrap_or_else(|| target.clone())))
    }

    /// The path as programs write it; `None` where no drive letter of this host leads there.
    #[must_use]
    pub fn dos_path(&self, device_path: &str) -> Option<String> {
        if let Some(rest) = strip_any_case(device_path, NETWORK).and_then(|r| r.strip_prefix('\\'))
        {
            return (!rest.starts_with(';')).then(|| format!(r"\\{rest}"));
        }
        let below = |target: &str| {
            let rest = strip_any_case(device_path, target)?;
            (rest.is_empty() || rest.starts_with('\\')).then_some(rest)
        };
        let drives = self.0.iter().filter(|(_, target)| !target.starts_with(r"\??\"));
        let mut fits = drives.filter_map(|(letter, target)| Some((letter, target, below(target)?)));
        let first = fits.next()?;
        let (letter, _, rest) =
            fits.fold(
                first,
                |longest, next| {
                    if next.1.len() > longest.1.len() { next } else { longest }
                },
            );
        Some(if rest.is_empty() { format!(r"{letter}:\") } else { format!("{letter}:{rest}") })
    }
}

/// What a letter of a network drive stands for: `\Device\LanmanRedirector\;Z:0000000000012345\server\share`,
/// or the same below `\Device\Mup`. The kernel names files there without the connection.
fn network_target(target: &str) -> Option<String> {
    let parts: Vec<&str> = target.split('\\').collect();
    let last = parts.iter().rposition(|part| part.starts_with(';'))?;
    let share = parts.get(last + 1..)?;
    (share.len() >= 2).then(|| format!(r"{NETWORK}\{}", share.join("\\")))
}

/// Windows compares paths without regard to case.
fn strip_any_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// One letter to one letter, and none outside the first plane, as Windows does.
fn small(text: &str) -> String {
    let small = |letter: char| {
        let mut small = letter.to_lowercase();
        match (small.next(), small.next()) {
            (Some(one), None) if letter <= '\u{ffff}' => one,
            _ => letter,
        }
    };
    text.chars().map(small).collect()
}

/// A full path in the form that Windows takes as it is, however long. Relative paths stay as they are.
#[must_use]
pub fn verbatim(path: &[u16]) -> Vec<u16> {
    const BACKSLASH: u16 = b'\\' as u16;
    let joined =
        |mark: &str, rest: &[u16]| mark.encode_utf16().chain(rest.iter().copied()).collect();
    match path {
        [BACKSLASH, BACKSLASH, question, BACKSLASH, ..]
            if [b'?', b'.'].map(u16::from).contains(question) =>
        {
            path.to_vec()
        }
        [BACKSLASH, BACKSLASH, share @ ..] => joined(r"\\?\UNC\", share),
        [_, colon, BACKSLASH, ..] if *colon == u16::from(b':') => joined(r"\\?\", path),
        _ => path.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drives() -> Drives {
        [
            ('C', r"\Device\HarddiskVolume2"),
            ('d', r"\Device\HarddiskVolume21"),
            ('M', r"\Device\HarddiskVolume2\Mounted"),
            ('S', r"\??\C:\Program Files\Shop"),
            ('T', r"\??\S:\"),
            ('U', r"\??\UNC\files\tools"),
            ('X', r"\??\Y:"),
            ('Y', r"\??\X:"),
            ('Z', r"\Device\LanmanRedirector\;Z:00000000000a1b2c\files\tools"),
            ('W', r"\Device\Mup\;LanmanRedirector\;W:00000000000a1b2c\files\tools"),
        ]
        .into_iter()
        .map(|(letter, target)| (letter, target.to_owned()))
        .collect()
    }

    #[test]
    fn paths_become_device_paths() {
        let circle = Err(PathError::Circle('X'));
        let no_drive = Err(PathError::NoDrive { path: r"Q:\a.exe".to_owned(), drive: 'Q' });
        let not_full = |path: &str| Err(PathError::NotFull(path.to_owned()));
        let long = format!(r"C:\{}", "a".repeat(LONGEST_PATH - 3));
        let too_long = format!("{long}a");
        let long_device = format!(r"\device\harddiskvolume2\{}", "a".repeat(LONGEST_PATH - 3));
        #[rustfmt::skip]
        let table = [
            (r"C:\Windows\System32\svchost.exe", Ok(r"\device\harddiskvolume2\windows\system32\svchost.exe")),
            (r"c:\Program Files\A b\C.exe", Ok(r"\device\harddiskvolume2\program files\a b\c.exe")),
            (r"D:\x.exe", Ok(r"\device\harddiskvolume21\x.exe")),
            (r"\\?\C:\x.exe", Ok(r"\device\harddiskvolume2\x.exe")),
            (r"S:\till.exe", Ok(r"\device\harddiskvolume2\program files\shop\till.exe")),
            (r"T:\till.exe", Ok(r"\device\harddiskvolume2\program files\shop\till.exe")),
            (r"\\files\tools\a.exe", Ok(r"\device\mup\files\tools\a.exe")),
            (r"\\?\UNC\files\tools\a.exe", Ok(r"\device\mup\files\tools\a.exe")),
            (r"U:\a.exe", Ok(r"\device\mup\files\tools\a.exe")),
            (r"Z:\a.exe", Ok(r"\device\mup\files\tools\a.exe")),
            (r"W:\a.exe", Ok(r"\device\mup\files\tools\a.exe")),
            (r"\Device\HarddiskVolume2\X.exe", Ok(r"\device\harddiskvolume2\x.exe")),
            ("C:\\ÄÖ\u{130}\u{1f980}\u{10400}.exe", Ok("\\device\\harddiskvolume2\\äö\u{130}\u{1f980}\u{10400}.exe")),
            (&long, Ok(&long_device)),
            (&too_long, Err(PathError::TooLong(LONGEST_PATH + 1))),
            (r"Q:\a.exe", no_drive),
            (r"X:\a.exe", circle),
            ("svchost.exe", not_full("svchost.exe")),
            (r"C:relative.exe", not_full(r"C:relative.exe")),
            (r"\Windows\x.exe", not_full(r"\Windows\x.exe")),
            (r"\\server", not_full(r"\\server")),
            (r"\\server\", not_full(r"\\server\")),
            ("", not_full("")),
            ("ä:\\x", not_full("ä:\\x")),
        ];
        for (path, expected) in table {
            assert_eq!(drives().device_path(path), expected.map(str::to_owned), "{path:.80}");
        }
    }

    #[test]
    fn device_paths_become_program_paths() {
        for (device, expected) in [
            (r"\device\harddiskvolume2\windows\x.exe", Some(r"C:\windows\x.exe")),
            (r"\Device\HarddiskVolume21\x.exe", Some(r"D:\x.exe")),
            (r"\device\harddiskvolume2\mounted\x.exe", Some(r"M:\x.exe")),
            (r"\device\harddiskvolume2", Some(r"C:\")),
            (r"\device\mup\files\tools\a.exe", Some(r"\\files\tools\a.exe")),
            (r"\device\mup\;lanmanredirector\x", None),
            (r"\device\harddiskvolume3\x.exe", None),
            ("System", None),
            ("", None),
        ] {
            assert_eq!(drives().dos_path(device).as_deref(), expected, "{device}");
        }
    }

    #[test]
    fn long_paths() {
        for (path, expected) in [
            (r"C:\a b\c", r"\\?\C:\a b\c"),
            (r"\\server\share\x", r"\\?\UNC\server\share\x"),
            (r"\\?\C:\x", r"\\?\C:\x"),
            (r"\\.\pipe\x", r"\\.\pipe\x"),
            ("x", "x"),
            ("", ""),
        ] {
            let units: Vec<u16> = path.encode_utf16().collect();
            assert_eq!(String::from_utf16(&verbatim(&units)).unwrap(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn paths_round_trip(rest in "(\\\\[a-z0-9 \u{1f980}._-]{1,12}){1,6}", drive in "[CD]") {
            let path = format!("{drive}:{rest}");
            let device = drives().device_path(&path).unwrap();
            prop_assert_eq!(drives().dos_path(&device), Some(path));
        }

        #[test]
        fn any_text_has_a_device_path_or_none(text in "\\PC*|([C-Z?.:;\\\\]|UNC|Device){0,20}") {
            let _ = (drives().device_path(&text), drives().dos_path(&text));
        }
    }
}
