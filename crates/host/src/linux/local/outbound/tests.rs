use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::stat;
use xshield_policy::{ProcessMatch, UnitName, UserName};

use super::*;
use crate::linux::cgroups::Cgroups;
use crate::linux::executable::{Executable, FileId};

/// Two programs that exist on every Linux machine.
const MINE: &str = "/bin/sh";
const OTHER: &str = "/bin/ls";
const UNIT: &str = "system.slice/app.service";
/// Root's two service users, and two users of people.
const PASSWD: &str = "www:x:33:33\nother:x:34:34\nbob:x:1001:1001\ncarol:x:1002:1002\n";

fn instance(pid: u32, path: &str, user: u32, cgroup: &str) -> Instance {
    let path = fs::canonicalize(path).unwrap();
    let file = FileId::of(&stat(&path).unwrap());
    Instance {
        pid,
        name: path.file_name().unwrap().to_str().unwrap().into(),
        executable: Some(Arc::new(Executable { file, path, removed: None })),
        users: [user; 4],
        cgroups: Arc::new(Cgroups { v2: Some(cgroup.to_owned()), v1: None }),
    }
}

fn mine(pid: u32, user: u32, cgroup: &str) -> Instance {
    instance(pid, MINE, user, cgroup)
}

fn other(user: u32, cgroup: &str) -> Instance {
    instance(90, OTHER, user, cgroup)
}

fn program(process: &str, user: &str, unit: &str) -> LocalProgram {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let process = given(process).map(|text| ProcessMatch::try_from(text).unwrap());
    let user = given(user).map(|text| UserName::try_from(text).unwrap());
    let unit = given(unit).map(|text| UnitName::try_from(text).unwrap());
    LocalProgram::new(process, user, unit).unwrap()
}

/// The cgroup directories used in the tables.
fn hierarchy() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in ["system.slice/app.service/child", "system.slice/b.service", "app.service"] {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    root
}

/// The owners as text, or why there are none; and the ids of the reported processes.
fn asked(
    program: &LocalProgram,
    instances: Vec<Instance>,
    mount: Option<&Path>,
) -> (String, Vec<u32>) {
    let mut survey = Survey::of(Accounts::parse(PASSWD, ""), instances);
    let mut suspects = LookalikeCollector::default();
    let owners = owners(program, &mut survey, mount, &mut suspects);
    let text = |owner: &Owner| match owner {
        Owner::Uid(user) => user.to_string(),
        Owner::Cgroup(path) => path.clone(),
        Owner::Windows { .. } => unreachable!("not on Linux"),
    };
    let owners = owners.map(|owners| owners.iter().map(text).collect::<Vec<_>>().join(" "));
    let told = suspects.told(program, xshield_policy::Direction::Outbound, &survey.accounts);
    let told = told.map(|told| told.told.iter().map(|one| one.pid).collect()).unwrap_or_default();
    (owners.unwrap_or_else(|reason| reason), told)
}

