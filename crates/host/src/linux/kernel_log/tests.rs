use super::*;
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

const MOMENT: Moment<'_> = Moment { now: 1_000_000, uptime: 1_000, boot_id: "this-boot" };

fn ours(port: u16) -> String {
    format!(
        "xshield: DENY in rule=none IN=eth0 OUT= SRC=10.0.0.5 DST=10.0.0.9 LEN=60 PROTO=TCP SPT=1 DPT={port}"
    )
}

fn ports(batch: &Batch) -> Vec<u16> {
    batch.lines.iter().map(|(_, line)| line.port).collect()
}

/// A log file that can be appended to and rotated.
struct LogFile {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl LogFile {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources {
            journal_socket: dir.path().join("socket"),
            journalctl: dir.path().join("journalctl"),
            files: vec![dir.path().join("absent"), dir.path().join("kern.log")],
            kmsg: dir.path().join("kmsg"),
        };
        let file = Self { dir, sources };
        file.write("");
        file
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, text: &str) {
        let path = self.path("kern.log");
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn deny(&self, port: u16) {
        self.write(&format!("Nov 21 03:00:00 db kernel: [  12.345] {}\n", ours(port)));
    }

    fn read(&self, cursor: Option<&Cursor>) -> Batch {
        // A modification time in the future does not make it stale.
        let moment = Moment { uptime: MOMENT.now, ..MOMENT };
        self.sources.read(cursor, moment).unwrap().unwrap()
    }
}

#[test]
fn a_file_is_read_from_the_last_position() {
    let log = LogFile::new();
    log.deny(1);
    let batch = log.read(None);
    assert_eq!(ports(&batch), [0; 0], "what was there before us");
    log.deny(2);
    log.write("Nov 21 03:00:00 db kernel: [  13.0] usb 1-1: something else\n");
    log.write(&format!("Nov 21 03:00:00 db kernel: {}", ours(3)));
    let batch = log.read(Some(&batch.cursor));
    assert_eq!((ports(&batch), batch.lost), (vec![2], 0), "half a line waits");
    log.write("\n");
    let text = serde_json::to_string(&batch.cursor).unwrap();
    let batch = log.read(Some(&serde_json::from_str(&text).unwrap()));
    assert_eq!(ports(&batch), [3]);
    assert_eq!(ports(&log.read(Some(&batch.cursor))), [0; 0]);
}

#[test]
fn rotation_loses_nothing_or_reports_a_gap() {
    let log = LogFile::new();
    let batch = log.read(None);
    log.deny(1);
    fs::rename(log.path("kern.log"), log.path("kern.log.1")).unwrap();
    log.deny(2);
    let batch = log.read(Some(&batch.cursor));
    assert_eq!((ports(&batch), batch.lost), (vec![1, 2], 0), "renamed");

    log.deny(3);
    fs::remove_file(log.path("kern.log")).unwrap();
    log.write("Nov 21 03:00:00 db kernel: x\n");
    log.deny(4);
    let batch = log.read(Some(&batch.cursor));
    assert_eq!((ports(&batch), batch.lost), (vec![4], 1), "removed");

    fs::write(log.path("kern.log"), "").unwrap();
    let batch = log.read(Some(&batch.cursor));
    assert_eq!((ports(&batch), batch.lost), (vec![], 1), "emptied");
}

#[test]
fn a_flood_is_read_in_batches() {
    let log = LogFile::new();
    let mut batch = log.read(None);
    let line = format!("Nov 21 03:00:00 db kernel: {}\n", ours(7));
    log.write(&line.repeat(MOST_LINES + 5));
    fs::rename(log.path("kern.log"), log.path("kern.log.1")).unwrap();
    log.deny(8);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        batch = log.read(Some(&batch.cursor));
        sizes.push(batch.lines.len());
    }
    assert_eq!(sizes, [MOST_LINES, 6, 0]);
}

