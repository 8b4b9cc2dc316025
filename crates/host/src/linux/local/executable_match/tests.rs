use std::sync::Arc;

use super::*;
use crate::linux::executable::{FileId, Removed};

/// The file at `/usr/sbin/nginx` of the host, and another one on the same file system.
const GENUINE: FileId = FileId { device: 1, inode: 10 };
const OTHER: FileId = FileId { device: 1, inode: 11 };
const ELSEWHERE: FileId = FileId { device: 2, inode: 10 };

/// The host's files at these paths.
fn at(path: &Path) -> Vec<Place> {
    let place = |path: &str, file, guard| Place { path: path.into(), file, device: 1, guard };
    let tmp = Guard::Others("/tmp".into());
    match path.to_str().unwrap_or_default() {
        "/usr/sbin/nginx" | "/sbin/nginx" => {
            vec![place("/usr/sbin/nginx", Some(GENUINE), Guard::RootAlone)]
        }
        "/usr/bin/redis-server" | "/usr/bin/redis-check-rdb" => {
            vec![place("/usr/bin/redis-check-rdb", Some(GENUINE), Guard::RootAlone)]
        }
        "/usr/bin/a-very-long-program-name" => {
            vec![place("/usr/bin/redis-check-rdb", Some(GENUINE), Guard::RootAlone)]
        }
        "/opt/redis/redis-bob" => {
            let bob = Guard::Others("/opt/redis".into());
            vec![place("/usr/bin/redis-check-rdb", Some(GENUINE), bob)]
        }
        "/usr/sbin/gone" => vec![place("/usr/sbin/gone", None, Guard::RootAlone)],
        "/tmp/nginx" => vec![place("/tmp/nginx", Some(OTHER), tmp)],
        "/tmp/gone" => vec![place("/tmp/gone", None, tmp)],
        _ => Vec::new(),
    }
}

#[test]
fn a_program_is_identified_by_its_file_alone() {
    let removed = |roots_own, hosts_path| Some(Removed { roots_own, hosts_path });
    let upgraded = removed(true, true);
    let (namespace, users_own) = (removed(true, false), removed(false, true));
    let (is, unlike) = ("is", "unlike");
    let (path, link, name) = ("/usr/sbin/nginx", "/sbin/nginx", "nginx");
    #[rustfmt::skip]
    let table = [
        // wanted, comm, path as shown, file, removed, expected
        (path, "nginx", "/usr/sbin/nginx", GENUINE, None, is),
        (path, "worker", "/usr/sbin/nginx", GENUINE, None, is),
        (link, "nginx", "/usr/sbin/nginx", GENUINE, None, is),
        (path, "nginx", "/app/nginx", GENUINE, None, is), // the same file, mounted elsewhere
        (path, "nginx", "/usr/sbin/nginx", OTHER, None, "its own mount namespace"),
        (path, "nginx", "/usr/sbin/nginx", ELSEWHERE, None, "its own mount namespace"),
        (link, "nginx", "/usr/sbin/nginx", OTHER, None, "its own mount namespace"),
        (path, "nginx", "/opt/nginx", OTHER, None, unlike),
        (path, "nginx", "/usr/sbin/nginx", OTHER, upgraded, is),
        (link, "nginx", "/usr/sbin/nginx", OTHER, upgraded, is),
        (path, "nginx", "/usr/sbin/nginx", OTHER, namespace, "namespace that a user created"),
        (path, "nginx", "/usr/sbin/nginx", OTHER, users_own, "users other than root could write it"),
        (path, "nginx", "/usr/sbin/nginx", ELSEWHERE, upgraded, "another file system"),
        ("/usr/sbin/gone", "gone", "/usr/sbin/gone", OTHER, upgraded, is),
        ("/usr/sbin/gone", "gone", "/usr/sbin/gone", OTHER, None, "its own mount namespace"),
        ("/no/such", "such", "/no/such", OTHER, upgraded, "another file system"),
        (name, "nginx", "/usr/sbin/nginx", GENUINE, None, is),
        (name, "worker", "/usr/sbin/nginx", GENUINE, None, is),
        (name, "nginx", "/usr/bin/python3", OTHER, None, "only calls itself that"),
        (name, "nginx", "/tmp/nginx", OTHER, None, "users other than root can write to /tmp"),
        (name, "x", "/tmp/nginx", OTHER, None, "users other than root can write to /tmp"),
        (name, "nginx", "/usr/sbin/nginx", OTHER, None, "its own mount namespace"),
        (name, "nginx", "/home/bob/nginx", OTHER, None, "its own mount namespace"),
        (name, "nginx", "/usr/sbin/nginx", OTHER, upgraded, is),
        (name, "nginx", "/usr/sbin/nginx", OTHER, namespace, "namespace that a user created"),
        (name, "nginx2", "/usr/sbin/nginx2", OTHER, None, unlike),
        // A name that belongs to a link.
        ("/usr/bin/redis-server", "redis-server", "/usr/bin/redis-check-rdb", GENUINE, None, is),
        ("redis-server", "redis-server", "/usr/bin/redis-check-rdb", GENUINE, None, is),
        ("redis-server", "redis-server", "/usr/bin/redis-check-rdb", OTHER, upgraded, is),
        ("redis-server", "redis-server", "/usr/bin/redis-check-rdb", OTHER, namespace, "calls itself that"),
        ("redis-server", "redis-server", "/usr/bin/redis-check-rdb", OTHER, None, "calls itself that"),
        ("redis-server", "redis-server", "/tmp/anything", OTHER, None, "calls itself that"),
        ("redis-server", "redis-check-rdb", "/usr/bin/redis-check-rdb", GENUINE, None, unlike),
        ("redis-bob", "redis-bob", "/opt/redis/other", GENUINE, None, "calls itself that"),
        ("a-very-long-program-name", "a-very-long-pro", "/usr/bin/redis-check-rdb", GENUINE, None, is),
        ("gone", "gone", "/tmp/gone", OTHER, upgraded, "users other than root can write to /tmp"),
    ];
    for (wanted, comm, path, file, removed, expected) in table {
        let executable = Executable { file, path: path.into(), removed };
        let instance = Instance {
            pid: 7,
            name: comm.into(),
            executable: Some(Arc::new(executable)),
            users: [0; 4],
            cgroups: Arc::default(),
        };
        let wanted = ProcessMatch::try_from(wanted.to_owned()).unwrap();
        let got = match executable_match(&wanted, &instance, &mut at) {
            ExecutableMatch::Is => is.to_owned(),
            ExecutableMatch::Unlike => unlike.to_owned(),
            ExecutableMatch::Pretends(why) => why,
        };
        assert!(got.contains(expected), "{wanted} {comm} {path} {file:?} {removed:?}: {got}");
    }
}

#[test]
fn an_unreadable_executable_does_not_match() {
    let hidden = Instance {
        pid: 7,
        name: "nginx".into(),
        executable: None,
        users: [0; 4],
        cgroups: Arc::default(),
    };
    let asked = |wanted: &str| {
        executable_match(&ProcessMatch::try_from(wanted.to_owned()).unwrap(), &hidden, &mut at)
    };
    assert_eq!(asked("/usr/sbin/nginx"), ExecutableMatch::Unlike);
    assert_eq!(asked("apache2"), ExecutableMatch::Unlike);
    assert!(matches!(asked("nginx"), ExecutableMatch::Pretends(_)));
}
