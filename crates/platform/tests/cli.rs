//! The command-line client as operators and CI run it: the real binary against a real platform.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use support::{PASSWORD, TestHost, TestPlatform, now, report};
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::*;
use xshield_wire::{DeploymentKey, EnforcementKey};

const WEB: &str = "\
segment:
  name: web
  criteria: role = 'web'
  templates: [web-tier]
  inbound: { level: secure-inbound-paths, mode: enforce }
---
template:
  name: web-tier
  action: allow
  inbound:
    - { name: https, from: [any], services: [tcp/443] }
";

/// One operator's home directory.
struct Operator {
    home: tempfile::TempDir,
    url: String,
}

/// The result of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn refused(self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        assert!(self.err.contains(reason), "{reason:?} is not in:\n{}", self.err);
    }
}

impl Operator {
    fn of(platform: &TestPlatform) -> Self {
        let url = format!("https://{}", platform.address);
        let operator = Self { home: tempfile::tempdir().unwrap(), url };
        fs::write(operator.path("password"), format!("{PASSWORD}\n")).unwrap();
        fs::write(operator.path("ca.pem"), platform.ca_pem()).unwrap();
        operator
    }

    fn signed_in(platform: &TestPlatform) -> Self {
        let operator = Self::of(platform);
        operator.login(&["--ca", &operator.text("ca.pem")]).good();
        operator
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xshield"));
        command.args(arguments).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.run(&arguments).good()).unwrap()
    }

    fn login(&self, trust: &[&str]) -> Ran {
        let password = self.text("password");
        let mut arguments =
            vec!["login", &self.url, "--user", "admin", "--password-file", &password];
        arguments.extend(trust);
        self.run(&arguments)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_sign_in_is_stored_and_signing_out_ends_it_at_the_platform() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let stored = operator.path(".config/xshield/cli.yaml");
    assert_eq!(mode(&stored), 0o600);
    let me = operator.run(&["whoami"]).good();
    assert!(me.contains("admin") && me.contains(&operator.url), "{me}");

    let text = fs::read_to_string(&stored).unwrap();
    let token = text.split('"').find(|part| part.starts_with("xat1_")).unwrap().to_owned();
    assert!(operator.run(&["logout"]).good().is_empty());
    let left = fs::read_to_string(&stored).unwrap();
    assert!(!left.contains("xat1_") && left.contains("CERTIFICATE"), "{left}");
    let (status, _) = platform.call("GET", "/api/v1/me", Some(&token), None);
    assert_eq!(status, 401, "the token has ended at the platform, too");
    operator.run(&["whoami"]).refused(3, "xshield login");
    // The platform is still known by its CA certificate; its fingerprint is not asked for again.
    let again = operator.login(&[]);
    again.good();
    operator.run(&["whoami"]).good();
}

#[test]
fn only_the_platform_with_the_given_fingerprint_is_trusted() {
    let (platform, other) = (TestPlatform::start(), TestPlatform::start());
    let operator = Operator::of(&platform);
    operator.login(&[]).refused(4, "--fingerprint");

    let wrong = format!("sha256:{}", "0".repeat(64));
    operator.login(&["--fingerprint", &wrong]).refused(4, "not the expected platform");
    let other_ca = operator.write("other.pem", &other.ca_pem());
    operator.login(&["--ca", &other_ca]).refused(4, "could not sign in at https://127.0.0.1");

    let ca = CertificateDer::from_pem_slice(platform.ca_pem().as_bytes()).unwrap();
    let hash: String =
        digest(&SHA256, &ca).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    operator.login(&["--fingerprint", &format!("sha256:{hash}")]).good();
    operator.run(&["whoami"]).good();
    operator.login(&[]).good();
}

