//! Whatever a package database holds: an inventory or a reason, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::software::{
    RpmDatabase, Source, dpkg_packages, rpm_package, rpm_packages,
};

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| {
    let (kind, database, log) = input;
    let log = (!log.is_empty()).then_some(&log as &dyn Source);
    let _ = match kind % 5 {
        0 => rpm_packages(RpmDatabase::Sqlite, &database, log),
        1 => rpm_packages(RpmDatabase::BerkeleyDb, &database, None),
        2 => rpm_packages(RpmDatabase::Ndb, &database, None),
        3 => rpm_package(&database).map(|package| package.into_iter().collect()),
        _ => Ok(dpkg_packages(&String::from_utf8_lossy(&database)).collect()),
    };
});