#[test]
fn outbound_owners_are_exact_or_refused() {
    let (login, slice) = ("user.slice/user-1001.slice/session-3.scope", "user.slice");
    let cron = "system.slice/cron.service";
    let removed_from_view = "system.slice/gone.service";
    type Row<'a> = (&'a str, Vec<Instance>, &'a str, &'a [u32]);
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("nothing runs", vec![other(0, UNIT)], "is not running", &[]),
        ("a unit of its own", vec![mine(1, 0, UNIT), mine(2, 33, UNIT)], UNIT, &[]),
        ("children below the unit", vec![mine(1, 0, UNIT), mine(2, 0, "system.slice/app.service/child")], UNIT, &[]),
        ("two units of its own", vec![mine(1, 0, UNIT), mine(2, 0, "system.slice/b.service")], "system.slice/app.service system.slice/b.service", &[]),
        ("a unit for a user that people have", vec![mine(1, 1002, UNIT)], UNIT, &[]),
        ("strangers elsewhere", vec![mine(1, 0, UNIT), other(0, "system.slice/app.service2")], UNIT, &[]),
        ("a stranger in the unit", vec![mine(1, 0, UNIT), other(5, UNIT)], "also runs in its cgroup system.slice/app.service", &[]),
        ("a stranger below the unit", vec![mine(1, 0, UNIT), other(5, "system.slice/app.service/child")], "also runs in its cgroup system.slice/app.service", &[]),
        ("one of two units is shared", vec![mine(1, 0, UNIT), mine(2, 0, cron), other(0, cron)], UNIT, &[2]),
        ("root by hand, beside it", vec![mine(1, 0, UNIT), mine(2, 0, slice)], UNIT, &[2]),
        ("a login user beside it", vec![mine(1, 0, UNIT), mine(2, 1001, login)], UNIT, &[2]),
        ("a login user's cron job beside it", vec![mine(1, 0, UNIT), mine(2, 1001, cron), other(0, cron)], UNIT, &[2]),
        ("a login user's own service manager", vec![mine(1, 0, UNIT), mine(2, 1001, "user.slice/user-1001.slice/user@1001.service/app.slice/app.service")], UNIT, &[2]),
        ("login users alone", vec![mine(2, 1001, login)], "runs only as login users", &[2]),
        ("a slice is no unit", vec![mine(1, 0, slice)], "cgroup of its own service", &[]),
        ("the root is no unit", vec![mine(1, 0, "")], "cgroup of its own service", &[]),
        ("root in a login session", vec![mine(1, 0, login)], "it runs as root", &[]),
        ("its cgroup is not visible", vec![mine(1, 0, removed_from_view)], "not visible", &[]),
        ("a user of its own", vec![mine(1, 33, slice), mine(2, 33, "x"), other(0, slice)], "33", &[]),
        ("two users of its own", vec![mine(1, 33, "x"), mine(2, 34, "x")], "33 34", &[]),
        ("a login user beside a user of its own", vec![mine(1, 33, "x"), mine(2, 1001, login)], "33", &[2]),
        ("root beside a user of its own", vec![mine(1, 33, "x"), mine(2, 0, "x")], "33", &[2]),
        ("a shared user", vec![mine(1, 33, "x"), other(33, "x")], "runs as its user 33", &[]),
        ("a system's user in login sessions", vec![mine(1, 33, login)], "only in login sessions", &[]),
        ("root", vec![mine(1, 0, "x")], "it runs as root", &[]),
    ];
    let root = hierarchy();
    for (name, instances, expected, told) in table {
        let (got, pids) = asked(&program(MINE, "", ""), instances, Some(root.path()));
        let matches = if expected.contains(' ')
            && !expected.contains("system.slice/b")
            && expected != "33 34"
        {
            got.contains(expected)
        } else {
            got == expected
        };
        assert!(matches, "{name}: {got:?}, expected {expected:?}");
        assert_eq!(pids, told, "{name}: {got}");
    }
}

