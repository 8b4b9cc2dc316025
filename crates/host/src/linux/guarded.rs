//! Files and directories that other users must not change, and files that they must not read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use xshield_wire::message::Problem;

use crate::operating_system::UnguardedError;
use crate::problem;

/// Write permission of group and others.
const WRITABLE: u32 = 0o022;
/// Any permission of group and others.
const OPEN: u32 = 0o077;
/// The sticky bit: in a directory that is writable for all, users may only remove their own files.
const STICKY: u32 = 0o1000;

/// Checks that only root and the user of this program can change a file or directory, or replace it by
/// changing one of its parent directories.
///
/// # Errors
/// [`UnguardedError::Owner`] and [`UnguardedError::Writable`] name who can, and what to do.
pub fn ours_alone(path: &Path) -> Result<(), UnguardedError> {
    let metadata = inspect(path)?;
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(UnguardedError::Owner { path: path.to_owned(), owner });
    }
    refuse_writable(path, metadata.mode())?;
    let path = fs::canonicalize(path)
        .map_err(|source| UnguardedError::Inspect { path: path.to_owned(), source })?;
    for above in path.ancestors().skip(1) {
        let mode = inspect(above)?.mode();
        if mode & STICKY == 0 {
            refuse_writable(above, mode)?;
        }
    }
    Ok(())
}

fn inspect(path: &Path) -> Result<fs::Metadata, UnguardedError> {
    fs::metadata(path).map_err(|source| UnguardedError::Inspect { path: path.to_owned(), source })
}

fn refuse_writable(path: &Path, mode: u32) -> Result<(), UnguardedError> {
    match mode & WRITABLE {
        0 => Ok(()),
        _ => Err(UnguardedError::Writable { path: path.to_owned(), mode: mode & 0o7777 }),
    }
}

/// The problem to report if a file with secrets is accessible to other users. `holds` completes "it holds …".
#[must_use]
pub fn exposed(path: &Path, holds: &str) -> Option<Problem> {
    let mode = fs::metadata(path).ok()?.mode() & 0o7777;
    let told = |path: std::path::Display<'_>| {
        let text = format!(
            "other users can read {path} (mode {mode:o}), and it holds {holds}: chmod 600 \
             {path}. If they are not trusted, replace the secrets that they could read"
        );
        problem("secret-exposed", text)
    };
    (mode & OPEN != 0).then(|| told(path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn paths_writable_by_others_are_refused_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let (above, state) = (dir.path().join("above"), dir.path().join("above/state"));
        fs::create_dir_all(&state).unwrap();
        for (above_mode, mode, culprit) in [
            (0o755, 0o700, None),
            (0o755, 0o755, None),
            (0o755, 0o777, Some(&state)),
            (0o755, 0o1777, Some(&state)),
            (0o755, 0o770, Some(&state)),
            (0o1777, 0o700, None),
            (0o777, 0o700, Some(&above)),
            (0o775, 0o700, Some(&above)),
        ] {
            with_mode(&above, above_mode);
            with_mode(&state, mode);
            let said = ours_alone(&state).map_err(|error| error.to_string());
            match culprit {
                None => assert_eq!(said, Ok(()), "{above_mode:o} {mode:o}"),
                Some(culprit) => {
                    let said = said.unwrap_err();
                    let what_to_do = format!("chmod go-w {}", culprit.display());
                    assert!(said.ends_with(&what_to_do), "{above_mode:o} {mode:o}: {said}");
                }
            }
        }
        let missing = ours_alone(&dir.path().join("none"));
        assert!(matches!(missing, Err(UnguardedError::Inspect { .. })));
    }

    #[test]
    fn paths_owned_by_another_user_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(12_345), None).is_err() {
            eprintln!("SKIPPED: only root gives directories away");
            return;
        }
        let said = ours_alone(dir.path()).unwrap_err().to_string();
        assert!(said.contains("user with id 12345") && said.contains("chown root"), "{said}");
    }

    #[test]
    fn secrets_readable_by_others_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("spark.yaml");
        fs::write(&file, "x").unwrap();
        for (mode, told) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            with_mode(&file, mode);
            let problem = exposed(&file, "the enforcement key");
            assert_eq!(problem.is_some(), told, "{mode:o}");
            if let Some(problem) = problem {
                let what_to_do = format!("chmod 600 {}", file.display());
                assert!(problem.text.contains(&what_to_do), "{problem:?}");
            }
        }
        assert_eq!(exposed(&dir.path().join("none"), "nothing"), None);
    }
}
