use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// A file system root below a directory.
fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let make = |path: &str, mode: u32| {
        fs::create_dir_all(at(path)).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = |path: &str, mode: u32| {
        fs::write(at(path), path).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in
        [("usr", 0o755), ("usr/bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("srv", 0o775)]
    {
        make(path, mode);
    }
    file("usr/bin/server", 0o755);
    file("usr/bin/shared", 0o775);
    file("tmp/server", 0o755);
    file("srv/server", 0o755);
    for (target, link) in [
        ("usr/bin", "bin"),
        ("/etc/alternative", "usr/bin/short"),
        ("../usr/bin/server", "etc/alternative"),
        ("/usr/bin/server", "tmp/link"),
        ("/tmp/server", "usr/bin/outside"),
        ("loop", "loop"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

#[test]
fn paths_are_resolved_with_their_protection() {
    let (directory, root) = root();
    #[rustfmt::skip]
    let table = [
        ("/usr/bin/server", Ok(("/usr/bin/server", "")), "itself"),
        ("/bin/server", Ok(("/usr/bin/server", "")), "a linked directory"),
        ("/usr/bin/short", Ok(("/usr/bin/server", "")), "an absolute link, then a relative one"),
        ("/usr/../usr/./bin//server", Ok(("/usr/bin/server", "")), "detours"),
        ("/../../usr/bin/server", Ok(("/usr/bin/server", "")), "nothing is above the root"),
        ("/tmp/server", Ok(("/tmp/server", "/tmp")), "sticky is still writable by all"),
        ("/srv/server", Ok(("/srv/server", "/srv")), "a group can write"),
        ("/usr/bin/shared", Ok(("/usr/bin/shared", "/usr/bin/shared")), "a group can write the file"),
        ("/tmp/link", Ok(("/usr/bin/server", "/tmp")), "a link that anyone can replace"),
        ("/usr/bin/outside", Ok(("/tmp/server", "/tmp")), "a link to where anyone can write"),
        ("/loop", Err(Errno::LOOP), "links without end"),
        ("/usr/bin/server/x", Err(Errno::NOTDIR), "below a file"),
        ("/usr/bin", Err(Errno::ISDIR), "a directory"),
        ("/gone/server", Err(Errno::NOENT), "a directory that is missing"),
    ];
    for (path, expected, what) in table {
        let got = root.walk(Path::new(path));
        match (&got, expected) {
            (Ok(place), Ok((to, open_at))) => {
                let file = fs::metadata(directory.path().join(&to[1..])).unwrap();
                use std::os::unix::fs::MetadataExt as _;
                let id = FileId { device: file.dev(), inode: file.ino() };
                assert_eq!((place.path.as_path(), place.file), (Path::new(to), Some(id)), "{what}");
                let guard = match open_at {
                    "" => Guard::RootAlone,
                    at => Guard::Others(at.into()),
                };
                assert_eq!(place.guard, guard, "{what}");
            }
            (Err(got), Err(expected)) => assert_eq!(*got, expected, "{what}"),
            _ => panic!("{what}: {got:?}"),
        }
    }
    let missing = root.walk(Path::new("/bin/gone")).unwrap();
    assert_eq!((missing.path.as_path(), missing.file), (Path::new("/usr/bin/gone"), None));
}

#[test]
fn a_directory_of_another_user_is_unprotected() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to give files away");
        return;
    }
    let (directory, root) = root();
    std::os::unix::fs::chown(directory.path().join("usr/bin"), Some(4000), None).unwrap();
    let place = root.walk(Path::new("/bin/server")).unwrap();
    assert_eq!(place.guard, Guard::Others("/usr/bin".into()));
}
