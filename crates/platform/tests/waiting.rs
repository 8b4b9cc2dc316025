//! Long operations: progress is shown, confirmation is asked for, and an interruption says what it leaves.
//! The real program, in pipes and at a terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::plain::{self, Plain};
use support::slow_platform::{Reply, SlowPlatform};
use support::{PASSWORD, TestHost, TestPlatform};
use xshield_lab::terminal::Terminal;
use xshield_operations::policy::impact::summary;
use xshield_policy::Impact;

const XSHIELD: &str = env!("CARGO_BIN_EXE_xshield");

/// Every command gets as far as the request that is not answered.
fn says(request: &str) -> Reply {
    match request {
        "GET /api/v1/policy/impact" => {
            let impact = summary(&Impact::default(), 3, "[]").unwrap();
            Reply::Json(json!({
                "candidate_version": 1, "committed_revision": null, "warnings": [], "impact": impact,
            }))
        }
        "GET /api/v1/policy" => Reply::Json(json!({
            "version": 1, "updated_at": null, "updated_by": null, "committed_revision": null,
            "differs_from_committed": false, "documents": [],
        })),
        "GET /api/v1/threat/list" => Reply::PartOf(1_000_000, b"192.0.2.1\n192.0.2.2\n"),
        "GET /api/v1/diagnostics/web" => Reply::PartOf(1_000_000, b"\x1f\x8b"),
        _ => Reply::Nothing,
    }
}

/// A user of the command line, with a home directory of its own.
struct User {
    home: tempfile::TempDir,
    url: String,
}

impl User {
    fn of(platform: &SlowPlatform) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("ca.pem"), &platform.ca).unwrap();
        Self { home, url: platform.url.clone() }
    }

    fn of_real(platform: &TestPlatform) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("ca.pem"), platform.ca_pem()).unwrap();
        Self { home, url: format!("https://{}", platform.address) }
    }

    fn adjust(&self, command: &mut Command, token: &str) {
        command.env_clear().env("HOME", self.home.path()).current_dir(self.home.path());
        command.env("TERM", "xterm");
        if !token.is_empty() {
            command.env("XSHIELD_URL", &self.url).env("XSHIELD_TOKEN", token);
            command.env("XSHIELD_CA", self.home.path().join("ca.pem"));
        }
    }

    fn start(&self, arguments: &str) -> Child {
        let mut command = Command::new(XSHIELD);
        command.args(arguments.split_whitespace());
        self.adjust(&mut command, "t");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn at_terminal(&self, arguments: &[&str], token: &str) -> Terminal {
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "sh"]);
        self.adjust(&mut shell, token);
        Terminal::run(shell, XSHIELD, arguments).unwrap()
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn has_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.len() > 0)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Duration::from_secs(60);
    xshield_lab::wait::until(what, limit, || Ok(is_so().then_some(()))).unwrap();
}

