//! The first start, and starts with missing files: the real program.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn program(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xshield"));
    command.args(arguments).arg("--data-dir").arg(data).env_remove("XSHIELD_ADMIN_PASSWORD");
    command
}

/// A start that fails.
fn fails(listen: &str, data: &Path) -> Output {
    let output = program(&["serve", "--listen", listen], data).output().unwrap();
    assert!(!output.status.success());
    output
}

/// Starts, waits until it is up, and stops it; returns its standard output.
fn starts(data: &Path) -> String {
    let mut child = program(&["serve", "--listen", "127.0.0.1:0"], data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines: Vec<String> = Vec::new();
    let is_up = |lines: &[String]| lines.last().is_some_and(|line| line.contains("listening="));
    while !is_up(&lines)
        && let Some(Ok(line)) = log.next()
    {
        lines.push(line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_up(&lines), "{lines:?}");
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_failed_first_start_leaves_the_password_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let failed = said(&fails(&taken.local_addr().unwrap().to_string(), &data));
    assert!(failed.contains("is it in use?") && !failed.contains("password"), "{failed}");
    // And one that fails for another reason, after keys and database were created.
    fs::write(data.join("threat"), "no directory").unwrap();
    let failed = said(&fails("127.0.0.1:0", &data));
    assert!(!failed.contains("First start"), "{failed}");
    fs::remove_file(data.join("threat")).unwrap();

    let first = starts(&data);
    assert!(first.contains("Sign in as 'admin' with the password: "), "{first}");
    let way = format!("xshield admin set-password --data-dir {}", data.display());
    assert!(first.contains(&way), "{first}");
    assert_eq!(starts(&data), "", "not the first one");
}

#[test]
fn a_missing_key_is_recreated_only_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let none = program(&["admin", "new-key", "policy"], &data).output().unwrap();
    assert!(said(&none).contains("there is no platform in"), "{}", said(&none));
    let password = dir.path().join("password");
    fs::write(&password, "a long password").unwrap();
    let set = ["admin", "set-password", "--password-file", password.to_str().unwrap()];
    let none = program(&set, &data).output().unwrap();
    assert!(said(&none).contains("there is no platform in"), "{}", said(&none));

    starts(&data);
    let there = program(&["admin", "new-key", "policy"], &data).output().unwrap();
    assert!(said(&there).contains("policy.key exists"), "{}", said(&there));
    for key in ["policy", "ca", "storage"] {
        let file = data.join(format!("{key}.key"));
        let kept = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let refused = said(&fails("127.0.0.1:0", &data));
        assert!(
            refused.contains(&format!("{key}.key is missing beside the database")),
            "{refused}"
        );
        assert!(refused.contains(&format!("admin new-key {key}")), "{refused}");
        assert!(!file.exists());

        // With the backup restored, and then without.
        fs::write(&file, &kept).unwrap();
        starts(&data);
        fs::remove_file(&file).unwrap();
        let made = program(&["admin", "new-key", key], &data).output().unwrap();
        assert!(made.status.success() && said(&made).contains("is recreated: "), "{}", said(&made));
        assert_ne!(fs::read(&file).unwrap(), kept);
        starts(&data);
    }
}

/// The signals for which a process has handlers, as a mask.
fn caught(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

#[test]
fn a_platform_stops_on_a_signal_during_startup() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut child = program(&["serve", "--listen", "127.0.0.1:0"], &data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first file exists: it does not listen yet.
        xshield_lab::wait::until("it has begun", Duration::from_secs(60), || {
            Ok(data.exists().then_some(()))
        })
        .unwrap();
        let bit = 1 << (signal.as_raw() - 1);
        assert_ne!(caught(child.id()) & bit, 0, "{signal:?} would end it by itself");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let code = child.wait().unwrap().code();
        // It may have come up in the meantime.
        let (before, up) =
            (log.contains("stopped before"), log.contains("the platform has stopped"));
        assert!(before || up, "{log}");
        let expected = if before && signal == Signal::INT { 130 } else { 0 };
        assert_eq!(code, Some(expected), "{log}");
    }
}
