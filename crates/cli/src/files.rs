//! Downloads: half a file is none, so it has another name until it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::client::{self, Client};
use crate::error::CliError;
use crate::progress::{Left, Shown, Waiting};
use crate::session::failed;
use crate::terminal::{data, output_is_at_terminal};

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// The new one takes its place.
    Replaced,
    /// It stays, and there is no download.
    Kept,
}

/// Downloads to the file `to`; how many bytes.
pub(crate) fn download(
    client: &Client,
    action: &str,
    from: &client::Path,
    to: &Path,
    before: Before,
) -> Result<u64, CliError> {
    if before == Before::Kept && to.symlink_metadata().is_ok() {
        return Err(failed("write", to)(io::ErrorKind::AlreadyExists.into()));
    }
    let mut beside = to.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let left = Left::PartOf { beside: beside.clone(), file: to.to_owned() };
    let waiting = Waiting::begin(action, left, Shown::WhenLong);
    let mut file = File::create(&beside).map_err(failed("write", &beside))?;
    let flags = match before {
        Before::Replaced => RenameFlags::empty(),
        Before::Kept => RenameFlags::NOREPLACE,
    };
    let rename = || Ok(renameat_with(CWD, &beside, CWD, to, flags)?);
    let done = client
        .stream(action, from, &mut file)
        .map_err(|error| match error {
            CliError::Output(source) => failed("write", &beside)(source),
            other => other,
        })
        .and_then(|bytes| {
            file.sync_all().map_err(failed("write", &beside))?;
            waiting.finish_file(to, rename).map_err(failed("write", to))?;
            Ok(bytes)
        });
    if done.is_err() {
        // What went wrong is told; the rest of it helps nobody.
        let _ = fs::remove_file(&beside);
    }
    done
}

/// Downloads to standard output.
pub(crate) fn print(client: &Client, action: &str, from: &client::Path) -> Result<(), CliError> {
    // Two writers on one terminal make neither readable.
    let shown = if output_is_at_terminal() { Shown::Never } else { Shown::WhenLong };
    let _waiting = Waiting::begin(action, Left::PartOfOutput, shown);
    client.stream(action, from, &mut data()).map(|_| ())
}