#[test]
fn an_interrupted_command_says_what_it_leaves() {
    const ASKED: &str =
        "stopped: once the platform has received the whole request, it carries it out";
    const PARTLY: &str = "stopped: the partial file was removed; ";
    let platform = SlowPlatform::start(says);
    for (arguments, request, left) in [
        (
            "policy synchronize",
            "POST /api/v1/policy/synchronize",
            &[ASKED, "Check the result: xshield policy revisions\n"][..],
        ),
        ("policy validate", "POST /api/v1/policy/validate", &["stopped: nothing was changed\n"]),
        ("asset list", "GET /api/v1/assets?limit=500", &["stopped: nothing was changed\n"]),
        (
            "threat feed run soc",
            "POST /api/v1/threat/feeds/soc/run",
            &[ASKED, "xshield threat feed show soc\n"],
        ),
        (
            "asset rename web web-1",
            "POST /api/v1/assets/web/rename",
            &[ASKED, "; check the result before you try again\n"],
        ),
        (
            "key create --name k --host-config new",
            "POST /api/v1/enforcement-keys",
            &["stopped: new was removed. The key may have been created", "xshield key list"],
        ),
        ("threat export", "GET /api/v1/threat/list", &["stopped: the output is not complete\n"]),
        ("threat export --to-file new", "GET /api/v1/threat/list", &[PARTLY, "there is no new\n"]),
        ("threat export --to-file old", "GET /api/v1/threat/list", &[PARTLY, "old is as it was\n"]),
        (
            "diagnostics get web --output-file new",
            "GET /api/v1/diagnostics/web",
            &[PARTLY, "there is no new\n"],
        ),
        ("live", "GET /api/v1/live-events", &[]),
    ] {
        let user = User::of(&platform);
        fs::write(user.home.path().join("old"), "old").unwrap();
        let child = user.start(arguments);
        platform.wait_for(request);
        if let Some((_, file)) = arguments.split_once("-file ") {
            let part = user.home.path().join(format!("{file}.new"));
            wait_until("a part has come", || has_bytes(&part));
        }
        signal(&child, Signal::INT);
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(130), "{arguments}: {said}");
        assert_eq!(said.is_empty(), left.is_empty(), "{arguments}: {said}");
        for part in left {
            assert!(said.contains(part), "{arguments}: {part:?} is not in {said}");
        }
        let mut files: Vec<_> =
            fs::read_dir(user.home.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["ca.pem", "old"], "{arguments}");
        assert_eq!(fs::read(user.home.path().join("old")).unwrap(), b"old");
    }
}

#[test]
fn long_work_prints_progress_and_sigterm_acts_like_ctrl_c() {
    let platform = SlowPlatform::start(says);
    let user = User::of(&platform);
    let mut child = user.start("policy synchronize --json");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines.find(|line| line.as_ref().unwrap().starts_with("still waiting")).unwrap();
    let found = found.unwrap();
    assert!(found.starts_with("still waiting to synchronize the policy: "), "{found}");
    assert!(found.ends_with(" s"), "{found}");
    signal(&child, Signal::TERM);
    let last = lines.next().unwrap().unwrap();
    assert!(last.starts_with("stopped: once the platform has"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "", "what programs read has nothing of it");
}

#[test]
fn progress_at_a_terminal_is_shown_and_erased() {
    let platform = SlowPlatform::start(says);
    let user = User::of(&platform);
    let mut terminal = user.at_terminal(&["policy", "synchronize"], "t");
    terminal.wait_for("still waiting to synchronize the policy: ").unwrap();
    terminal.type_in("\u{3}").unwrap();
    let (code, seen) = terminal.end().unwrap();
    assert_eq!(code, 130, "{seen}");
    let (_, after) = seen.rsplit_once("\u{1b}[2K").expect("the line is taken away");
    assert!(
        after.contains("stopped: once the platform has received the whole request"),
        "{seen:?}"
    );
    assert!(!after.contains("still waiting"), "{seen:?}");
}

#[test]
fn an_aborted_password_prompt_restores_the_echo() {
    let platform = TestPlatform::start();
    let user = User::of_real(&platform);
    let url = user.url.clone();
    let mut terminal = user.at_terminal(&["login", &url, "--user", "admin"], "");
    terminal.wait_for("Its CA certificate has the fingerprint\r\n  sha256:").unwrap();
    terminal
        .wait_for("\r\nIs that the fingerprint the platform printed when it started? [y/N] ")
        .unwrap();
    terminal.type_in("y\r").unwrap();
    terminal.wait_for("Password of admin: ").unwrap();
    terminal.type_in("\u{3}").unwrap();
    terminal.wait_for("stopped: nothing was changed").unwrap();
    assert!(terminal.echoes().unwrap());
    assert_eq!(terminal.end().unwrap().0, 130);

    let mut terminal = user.at_terminal(&["login", &url, "--user", "admin"], "");
    terminal.wait_for("[y/N] ").unwrap();
    terminal.type_in("y\r").unwrap();
    terminal.wait_for("Password of admin: ").unwrap();
    wait_until("nothing is shown", || !terminal.echoes().unwrap());
    terminal.type_in(&format!("{PASSWORD}\r")).unwrap();
    let (code, seen) = terminal.end().unwrap();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("Signed in to ") && !seen.contains(PASSWORD), "{seen}");
}

