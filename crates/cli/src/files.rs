//! Downloads: a partial file has another name until it is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::client::{self, Client};
use crate::error::CliError;
use crate::progress::{AfterInterrupt, Shown, Waiting};
use crate::session::failed;
use crate::terminal::{data, output_is_at_terminal};

/// What to do with an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// It is replaced.
    Replaced,
    /// It is kept, and nothing is downloaded.
    Kept,
}

/// Downloads to the file `to`; returns the number of bytes.
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
    let left = AfterInterrupt::PartOf { beside: beside.clone(), file: to.to_owned() };
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
        // The error is reported; the partial file is useless.
        let _ = fs::remove_file(&beside);
    }
    done
}

/// Downloads to standard output.
pub(crate) fn print(client: &Client, action: &str, from: &client::Path) -> Result<(), CliError> {
    // Progress and data on one terminal would both be unreadable.
    let shown = if output_is_at_terminal() { Shown::Never } else { Shown::WhenLong };
    let _waiting = Waiting::begin(action, AfterInterrupt::PartOfOutput, shown);
    client.stream(action, from, &mut data()).map(|_| ())
}
