use xshield_wire::telemetry::{SoftwareContents, software_digest};

use super::*;
use proptest::prelude::*;
use std::fs;

/// Written by SQLite 3.40, pages of 512 bytes: 40 packages, one of them longer than a page.
const SQLITE: &[u8] = include_bytes!("data/rpmdb.sqlite");
/// The same with three packages, and a log that adds 17 and removes the first.
const LOGGED: &[u8] = include_bytes!("data/logged.sqlite");
const LOG: &[u8] = include_bytes!("data/logged.sqlite-wal");
/// Written by Berkeley DB 5.3, pages of 512 bytes: 21 packages, one of them longer than a page, and a key.
const BERKELEY: &[u8] = include_bytes!("data/Packages");

fn names(packages: &BTreeSet<SoftwarePackage>) -> Vec<&str> {
    packages.iter().map(|package| package.name.as_str()).collect()
}

fn said(package: &SoftwarePackage) -> String {
    let SoftwarePackage { name, version, architecture, manager } = package;
    format!("{name} {version} {architecture} {manager}")
}

fn packages(kind: RpmDatabase, database: &[u8]) -> Result<BTreeSet<SoftwarePackage>, Fault> {
    rpm_packages(kind, &database.to_vec(), None)
}

/// A header as rpm stores it.
fn header(values: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    let mut add = |tag: u32, kind: u32, value: &[u8]| {
        for number in [tag, kind, u32::try_from(store.len()).unwrap(), 1] {
            index.extend(number.to_be_bytes());
        }
        store.extend(value);
    };
    if let Some(epoch) = epoch {
        add(1003, 4, &epoch.to_be_bytes());
    }
    for (tag, value) in values {
        add(*tag, 6, format!("{value}\0").as_bytes());
    }
    let counts = [index.len() / 16, store.len()].map(|count| u32::try_from(count).unwrap());
    [counts[0].to_be_bytes().to_vec(), counts[1].to_be_bytes().to_vec(), index, store].concat()
}

const BASH: [(u32, &str); 4] = [(1000, "bash"), (1001, "5.1"), (1002, "9.el9"), (1022, "x86_64")];

#[test]
fn headers() {
    let said = |blob: &[u8]| match rpm_package(blob) {
        Ok(package) => package.map_or("-".to_owned(), |package| said(&package)),
        Err(fault) => fault.to_string(),
    };
    assert_eq!(said(&header(&BASH, None)), "bash 5.1-9.el9 x86_64 rpm");
    assert_eq!(said(&header(&BASH, Some(0))), "bash 0:5.1-9.el9 x86_64 rpm");
    assert_eq!(said(&header(&BASH[..3], None)), "bash 5.1-9.el9  rpm");
    let key = [(1000, "gpg-pubkey"), (1001, "8483c65d"), (1002, "5ccc5b19")];
    assert_eq!(said(&header(&key, None)), "-");
    assert_eq!(said(&header(&BASH[..2], None)), "a package has no name, version or release");
    assert_eq!(said(&header(&BASH, None)[..40]), "a package's header is cut off");
    assert_eq!(said(&[0xff; 64]), "a package's header is cut off");
}

#[test]
fn sqlite_tables() {
    let found = packages(RpmDatabase::Sqlite, SQLITE).unwrap();
    assert_eq!(found.len(), 40);
    let mut rows = found.iter().map(said);
    assert_eq!(rows.next().as_deref(), Some("pkg-00 7:1.0-2.el9 x86_64 rpm"));
    assert_eq!(rows.nth(4).as_deref(), Some("pkg-05 1.5-2.el9 x86_64 rpm"));
    assert_eq!(rows.next_back().as_deref(), Some("pkg-39 1.39-2.el9 x86_64 rpm"));
}

#[test]
fn committed_frames_of_a_sqlite_log_are_read() {
    let read =
        |log: &[u8]| rpm_packages(RpmDatabase::Sqlite, &LOGGED.to_vec(), Some(&log.to_vec()));
    assert_eq!(
        names(&packages(RpmDatabase::Sqlite, LOGGED).unwrap()),
        ["pkg-00", "pkg-01", "pkg-02"]
    );
    let whole = read(LOG).unwrap();
    assert_eq!((whole.len(), names(&whole)[0]), (19, "pkg-01"));
    let before = packages(RpmDatabase::Sqlite, LOGGED).unwrap();
    for cut in [0, 10, 32, 700, LOG.len() - 1] {
        assert_eq!(read(&LOG[..cut]).unwrap(), before, "{cut}");
    }
    let mut other = LOG.to_vec();
    other[600] ^= 1;
    assert_eq!(read(&other).unwrap(), before, "a damaged frame ends the log");
}

#[test]
fn berkeley_tables() {
    let found = packages(RpmDatabase::BerkeleyDb, BERKELEY).unwrap();
    assert_eq!(found.len(), 21, "the key and the counter are no packages");
    let rows: Vec<_> = found.iter().map(said).collect();
    assert_eq!(rows[0], "kept 1-1 noarch rpm");
    assert_eq!(rows[6], "pkg-05 1.5-2.el7 x86_64 rpm");
    assert_eq!(rows[11], "pkg-10 7:1.10-2.el7 x86_64 rpm");
}

