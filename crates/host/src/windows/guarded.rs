//! Files and directories that other users must not change, and files that they must not read.

use std::fs;
use std::io;
use std::path::Path;

use xshield_wire::message::Problem;

use super::{accounts, security};
use crate::operating_system::UnguardedError;
use crate::problem;
use crate::windows_formats::access::{Ability, FileAccess};

/// Sees that nobody but administrators, SYSTEM, and whoever runs this program, can change a file or a
/// directory, or put another in its place: what it is in must not be open to others, either.
///
/// # Errors
/// Who can, and what to do.
pub fn ours_alone(path: &Path) -> Result<(), UnguardedError> {
    let looked = |source| UnguardedError::Inspect { path: path.to_owned(), source };
    if fs::symlink_metadata(path).map_err(looked)?.is_symlink() {
        return Err(UnguardedError::Link { path: path.to_owned() });
    }
    let trusted = accounts::trusted();
    let access = look(path)?;
    if let Some(owner) = access.foreign_owner(&trusted) {
        return Err(UnguardedError::OwnedBy { path: path.to_owned(), who: accounts::shown(owner) });
    }
    refuse(path, &access, Ability::Change, &trusted)?;
    let path = fs::canonicalize(path).map_err(looked)?;
    for above in path.ancestors().skip(1) {
        refuse(above, &look(above)?, Ability::Replace, &trusted)?;
    }
    Ok(())
}

fn look(path: &Path) -> Result<FileAccess, UnguardedError> {
    security::access(path)
        .map_err(|source: io::Error| UnguardedError::Inspect { path: path.to_owned(), source })
}

fn refuse(
    path: &Path,
    access: &FileAccess,
    ability: Ability,
    trusted: &[String],
) -> Result<(), UnguardedError> {
    match access.who_else_can(ability, trusted) {
        None => Ok(()),
        Some(who) => {
            Err(UnguardedError::WritableBy { path: path.to_owned(), who: accounts::shown(who) })
        }
    }
}

/// Says when a file that holds secrets is open to other users. `holds` completes "it holds …".
#[must_use]
pub fn exposed(path: &Path, holds: &str) -> Option<Problem> {
    let access = security::access(path).ok()?;
    let who = accounts::shown(access.who_else_can(Ability::Read, &accounts::trusted())?);
    let path = path.display();
    let text = format!(
        "{who} can read {path}, and it holds {holds}: icacls \"{path}\" /inheritance:r /grant:r \
         *S-1-5-18:F *S-1-5-32-544:F. If they are not trusted, put new ones in the place of what they \
         could read"
    );
    Some(problem("secret-exposed", text))
}
