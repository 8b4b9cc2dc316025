use std::os::unix::fs::symlink;
use std::sync::Arc;

use rustix::fs::stat;
use xshield_policy::{UnitName, UserName};

use super::*;
use crate::linux::cgroups::Cgroups;
use crate::linux::executable::{Executable, FileId};
use crate::linux::local::accounts::Accounts;

fn instance(pid: u32, path: &Path, user: u32) -> Instance {
    let path = std::fs::canonicalize(path).unwrap();
    let file = FileId::of(&stat(&path).unwrap());
    Instance {
        pid,
        name: path.file_name().unwrap().to_str().unwrap().into(),
        executable: Some(Arc::new(Executable { file, path, removed: None })),
        users: [user; 4],
        cgroups: Arc::new(Cgroups { v2: Some("system.slice/app.service".to_owned()), v1: None }),
    }
}

#[test]
fn absence_names_what_was_searched_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let at = |name: &str| directory.join(name);
    std::fs::write(at("server"), "x").unwrap();
    symlink(at("server"), at("link")).unwrap();
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let (server, link, gone) = (text("server"), text("link"), text("gone"));
    let process = |path: &str| Some(ProcessMatch::try_from(path.to_owned()).unwrap());
    let user = |name: &str| Some(UserName::try_from(name.to_owned()).unwrap());
    let unit = |name: &str| Some(UnitName::try_from(name.to_owned()).unwrap());
    let of = |process, user, unit| LocalProgram::new(process, user, unit).unwrap();
    let many = 4;
    for (program, running, expected) in [
        (of(process(&gone), None, None), 0, format!("there is no file {gone}")),
        (of(process(&server), None, None), 0, "no such process runs".to_owned()),
        (
            of(process(&link), None, None),
            0,
            format!("{link} leads to {server}; no such process runs"),
        ),
        (
            of(process(&link), None, None),
            1,
            format!(
                "{link} leads to {server}; process 1 ({server}, user www (33)) runs, and other hosts can \
                 reach no socket of it"
            ),
        ),
        (of(process(&server), user("other"), None), 1, "no such process runs".to_owned()),
        (
            of(None, user("www"), None),
            1,
            format!(
                "process 1 ({server}, user www (33)) runs, and other hosts can reach no socket of it"
            ),
        ),
        (of(None, None, unit("else.service")), 1, "no such process runs".to_owned()),
        (of(None, user("nobody-here"), None), 1, "nobody-here".to_owned()),
        (of(None, None, unit("app.service")), many, "1 more run, and other hosts".to_owned()),
    ] {
        let running = (1..=running).map(|pid| instance(pid, &at("server"), 33)).collect();
        let accounts = Accounts::parse("www:x:33:33\nother:x:34:34\n", "");
        let got = found(&program, &mut Survey::of(accounts, running));
        assert!(got.contains(&expected), "{program}: {got:?}, expected {expected:?}");
    }
}