/// A database in rpm's format: slots in the first page, then blobs.
fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"RpmP".to_vec();
    for number in [0_u32, 1, 1, 9, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    let mut blobs = Vec::new();
    for (index, header) in (1_u32..).zip(headers) {
        let length = u32::try_from(header.len()).unwrap();
        let start = u32::try_from((4096 + blobs.len()) / 16).unwrap();
        file.extend(b"Slot");
        blobs.extend(b"BlbS");
        for number in [index, start, length.div_ceil(16) + 2] {
            file.extend(number.to_le_bytes());
        }
        for number in [index, 1, length] {
            blobs.extend(number.to_le_bytes());
        }
        blobs.extend(header);
        blobs.resize(blobs.len().next_multiple_of(16), 0);
        blobs.extend([0; 16]);
    }
    while file.len() < 4096 {
        file.extend(b"Slot");
        file.extend([0; 12]);
    }
    file.extend(blobs);
    file
}

#[test]
fn ndb_slots() {
    let zlib = [(1000, "zlib"), (1001, "1.2"), (1002, "3"), (1022, "s390x")];
    let file = ndb(&[header(&BASH, None), header(&zlib, Some(2))]);
    let found = packages(RpmDatabase::Ndb, &file).unwrap();
    let rows: Vec<_> = found.iter().map(said).collect();
    assert_eq!(rows, ["bash 5.1-9.el9 x86_64 rpm", "zlib 2:1.2-3 s390x rpm"]);
}

#[test]
fn truncated_databases_are_errors() {
    let ndb = ndb(&[header(&BASH, None)]);
    for (kind, whole) in [
        (RpmDatabase::Sqlite, SQLITE),
        (RpmDatabase::BerkeleyDb, BERKELEY),
        (RpmDatabase::Ndb, &ndb[..ndb.len() - 48]),
    ] {
        assert!(packages(kind, whole).is_ok() || kind == RpmDatabase::Ndb);
        for end in (0..whole.len()).step_by(487) {
            assert!(packages(kind, &whole[..end]).is_err(), "{kind:?} cut at {end}");
        }
    }
}

const STATUS: &str = "\
Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
Description: add users
 Package: not-a-field
 .
 more

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: broken
Status: install reinstreq half-installed
Architecture: amd64
Version: 2:1.0-1


Package: nameless-version
Status: install ok installed

Version: 7
";

#[test]
fn dpkg_status() {
    let rows: Vec<_> = dpkg_packages(STATUS).map(|package| said(&package)).collect();
    assert_eq!(rows, ["adduser 3.134 all dpkg", "broken 2:1.0-1 amd64 dpkg"]);
}

#[test]
fn all_package_databases_together() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(inventory(root.path()).unwrap(), BTreeSet::new(), "no package manager is no error");
    let write = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let before = stamp(root.path());
    write("var/lib/dpkg/status", STATUS.as_bytes());
    assert_ne!(stamp(root.path()), before);
    write("var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12\nArchitecture: amd64\n");
    write("var/lib/dpkg/status.d/base.md5sums", b"Package: none\nVersion: 1\n");
    write("var/lib/rpm/Packages", b"left over from before the conversion");
    write("var/lib/rpm/rpmdb.sqlite", LOGGED);
    let before = stamp(root.path());
    write("var/lib/rpm/rpmdb.sqlite-wal", LOG);
    assert_ne!(stamp(root.path()), before);
    let found = inventory(root.path()).unwrap();
    assert_eq!(found.len(), 2 + 1 + 19);
    assert!(names(&found).contains(&"base-files"));

    write("var/lib/rpm/rpmdb.sqlite", &LOGGED[..600]);
    write("var/lib/rpm/rpmdb.sqlite-wal", b"");
    let error = inventory(root.path()).unwrap_err();
    assert!(error.to_string().contains("rpmdb.sqlite: it is cut off"), "{error}");
}

#[test]
fn the_inventory_agrees_with_dpkg() {
    let Ok(output) = std::process::Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"])
        .output()
    else {
        eprintln!("SKIPPED: no dpkg here");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let expected: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(status, _)| !matches!(*status, "config-files" | "not-installed"))
        .map(|(_, rest)| format!("{rest} dpkg"))
        .collect();
    let found = dpkg::inventory(Path::new("/")).unwrap();
    assert_eq!(found.iter().map(said).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn later_reports_contain_changes() {
    let package = |name: &str, version: &str| SoftwarePackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        manager: "dpkg".to_owned(),
    };
    let before: BTreeSet<_> = [package("a", "1"), package("b", "1"), package("c", "1")].into();
    let now: BTreeSet<_> = [package("a", "1"), package("b", "2"), package("d", "1")].into();
    let first = report(None, &before, 5).unwrap();
    assert!(matches!(&first.contents, SoftwareContents::Full { packages } if packages.len() == 3));
    assert_eq!(report(Some(&before), &before, 6), None);
    let second = report(Some(&before), &now, 7).unwrap();
    let SoftwareContents::Changes { base, added, removed } = second.contents else { panic!() };
    assert_eq!(base, first.digest);
    assert_eq!((added.len(), removed.len()), (2, 2));
    let mut applied = before;
    removed.iter().for_each(|package| assert!(applied.remove(package)));
    applied.extend(added);
    assert_eq!(software_digest(&applied), second.digest);
}

proptest! {
    /// Any damaged byte results in an answer in bounded time.
    #[test]
    fn any_damaged_database_is_read_or_refused(
        which in 0_usize..3, damage in prop::collection::vec((0_usize..20_000, any::<u8>()), 1..8),
    ) {
        let (kind, mut database) = vec![
            (RpmDatabase::Sqlite, SQLITE.to_vec()),
            (RpmDatabase::BerkeleyDb, BERKELEY.to_vec()),
            (RpmDatabase::Ndb, ndb(&[header(&BASH, None)])),
        ].swap_remove(which);
        for (at, byte) in damage {
            let at = at % database.len();
            database[at] = byte;
        }
        let _ = packages(kind, &database);
        let _ = rpm_package(&database);
        let _ = dpkg_packages(&String::from_utf8_lossy(&database)).count();
    }
}