#[test]
fn wrong_passwords_missing_roles_and_unreachable_platforms_have_exit_codes() {
    let mut platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    operator.write("password", "not the password\n");
    operator.login(&["--ca", &operator.text("ca.pem")]).refused(3, "Wrong user or password");
    operator.write("password", "\n");
    operator.login(&["--ca", &operator.text("ca.pem")]).refused(1, "the first line is empty");

    let operator = Operator::signed_in(&platform);
    let viewer = operator.run(&["token", "create", "--name", "ci", "--role", "viewer"]).good();
    let mut as_viewer = operator.command(&["key", "create", "--name", "k"]);
    as_viewer.env("XSHIELD_TOKEN", viewer.trim());
    finish(as_viewer).refused(3, "requires the role operator");
    operator.run(&["asset", "show", "nobody"]).refused(1, "there is no asset \"nobody\"");
    operator.run(&["asset", "shew"]).refused(2, "shew");
    platform.end();
    operator.run(&["whoami"]).refused(4, &operator.url);
}

#[test]
fn the_environment_alone_is_enough_for_ci() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    let mut command = operator.command(&["whoami", "--json"]);
    command
        .env("XSHIELD_URL", &operator.url)
        .env("XSHIELD_TOKEN", &platform.admin)
        .env("XSHIELD_CA", operator.path("ca.pem"));
    let me: Value = serde_json::from_str(&finish(command).good()).unwrap();
    assert_eq!(me["user"], "admin");
    assert!(!operator.path(".config").exists(), "nothing is stored");
}

#[test]
fn a_key_is_written_as_a_host_configuration_that_works() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let file = operator.text("config.yaml");
    let made = operator.run(&[
        "key",
        "create",
        "--name",
        "web hosts",
        "--expires",
        "90d",
        "--tag",
        "role=web",
        "--host-config",
        &file,
    ]);
    assert!(made.err.contains("in 89 days") || made.err.contains("in 90 days"), "{}", made.err);
    assert_eq!(made.good(), "", "the secret is in the file alone");
    assert_eq!(mode(Path::new(&file)), 0o600);
    let config = fs::read_to_string(&file).unwrap();
    let key = config.split_whitespace().find(|word| word.starts_with("xek1_")).unwrap();
    let key: EnforcementKey = key.parse().unwrap();
    TestHost::new("web-1", &key).sign_in(&platform);
    assert_eq!(operator.json(&["asset", "show", "web-1"])["tags"], json!({"role": "web"}));

    operator
        .run(&["key", "create", "--name", "again", "--host-config", &file])
        .refused(1, "could not make");
    let keys = operator.json(&["key", "list"]);
    assert_eq!(keys["items"].as_array().unwrap().len(), 1, "no key without its file: {keys}");

    let id = keys["items"][0]["id"].as_str().unwrap();
    let next = operator.run(&["key", "rotate", id, "--overlap", "1d"]).good();
    let [key, deployment, install] =
        <[&str; 3]>::try_from(next.lines().collect::<Vec<_>>()).unwrap();
    let secret = |line: &str| line.split_whitespace().last().unwrap().to_owned();
    let key: EnforcementKey = secret(key).parse().unwrap();
    let deployment: DeploymentKey = secret(deployment).parse().unwrap();
    assert_eq!(deployment.enforcement(), &key);
    let command = format!("ctagent register --domain {} --deploymentKey xdk1_", platform.address);
    assert!(install.contains(&command), "{install}");
    let keys = operator.json(&["key", "list"]);
    let (old, new) = (operator.json(&["key", "show", id]), key.id().to_string());
    let new = keys["items"].as_array().unwrap().iter().find(|key| key["id"] == new).unwrap();
    let ends = |key: &Value| key["expires_at"].as_str().unwrap()[..10].to_owned();
    assert_ne!(ends(new), ends(&old), "as long as the old one was made for, not as it ends now");
    assert_eq!(old["hosts_using"][0]["name"], "web-1", "{old}");
    operator.run(&["key", "revoke", id]).good();
    let table = operator.run(&["key", "list"]).good();
    assert!(table.contains("revoked") && table.contains("active"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours in a pipe: {table:?}");
}

#[test]
fn bad_documents_are_named_by_file_line_and_column_and_nothing_is_applied() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    operator.write("policy/web.yaml", WEB);
    let directory = operator.text("policy");
    operator.run(&["policy", "apply", "-f", &directory]).good();
    let before = platform.get("/api/v1/policy");

    let laughs = "segment:\n  name: a\n  criteria: &a x\n  b: [*a, *a]\n";
    for (text, place) in [
        ("segment:\n  name: web\n", "wrong.yaml:2:3: missing field `criteria`"),
        ("segment:\n  name: db\n  criteria: role ~ 'x'\n", "wrong.yaml:3:13: "),
        (
            "segment:\n  name: db\n  criteria: role = 'x'\n  templates: [gone]\n",
            "wrong.yaml:4:15: ",
        ),
        ("network: { name: n, cidrs: [10.0.0.1/8] }\n", "wrong.yaml:1:29: "),
        (laughs, "wrong.yaml:3:"),
        ("settings: [\n", "wrong.yaml:1:11: "),
        (WEB, "wrong.yaml"),
    ] {
        operator.write("policy/wrong.yaml", text);
        let place = format!("{directory}/{place}");
        operator.run(&["policy", "apply", "-f", &directory, "--synchronize"]).refused(1, &place);
        operator.run(&["policy", "validate", "-f", &directory]).refused(1, &place);
        operator.run(&["policy", "validate", "--local", "-f", &directory]).refused(1, &place);
    }
    assert_eq!(platform.get("/api/v1/policy"), before);
    assert_eq!(operator.json(&["policy", "revisions"])["items"], json!([]));
}

