//! Any package database results in an inventory or an error, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::software::{
    RpmDatabase, Source, dpkg_packages, rpm_package, rpm_packages,
};

// The first byte selects the kind of the rest, so that databases of tests can be seeds: (printf '\\0'; cat
// src/linux/software/data/rpmdb.sqlite) > corpus/software/sqlite
fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let database = bytes.to_vec();
    let _ = match kind % 6 {
        0 => rpm_packages(RpmDatabase::Sqlite, &database, None),
        1 => rpm_packages(RpmDatabase::BerkeleyDb, &database, None),
        2 => rpm_packages(RpmDatabase::Ndb, &database, None),
        3 => rpm_package(bytes).map(|package| package.into_iter().collect()),
        4 => {
            // The length of the test's database that has a log.
            let (database, log) = bytes.split_at(bytes.len().min(1536));
            let (database, log) = (database.to_vec(), log.to_vec());
            rpm_packages(RpmDatabase::Sqlite, &database, Some(&log as &dyn Source))
        }
        _ => Ok(dpkg_packages(&String::from_utf8_lossy(bytes)).collect()),
    };
});