#[test]
fn lines_written_by_programs_are_ignored() {
    let fake = ours(1);
    #[rustfmt::skip]
    let table = [
        (format!("Nov 21 03:00:00 db kernel: {fake}"), true),
        (format!("Nov 21 03:00:00 db kernel: [    1.000000] {fake}"), true),
        (format!("2026-11-21T03:00:00.123456+00:00 db kernel: [12.3] {fake}"), true),
        (format!("Nov 21 03:00:00 db sshd[7]: kernel: {fake}"), false),
        (format!("Nov 21 03:00:00 db sshd[7]: x kernel: [1.0] {fake}"), false),
        (format!("Nov 21 03:00:00 db kernel-helper: {fake}"), false),
        (format!("Nov 21 03:00:00 db kernel: [user] {fake}"), false),
        (fake.clone(), false),
    ];
    for (line, believed) in table {
        let message = file::kernel_message(&line);
        let got = message.and_then(LogLine::parse).is_some();
        assert_eq!(got, believed, "{line}");
    }
}

#[test]
fn a_stale_log_file_is_ignored() {
    let log = LogFile::new();
    let future = Moment { now: u64::MAX / 2, uptime: 10, boot_id: "b" };
    assert_eq!(log.sources.read(None, future).unwrap(), None, "and there is no ring");
    assert!(log.sources.read(None, Moment { uptime: future.now, ..future }).unwrap().is_some());
}

/// A ring buffer with these records; `None` is an overrun.
fn drain(cursor: Option<&Cursor>, records: &[Option<String>]) -> Batch {
    let mut records = records.iter();
    let next = || match records.next() {
        Some(Some(text)) => Ok(text.clone()),
        Some(None) => Err(io::ErrorKind::BrokenPipe.into()),
        None => Err(io::ErrorKind::WouldBlock.into()),
    };
    kmsg::drain(cursor, MOMENT, next).unwrap()
}

fn record(priority: u32, sequence: u64, message: &str) -> Option<String> {
    Some(format!("{priority},{sequence},5000000,-;{message}\n SUBSYSTEM=net\n"))
}

#[test]
fn gaps_in_the_kernel_ring_buffer_are_counted() {
    let at = |boot: &str, next| Cursor::Kmsg { boot_id: boot.to_owned(), next };
    let records = [record(4, 8, &ours(8)), record(6, 9, "other"), None, record(4, 20, &ours(20))];
    #[rustfmt::skip]
    let table = [
        ("the first run", None, vec![], 0),
        ("all new", Some(at("this-boot", 8)), vec![8, 20], 10),
        ("partly new", Some(at("this-boot", 9)), vec![20], 10),
        ("overwritten before we came", Some(at("this-boot", 5)), vec![8, 20], 13),
        ("nothing new", Some(at("this-boot", 21)), vec![], 0),
        ("another boot", Some(at("earlier", 900)), vec![8, 20], 18),
        ("another source", Some(Cursor::Journal { at: None }), vec![], 0),
    ];
    for (name, cursor, expected, lost) in table {
        let batch = drain(cursor.as_ref(), &records);
        assert_eq!((ports(&batch), batch.lost), (expected, lost), "{name}");
        assert_eq!(batch.cursor, at("this-boot", 21), "{name}");
        assert!(batch.lines.iter().all(|(seen, _)| *seen == Some(999_005)), "{name}");
    }
}

#[test]
fn records_of_programs_are_ignored_and_damage_is_counted() {
    let from_zero = Cursor::Kmsg { boot_id: "this-boot".to_owned(), next: 0 };
    let records = [
        record(12, 0, &ours(1)),
        Some("garbage".to_owned()),
        record(4, 1, &ours(2)),
        record(4, 2, "xshield: DENY in rule=none IN=eth0 SRC=10.0"),
    ];
    let batch = drain(Some(&from_zero), &records);
    assert_eq!((ports(&batch), batch.lost), (vec![2], 1));
}