const POLICY: &str = "\
segment:
  name: web
  criteria: role = 'web'
  templates: []
  inbound: { level: secure-all-ports, mode: enforce }
---
settings:
  management:
    - { from: [10.9.0.1], services: [tcp/22] }
";

/// A host that can be reached at an address.
fn host(platform: &TestPlatform, address: &str) {
    let made =
        platform.post("/api/v1/enforcement-keys", json!({"name": "k", "tags": {"role": "web"}}));
    let mut host = TestHost::new("web-1", &made["key"].as_str().unwrap().parse().unwrap());
    host.addresses = vec![address.parse().unwrap()];
    host.sign_in(platform);
    host.check_in(platform);
}

#[test]
fn a_commit_at_a_terminal_asks_for_confirmation() {
    let platform = TestPlatform::start();
    host(&platform, "192.0.2.10");
    let user = User::of_real(&platform);
    fs::write(user.home.path().join("policy.yaml"), POLICY).unwrap();
    let revisions = || platform.get("/api/v1/policy/revisions")["items"].as_array().unwrap().len();
    let apply = ["policy", "apply", "-f", "policy.yaml", "--synchronize"];
    for (keys, code, told, committed) in [
        ("n\r", 1, "error: not committed; nothing was changed\r\n", 0),
        ("\r", 1, "error: not committed; nothing was changed\r\n", 0),
        ("\u{4}", 1, "error: not committed; nothing was changed\r\n", 0),
        ("\u{3}", 130, "stopped: nothing was changed\r\n", 0),
        ("y\r", 0, "Committed revision 1; 1 asset has a ruleset of it.\r\n", 1),
    ] {
        let mut terminal = user.at_terminal(&apply, &platform.admin);
        terminal.wait_for("+ segment web\r\n+ settings\r\n").unwrap();
        terminal
            .wait_for("Impact on 1 asset:\r\n+ 1 asset with more protection inbound: web-1\r\n")
            .unwrap();
        terminal.wait_for("Commit it? [y/N] ").unwrap();
        terminal.type_in(keys).unwrap();
        let (ended, seen) = terminal.end().unwrap();
        assert_eq!(ended, code, "{keys:?}: {seen}");
        assert!(seen.contains(told), "{keys:?}: {seen}");
        assert_eq!(revisions(), committed, "{keys:?}");
        let candidate = platform.get("/api/v1/policy");
        assert_eq!(candidate["documents"].as_array().unwrap().len(), 2 * committed, "{keys:?}");
    }
}

#[test]
fn listing_private_ranges_needs_confirmation() {
    let platform = TestPlatform::start();
    host(&platform, "10.1.0.1");
    let user = User::of_real(&platform);
    let settings = || platform.get("/api/v1/threat/settings")["private_ranges"].clone();
    let ask = ["threat", "settings", "--private-ranges", "listed"];
    for (keys, code, told) in [
        ("n\r", 1, "error: private ranges stay protected; nothing was changed\r\n"),
        ("\u{3}", 130, "stopped: nothing was changed\r\n"),
    ] {
        let mut terminal = user.at_terminal(&ask, &platform.admin);
        terminal.wait_for("Hosts with addresses in private ranges: 1 of 1.").unwrap();
        terminal.wait_for("May feeds list private ranges? [y/N] ").unwrap();
        terminal.type_in(keys).unwrap();
        let (ended, seen) = terminal.end().unwrap();
        assert_eq!((ended, settings()), (code, json!("protected")), "{keys:?}: {seen}");
        assert!(seen.contains(told), "{keys:?}: {seen}");
    }
    // API clients confirm in the same way.
    let path = "/api/v1/threat/settings";
    let put = |body| platform.call("PUT", path, Some(&platform.admin), Some(body));
    let wish = |expected: &str| {
        let mut body = json!({ "private_ranges": "listed", "verify_every": 60 });
        if !expected.is_empty() {
            body["expected_impact"] = json!(expected);
        }
        body
    };
    let digest = || {
        let impact = platform.get("/api/v1/threat/private-ranges/impact");
        impact["digest"].as_str().unwrap().to_owned()
    };
    let before = digest();
    let other = format!("sha256:{}", "0".repeat(64));
    for (expected, status, kind) in [
        ("", 409, "/problems/impact-is-loss"),
        ("no-loss", 409, "/problems/impact-is-loss"),
        (&other, 409, "/problems/impact-differs"),
        ("yes", 400, "/problems/invalid-json"),
    ] {
        let (answered, answer) = put(wish(expected));
        assert_eq!(
            (answered, answer["type"].as_str()),
            (status, Some(kind)),
            "{expected}: {answer}"
        );
        assert_eq!(settings(), "protected", "{expected}");
    }
    let (status, answer) = put(wish(&before));
    assert_eq!((status, settings()), (200, json!("listed")), "{answer}");
    // Leaving the setting unchanged, or reverting it, needs no confirmation.
    assert_eq!(put(wish("")).0, 200);
    assert_eq!(put(json!({ "private_ranges": "protected", "verify_every": 60 })).0, 200);
    assert_eq!(put(wish("any")).0, 200);
    assert_eq!(put(json!({ "private_ranges": "protected", "verify_every": 60 })).0, 200);

    let mut terminal = user.at_terminal(&ask, &platform.admin);
    terminal.wait_for("[y/N] ").unwrap();
    terminal.type_in("y\r").unwrap();
    let (code, seen) = terminal.end().unwrap();
    assert_eq!((code, settings()), (0, json!("listed")), "{seen}");
}