#[test]
fn a_new_user_is_shown_the_next_step() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let directory = operator.text("policy");
    operator.write("policy/web.yaml", WEB);

    // Nothing was applied yet: an empty policy is not committed by mistake.
    operator.run(&["policy", "synchronize"]).refused(1, "xshield policy apply -f DIRECTORY");
    assert_eq!(operator.json(&["policy", "revisions"])["items"], json!([]));

    for verb in ["apply", "validate"] {
        operator.run(&["policy", verb, &directory]).good();
    }
    operator.run(&["policy", "validate", "--local", &directory]).good();
    operator.run(&["policy", "apply"]).refused(2, "xshield policy apply -f policy/");
    operator.run(&["policy", "validate", "--local"]).refused(2, "-f policy/");
    assert_eq!(platform.get("/api/v1/policy")["version"], 1);

    let unknown = operator.run(&["asset", "tag", "db-9", "role=db"]);
    assert!(unknown.err.contains("there is no asset \"db-9\""), "{}", unknown.err);
    unknown.refused(1, "start ctspark or ctagent on it first. All assets: xshield asset list");
}

#[test]
fn a_policy_is_applied_committed_compared_and_restored() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let file = operator.write("policy/web.yaml", WEB);

    let dry = operator.run(&["policy", "apply", "-f", &file, "--dry-run"]).good();
    assert!(dry.starts_with("+ segment web\n+ template web-tier\n"), "{dry}");
    assert_eq!(platform.get("/api/v1/policy")["version"], 0, "a dry run changes nothing");

    let applied =
        operator.run(&["policy", "apply", "-f", &file, "--synchronize", "--note", "first"]).good();
    assert!(applied.contains("Committed revision 1"), "{applied}");
    let got = operator.run(&["policy", "get"]).good();
    operator.write("printed.yaml", &got);
    let mut again = operator.command(&["policy", "apply", "-f", "-", "--dry-run"]);
    again.stdin(fs::File::open(operator.path("printed.yaml")).unwrap());
    let same = finish(again).good();
    assert!(same.starts_with("The policy is valid, and is already the candidate.\n"), "{same}");
    assert_eq!(operator.run(&["policy", "diff"]).good(), "No differences.\n");

    operator.write("policy/web.yaml", &WEB.replace("tcp/443", "tcp/8443"));
    operator.run(&["policy", "apply", "-f", &operator.text("policy")]).good();
    let diff = operator.run(&["policy", "diff"]).good();
    assert!(diff.starts_with("~ template web-tier\n"), "{diff}");
    let lines: Vec<String> =
        diff.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| lines.iter().any(|told| told == line);
    assert!(has("- - tcp/443") && has("+ - tcp/8443"), "{diff}");
    let listed = operator.json(&["policy", "diff"]);
    assert_eq!((&listed[0]["change"], &listed[0]["left_out"]), (&json!("changed"), &json!(0)));
    operator.run(&["policy", "validate"]).good();
    operator.run(&["policy", "synchronize", "--note", "second"]).good();
    operator.run(&["policy", "restore", "1", "--synchronize"]).good();
    assert_eq!(
        operator.run(&["policy", "diff", "--from", "1", "--to", "3"]).good(),
        "No differences.\n"
    );
    let revisions = operator.run(&["policy", "revisions"]).good();
    assert!(revisions.contains("restored from revision 1"), "{revisions}");
    operator.run(&["policy", "get", "--revision", "9"]).refused(1, "no revision \"9\"");
    let audit = operator.run(&["audit", "--action", "policy."]).good();
    assert_eq!(audit.matches("policy.synchronize").count(), 3, "{audit}");
    assert!(audit.contains("- tcp/443 |") && audit.contains("- tcp/8443"), "{audit}");
}