#[test]
fn users_and_units_narrow_a_rule() {
    let root = hierarchy();
    let bobs = "user.slice/user-1001.slice/session-3.scope";
    type Row<'a> = (LocalProgram, Vec<Instance>, &'a str);
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        (program("", "www", ""), vec![], "33"),
        (program("", "1001", ""), vec![], "1001"),
        (program("", "root", ""), vec![], "user root is not in /etc/passwd"),
        (program("", "0", ""), vec![], "0"),
        (program("", "", "app.service"), vec![mine(1, 0, UNIT), other(5, UNIT)], UNIT),
        (program("", "", "app.service"), vec![mine(1, 0, "app.service")], "app.service"),
        (program("", "", "app.service"), vec![mine(1, 0, "system.slice/b.service")], "is not running"),
        (program("", "", "app.service"), vec![mine(1, 1001, "user.slice/user-1001.slice/user@1001.service/app.service")], "is not running"),
        (program("", "", "app.service"), vec![mine(1, 0, "system.slice/docker-1.scope/system.slice/app.service")], "is not running"),
        (program("", "www", "app.service"), vec![mine(1, 33, UNIT), other(33, UNIT)], UNIT),
        (program("", "www", "app.service"), vec![mine(1, 33, UNIT), other(0, UNIT)], "in system.slice/app.service as user 0"),
        (program(MINE, "", "app.service"), vec![mine(1, 33, UNIT), mine(2, 0, "system.slice/b.service")], UNIT),
        (program(MINE, "", "app.service"), vec![mine(1, 33, UNIT), other(33, UNIT)], "runs in its cgroup"),
        (program(MINE, "", "app.service"), vec![mine(1, 33, "x")], "is not running"),
        (program(MINE, "bob", ""), vec![mine(1, 1001, bobs), mine(2, 0, "x")], "1001"),
        (program(MINE, "bob", ""), vec![mine(1, 1001, bobs), other(1001, bobs)], "also runs as its user 1001"),
        (program(MINE, "bob", ""), vec![mine(1, 1002, bobs)], "is not running"),
        (program(MINE, "www", "app.service"), vec![mine(1, 33, UNIT)], UNIT),
        (program(MINE, "www", "app.service"), vec![mine(1, 33, UNIT), mine(2, 0, UNIT)], "runs in its cgroup"),
        (program(MINE, "nobody-knows", ""), vec![mine(1, 33, "x")], "name a user of a directory service by number"),
    ];
    for (program, instances, expected) in table {
        let (got, _) = asked(&program, instances, Some(root.path()));
        let matches = if expected.contains(' ') { got.contains(expected) } else { got == expected };
        assert!(matches, "{program}: {got:?}, expected {expected:?}");
    }
    let (got, _) = asked(&program("", "", "app.service"), vec![mine(1, 0, UNIT)], None);
    assert!(got.contains("can't match its cgroup"), "{got}");
}

#[test]
fn another_effective_user_prevents_exactness() {
    let mut switching = other(0, "x");
    switching.users = [0, 33, 0, 33];
    let (got, _) = asked(&program(MINE, "", ""), vec![mine(1, 33, "x"), switching], None);
    assert!(got.contains("also runs as its user 33"), "{got}");
    let mut switching = mine(2, 0, "x");
    switching.users = [33, 0, 33, 33];
    let (got, _) = asked(&program(MINE, "", ""), vec![mine(1, 33, "x"), switching], None);
    assert!(got.contains("more than one user"), "{got}");
}

#[test]
fn an_unreadable_executable_prevents_exactness() {
    let mut hidden = other(33, "x");
    hidden.executable = None;
    let (got, _) = asked(&program(MINE, "", ""), vec![mine(1, 33, "x"), hidden], None);
    assert!(got.contains("also runs as its user 33"), "{got}");
}

#[test]
fn reported_lookalikes_are_limited() {
    let mut survey = Survey::of(Accounts::parse(PASSWD, ""), Vec::new());
    let mut suspects = LookalikeCollector::default();
    for pid in 0..5000 {
        let mut one = mine(pid, 1001, "x");
        one.executable = Some(Arc::new(Executable {
            path: PathBuf::from(format!("/tmp/{pid}\nINFO a line of its own")),
            ..(*one.executable.unwrap()).clone()
        }));
        suspects.add(&one, "it is not");
        suspects.add(&one, "told once");
    }
    let wanted = program(MINE, "", "");
    let told =
        suspects.told(&wanted, xshield_policy::Direction::Inbound, &survey.accounts).unwrap();
    assert_eq!((told.told.len(), told.more), (5, 4995));
    assert_eq!(told.told[0].user, "bob (1001)");
    assert_eq!(told.told[0].reason, "it is not");
    assert!(told.told.iter().all(|one| !one.executable.contains('\n')));
    assert!(survey.instances().unwrap().is_empty());
}