#[test]
fn the_real_kernel_ring_buffer_is_read() {
    let sources = Sources { files: vec![], journal_socket: "/no".into(), ..Sources::default() };
    let first = match sources.read(None, MOMENT) {
        Ok(Some(batch)) => batch,
        other => {
            eprintln!("SKIPPED: /dev/kmsg can't be read here: {other:?}");
            return;
        }
    };
    assert_eq!(first.lines, []);
    let Cursor::Kmsg { next, .. } = first.cursor else { panic!("{first:?}") };
    assert!(next > 0);
    let second = sources.read(Some(&first.cursor), MOMENT).unwrap().unwrap();
    let Cursor::Kmsg { next: later, .. } = second.cursor else { panic!("{second:?}") };
    assert!(later >= next);
}

/// A `journalctl` that answers from files and records its arguments.
fn fake_journal(log: &LogFile, answer: &str, status: u8) {
    fs::write(log.path("socket"), "").unwrap();
    fs::write(log.path("answer"), answer).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {0}/called\ncat {0}/answer\nexit {status}\n",
        log.dir.path().display()
    );
    // Written by another process: a process forked by the test program meanwhile must not hold it open for
    // writing, or running it fails.
    fs::write(log.path("script"), script).unwrap();
    let copied = std::process::Command::new("cp")
        .arg(log.path("script"))
        .arg(log.path("journalctl"))
        .status()
        .unwrap();
    assert!(copied.success());
    fs::set_permissions(log.path("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn entry(cursor: &str, transport: &str, message: &Value) -> String {
    let entry = serde_json::json!({
        "__CURSOR": cursor, "__REALTIME_TIMESTAMP": "1763694000123456",
        "_TRANSPORT": transport, "MESSAGE": message,
    });
    format!("{entry}\n")
}

use serde_json::Value;

#[test]
fn the_journal_takes_precedence() {
    let log = LogFile::new();
    let text = |text: &str| Value::String(text.to_owned());
    fake_journal(&log, &entry("s=1", "syslog", &text("hello")), 0);
    let batch = log.read(None);
    assert_eq!(batch.cursor, Cursor::Journal { at: Some("s=1".to_owned()) });

    let bytes = Value::Array(ours(2).bytes().map(Value::from).collect());
    let answer = [
        entry("s=2", "kernel", &text(&ours(1))),
        entry("s=3", "kernel", &bytes),
        entry("s=4", "kernel", &Value::Null),
        "{broken\n".to_owned(),
        entry("s=5", "driver", &text("Missed 7 kernel messages")),
        entry("s=6", "stdout", &text("Missed 9 kernel messages")),
    ];
    fake_journal(&log, &answer.concat(), 0);
    let batch = log.read(Some(&batch.cursor));
    assert_eq!((ports(&batch), batch.lost), (vec![1, 2], 8));
    assert_eq!(batch.lines[0].0, Some(1_763_694_000));
    assert_eq!(batch.cursor, Cursor::Journal { at: Some("s=6".to_owned()) });
    let called = fs::read_to_string(log.path("called")).unwrap();
    assert!(called.contains("--after-cursor=s=1 _TRANSPORT=kernel + MESSAGE_ID="), "{called}");
}

#[test]
fn a_failing_journal_is_an_error() {
    let log = LogFile::new();
    fake_journal(&log, "", 3);
    let moment = Moment { uptime: MOMENT.now, ..MOMENT };
    let error = log.sources.read(None, moment).unwrap_err();
    assert!(error.to_string().contains("journalctl"), "{error}");
}

proptest! {
    #[test]
    fn any_record_and_line_is_parsed(text in "\\PC*", head in "[0-9]{0,25},[0-9]{0,25},[0-9]{0,25}") {
        let from = Cursor::Kmsg { boot_id: "this-boot".to_owned(), next: 0 };
        drain(Some(&from), &[Some(text.clone()), Some(format!("{head},-;{text}"))]);
        let _ = file::kernel_message(&text);
    }
}