#[test]
fn applying_the_wrong_directory_removes_nothing_without_consent() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let key = platform.new_key();
    for name in ["web-1", "web-2"] {
        TestHost::new(name, &key).sign_in(&platform);
        operator.run(&["asset", "tag", name, "role=web"]).good();
    }
    let managed = "\n---\nsettings: { management: [{ from: [10.0.0.1], services: [tcp/22] }] }\n";
    let right = operator.write("right.yaml", &format!("{WEB}{managed}"));
    let wrong = operator.write("wrong.yaml", "network: { name: n, cidrs: [10.0.0.0/8] }\n");
    // More protection is committed without confirmation even if nobody can be asked.
    operator.run(&["policy", "apply", "-f", &right, "--synchronize"]).good();
    let before = platform.get("/api/v1/policy");

    let commit = ["policy", "apply", "-f", &wrong, "--synchronize"];
    let ran = operator.run(&commit);
    assert!(ran.err.contains("! 2 assets with less protection inbound: web-1, web-2"), "{ran:?}");
    assert!(ran.err.contains("! 1 management source removed: 10.0.0.1 tcp/22"), "{ran:?}");
    ran.refused(1, "there is no terminal to ask; nothing was changed");
    let with = |options: &[&str]| operator.run(&[&commit[..], options].concat());
    with(&["--expect-impact", "no-loss"]).refused(1, "nothing was changed");
    with(&["--expect-impact", &format!("sha256:{}", "0".repeat(64))])
        .refused(1, "the impact is not the expected one");
    with(&["--expect-impact", "none"]).refused(2, "is not an expected impact");
    with(&["--yes", "--expect-impact", "no-loss"]).refused(2, "cannot be used with");
    operator
        .run(&["policy", "apply", "-f", &wrong, "--yes"])
        .refused(1, "--yes and --expect-impact go with --synchronize");
    assert_eq!(platform.get("/api/v1/policy"), before, "the candidate stays, too");

    // With the digest printed by the dry run, exactly that is committed.
    let dry = operator.run(&["policy", "apply", "-f", &wrong, "--dry-run"]).good();
    let digest = dry.split_whitespace().last().unwrap();
    assert!(dry.contains("! 2 assets in no segment any more: web-1, web-2"), "{dry}");
    let done = with(&["--expect-impact", digest]).good();
    assert!(done.contains("Committed revision 2"), "{done}");

    // The digest belonged to that commit: now nothing is lost any more.
    with(&["--expect-impact", digest]).refused(1, "the impact is not the expected one");
    operator.run(&["policy", "restore", "1", "--synchronize"]).good();
    let back = ["policy", "restore", "2", "--synchronize"];
    operator.run(&back).refused(1, "there is no terminal to ask");
    operator.run(&["policy", "apply", "-f", &wrong]).good();
    operator.run(&["policy", "synchronize"]).refused(1, "there is no terminal to ask");
    operator.run(&[&back[..], &["--yes"]].concat()).good();
}