/// A segment of all hosts, and so many rules that compiling takes a while.
fn large() -> String {
    let mut text = POLICY.replace("templates: []", "templates: [t]");
    text.push_str("---\ntemplate:\n  name: t\n  action: allow\n  ports:\n");
    for rule in 1..=400 {
        text.push_str(&format!(
            "    - {{ name: r{rule}, from: ['segment:web'], services: [tcp/{rule}] }}\n"
        ));
    }
    text
}

#[test]
fn a_requested_commit_is_made_after_a_disconnect() {
    let platform = TestPlatform::start();
    let made =
        platform.post("/api/v1/enforcement-keys", json!({"name": "k", "tags": {"role": "web"}}));
    let key = made["key"].as_str().unwrap().parse().unwrap();
    for number in 0..4 {
        let mut host = TestHost::new(&format!("h{number}"), &key);
        host.addresses = (0..250).map(|last| [10, 8, number, last].into()).collect();
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    let token = vec![("authorization".to_owned(), format!("Bearer {}", platform.admin))];
    let headers =
        |kind: &str| [token.clone(), vec![("content-type".to_owned(), kind.to_owned())]].concat();
    let put =
        platform.raw("PUT", "/api/v1/policy", &headers("application/yaml"), large().as_bytes());
    assert_eq!(put.status, 200, "{}", put.json());
    let wish = json!({ "expected_version": 1, "expected_impact": "any" }).to_string();
    let path = "/api/v1/policy/synchronize";
    // A platform that asks for the body has begun.
    let expect = vec![("expect".to_owned(), "100-continue".to_owned())];
    let headers = [headers("application/json"), expect].concat();
    let data = platform.data_dir();
    let mut plain = Plain::open(platform.address, &data, Duration::from_secs(60)).unwrap();
    plain.send(&plain::head("POST", path, &headers, wish.len())).unwrap();
    assert_eq!(plain.head().unwrap(), "HTTP/1.1 100 Continue\n");
    plain.send(wish.as_bytes()).unwrap();
    plain.end_sending().unwrap();
    assert_eq!(plain.until_the_end(), "", "the platform has seen the end of the connection");
    wait_until("the revision is there", || {
        !platform.get("/api/v1/policy/revisions")["items"].as_array().unwrap().is_empty()
    });
    // The policy in memory is of that revision, too: the next one is based on it.
    let wish = json!({ "expected_version": 1, "expected_impact": "no-loss" });
    let (status, answer) = platform.call("POST", path, Some(&platform.admin), Some(wish));
    assert_eq!((status, &answer["revision"]), (200, &json!(2)), "{answer}");
}
