use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

fn member(pid: u32, path: &str, user: u32, cgroup: &str) -> Member {
    let name = path.rsplit('/').next().unwrap().to_owned();
    let process = Process { pid, name, path: Some(path.to_owned()) };
    Member { process, users: [user; 4], cgroup: Some(cgroup.to_owned()) }
}

/// The cgroup directories that the table speaks of.
fn hierarchy() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in ["system.slice/nginx.service/child", "system.slice/app.service", "user.slice"] {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    root
}

#[test]
fn exact_or_refused() {
    let nginx = |pid, user, cgroup| member(pid, "/usr/sbin/nginx", user, cgroup);
    let unit = "system.slice/nginx.service";
    let sleep = |user, cgroup| member(90, "/bin/sleep", user, cgroup);
    let cgroup = || Ok(Owner::Cgroup(unit.to_owned()));
    type Row<'a> = (&'a str, Vec<Member>, Result<Owner, &'a str>);
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("nothing runs", vec![sleep(0, unit)], Err("not running")),
        ("a unit of its own", vec![nginx(1, 0, unit), nginx(2, 33, unit)], cgroup()),
        ("children below the unit", vec![nginx(1, 0, unit), nginx(2, 0, "system.slice/nginx.service/child")], cgroup()),
        ("strangers elsewhere", vec![nginx(1, 0, unit), sleep(0, "system.slice/nginx.service2")], cgroup()),
        ("a stranger in the unit", vec![nginx(1, 0, unit), sleep(5, unit)], Err("/bin/sleep runs in its cgroup")),
        ("a stranger below the unit", vec![nginx(1, 0, unit), sleep(5, "system.slice/nginx.service/child")], Err("/bin/sleep runs in its cgroup")),
        ("one outside the unit", vec![nginx(1, 0, unit), nginx(2, 0, "user.slice")], Err("more than one cgroup")),
        ("two units", vec![nginx(1, 0, unit), nginx(2, 0, "system.slice/app.service")], Err("more than one cgroup")),
        ("a slice is no unit", vec![nginx(1, 0, "user.slice")], Err("service of its own")),
        ("the root is no unit", vec![nginx(1, 0, "")], Err("service of its own")),
        ("a login session is no unit", vec![nginx(1, 0, "user.slice/user-5.slice/session-3.scope")], Err("service of its own")),
        ("a user manager is no unit", vec![nginx(1, 0, "user.slice/user@5.service")], Err("service of its own")),
        ("its cgroup is out of sight", vec![nginx(1, 0, "system.slice/gone.service")], Err("not visible")),
        ("a user of its own", vec![nginx(1, 33, "user.slice"), nginx(2, 33, "user.slice"), sleep(0, "user.slice")], Ok(Owner::Uid(33))),
        ("a shared user", vec![nginx(1, 33, "user.slice"), sleep(33, "user.slice")], Err("/bin/sleep runs as its user 33")),
        ("two users", vec![nginx(1, 33, "user.slice"), nginx(2, 34, "user.slice")], Err("more than one user")),
        ("root", vec![nginx(1, 0, "user.slice")], Err("as root")),
    ];
    let root = hierarchy();
    let wanted = ProcessMatch::try_from("/usr/sbin/nginx".to_owned()).unwrap();
    for (name, members, expected) in table {
        let got = owner(&wanted, &members, Some(root.path()));
        match (&got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(*got, expected, "{name}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{name}: {reason}"),
            _ => panic!("{name}: {got:?}"),
        }
    }
}

#[test]
fn an_effective_user_counts_against_exactness() {
    let mut other = member(9, "/usr/bin/su", 0, "x");
    other.users = [0, 33, 0, 33];
    let mine = member(1, "/usr/sbin/nginx", 33, "user.slice");
    let wanted = ProcessMatch::try_from("nginx".to_owned()).unwrap();
    let reason = owner(&wanted, &[mine, other], None).unwrap_err();
    assert!(reason.contains("/usr/bin/su runs as its user"), "{reason}");
}

#[test]
fn an_unreadable_executable_counts_against_exactness() {
    let mut other = member(9, "/x", 33, "user.slice");
    other.process.path = None;
    let mine = member(1, "/usr/sbin/nginx", 33, "user.slice");
    let wanted = ProcessMatch::try_from("/usr/sbin/nginx".to_owned()).unwrap();
    assert!(owner(&wanted, &[mine, other], None).is_err());
}

#[test]
fn mounts_and_cgroup_lines() {
    let hybrid = "25 30 0:23 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                  26 25 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                  27 25 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    assert_eq!(cgroup2_of(hybrid).unwrap(), Path::new("/sys/fs/cgroup/unified"));
    let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
    assert_eq!(cgroup2_of(unified).unwrap(), Path::new("/sys/fs/cgroup"));
    let partial = "30 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
    assert_eq!(cgroup2_of(partial), None);
    assert_eq!(cgroup2_of("garbage"), None);

    let text = "12:cpu:/a\n0::/system.slice/nginx.service\n";
    assert_eq!(cgroup_path(text).as_deref(), Some("system.slice/nginx.service"));
    assert_eq!(cgroup_path("0::/\n"), None);
    assert_eq!(cgroup_path("4:cpu:/a\n"), None);
    assert_eq!(unit_of("../system.slice/nginx.service"), None);
}

/// A child that is killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn real_processes_of_an_own_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to run a program as another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).unwrap();
    let path = dir.path().join("xshield-owner-test");
    fs::copy("/bin/sleep", &path).unwrap();
    let start = |user: u32| {
        let child = Command::new(&path).arg("600").uid(user).gid(user).spawn().unwrap();
        Running(child)
    };
    let wanted = ProcessMatch::try_from(path.to_str().unwrap().to_owned()).unwrap();
    let by_name = ProcessMatch::try_from("xshield-owner-test".to_owned()).unwrap();
    let asked = || {
        let found = owners([&wanted, &by_name], CgroupMatching::Missing);
        assert_eq!(found[&wanted], found[&by_name]);
        found[&wanted].clone()
    };

    assert!(asked().unwrap_err().contains("not running"));
    let user = 54_321;
    let first = start(user);
    let second = start(user);
    assert_eq!(asked(), Ok(Owner::Uid(user)));
    let stranger = Running(Command::new("/bin/sleep").arg("600").uid(user).spawn().unwrap());
    assert!(asked().unwrap_err().contains("runs as its user"));
    drop(stranger);
    assert_eq!(asked(), Ok(Owner::Uid(user)));
    drop((first, second));
    assert!(asked().unwrap_err().contains("not running"));
    let _as_root = start(0);
    assert!(asked().unwrap_err().contains("root"));
}