#[test]
fn reports_of_hosts_are_shown() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let key = platform.new_key();
    for name in ["web-1", "web-2"] {
        let mut host = TestHost::new(name, &key);
        host.sign_in(&platform);
        host.check_in(&platform);
        host.report(&platform, &report(events(5)));
        host.report(&platform, &report(listening()));
    }
    operator.run(&["asset", "tag", "web-1", "role=web", "owner=me"]).good();
    let tagged = operator.run(&["asset", "tag", "web-1", "owner-"]).good();
    assert_eq!(tagged, "web-1: role=web\n");
    operator
        .run(&["policy", "apply", "-f", &operator.write("p.yaml", WEB), "--synchronize", "--yes"])
        .good();

    let list = operator.run(&["asset", "list", "--tag", "role=web"]).good();
    assert!(list.contains("web-1") && !list.contains("web-2"), "{list}");
    assert!(operator.run(&["asset", "list", "--segment", "web"]).good().contains("web-1"));
    assert!(
        operator.run(&["asset", "list", "--status", "blocked"]).good().contains("No asset matches")
    );
    let ruleset = operator.run(&["ruleset", "show", "web-1"]).good();
    assert!(ruleset.contains("web-tier/https") && ruleset.contains("tcp/443"), "{ruleset}");
    let ports = operator.run(&["ports", "web-1"]).good();
    assert!(ports.contains("/usr/sbin/nginx"), "{ports}");
    operator.run(&["programmed", "web-1"]).refused(1, "report about programmed rules");

    let all = operator.json(&["events", "--kind", "denied", "--since", "1h"]);
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "{all}");
    let one = operator.run(&["events", "--asset", "web-2", "--port", "22"]).good();
    assert!(one.contains("tcp 198.51.100.7 -> 192.0.2.10:22"), "{one}");
    assert_eq!(operator.run(&["events", "--port", "23"]).good(), "No flow matches.\n");
    operator.run(&["asset", "delete", "web-2"]).good();
    operator.run(&["asset", "show", "web-2"]).refused(1, "web-2");
}

#[test]
fn following_prints_new_events_and_ends_with_its_reader() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let mut host = TestHost::new("web-1", &platform.new_key());
    host.sign_in(&platform);
    let mut command =
        operator.command(&["events", "--follow", "--every", "1s", "--json", "--since", "1h"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    host.report(&platform, &report(events(5)));
    assert_eq!(next()["packets"], 5);
    host.report(&platform, &report(events(2)));
    let news = next();
    assert_eq!((&news["packets"], &news["asset"]), (&json!(2), &json!("web-1")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn users_and_tokens_are_managed() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let password = operator.write("new", "a long enough password\n");
    operator
        .run(&["user", "create", "ann", "--role", "viewer", "--password-file", &password])
        .good();
    operator
        .run(&["user", "create", "ann", "--role", "viewer", "--password-file", &password])
        .refused(1, "field: /name");
    operator.run(&["user", "role", "ann", "operator"]).good();
    let users = operator.run(&["user", "list"]).good();
    assert!(users.lines().any(|line| line.contains("ann") && line.contains("operator")), "{users}");
    operator.run(&["user", "password", "ann", "--password-file", &password]).good();
    operator.run(&["user", "delete", "ann"]).good();

    let made = operator.json(&["token", "create", "--name", "ci", "--expires", "1h"]);
    operator.run(&["token", "revoke", made["id"].as_str().unwrap()]).good();
    let tokens = operator.run(&["token", "list"]).good();
    assert!(tokens.lines().any(|line| line.contains("ci") && line.contains("revoked")), "{tokens}");
    assert!(!tokens.contains("xat1_"), "secrets are not listed: {tokens}");
}

#[test]
fn help_and_completions() {
    let home = tempfile::tempdir().unwrap();
    let operator = Operator { home, url: String::new() };
    let help = operator.run(&["--help"]).good();
    assert!(help.contains("Exit codes:") && help.contains("XSHIELD_TOKEN"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(operator.run(&["completions", shell]).good().contains("xshield"));
    }
}

fn events(packets: u64) -> ReportBody {
    let event = FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: "198.51.100.7".parse().unwrap(),
        destination: "192.0.2.10".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 22,
        rule: None,
        packets,
        bytes: packets * 60,
        first_seen: now() - 60,
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    };
    ReportBody::Events(EventReport { events: vec![event], lost: 0 })
}

fn listening() -> ReportBody {
    let port = ListeningPort {
        protocol: Protocol::Tcp,
        address: "0.0.0.0".parse().unwrap(),
        port: 443,
        process: Some("nginx".to_owned()),
        path: Some("/usr/sbin/nginx".to_owned()),
        uid: Some(0),
        service: None,
    };
    ReportBody::ListeningPorts { ports: vec![port] }
}

#[test]
fn commands_and_configuration_from_the_command_line() {
    let platform = TestPlatform::start();
    let operator = Operator::signed_in(&platform);
    let mut host = TestHost::new("web-1", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);

    operator.run(&["command", "run-now"]).refused(1, "choose the hosts");
    operator.run(&["command", "resend", "--where", "role ="]).refused(2, "--where");
    let given = operator.run(&["command", "run-now", "--asset", "web-1", "--expires", "2h"]).good();
    assert!(given.contains("run-now for 1 asset;"), "{given}");
    let command = host.check_in(&platform).commands.remove(0);
    let outcomes =
        vec![CommandOutcome { id: command.id.clone(), at: now(), result: CommandResult::Done }];
    assert_eq!(host.report(&platform, &report(ReportBody::Commands { outcomes })).status, 200);
    let shown = operator.run(&["command", "show", &command.id]).good();
    assert!(shown.contains("1 done"), "{shown}");
    let given = operator.json(&["command", "debug-on", "--all", "--for", "10min"]);
    assert_eq!(given["duration_seconds"], 600);
    let id = given["id"].as_str().unwrap();
    let taken_back = operator.run(&["command", "cancel", id]).good();
    assert!(taken_back.contains("0 hosts had received it before"), "{taken_back}");
    let waited = operator.run(&["command", "resend", "--all", "--expires", "1s", "--wait"]);
    waited.refused(1, "not carried out by 1 of 1 host");
    assert!(operator.run(&["command", "list"]).good().contains("debug-on"));

    let set = ["host-config", "set", "heartbeat=60", "live-events=off"];
    assert!(operator.run(&set).good().contains("heartbeat=60 live-events=off"));
    let taken = operator.run(&["host-config", "set", "live-events-"]).good();
    assert!(taken.contains("platform: heartbeat=60"), "{taken}");
    operator.run(&["host-config", "set", "heartbeat=5"]).refused(1, "/heartbeat");
    let shown = operator.run(&["host-config", "show", "--asset", "web-1"]).good();
    assert!(shown.contains("heartbeat=60"), "{shown}");

    assert!(operator.run(&["asset", "problems", "web-1"]).good().contains("reports no problem"));
    assert!(operator.run(&["paths", "--asset", "web-1"]).good().contains("No such paths"));
    assert!(operator.run(&["agent-events"]).good().contains("No such events"));
    assert!(operator.run(&["diagnostics", "list"]).good().contains("no diagnostics"));
    operator.run(&["software", "web-1"]).refused(1, "software report");
    operator.run(&["asset", "decommission", "web-1"]).good();
    let gone = operator.run(&["asset", "list", "--status", "decommissioned"]).good();
    assert!(gone.contains("web-1"), "{gone}");
    operator.run(&["asset", "reinstate", "web-1"]).good();
}
