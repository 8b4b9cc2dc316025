//! Keys, tokens and approvals on the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::*;
use xshield_wire::EnforcementKey;

/// Runs `xshield` with a token of the admin; returns whether it succeeded, its output and its messages.
fn xshield(platform: &TestPlatform, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xshield"))
        .args(arguments)
        .env("XSHIELD_URL", format!("https://{}", platform.address))
        .env("XSHIELD_TOKEN", &platform.admin)
        .env("XSHIELD_CA", platform.data_dir().join("ca.pem"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn done(platform: &TestPlatform, arguments: &[&str]) -> String {
    let (success, out, err) = xshield(platform, arguments);
    assert!(success, "{arguments:?}: {err}");
    out
}

#[test]
fn an_approval_needs_the_fingerprint_and_warns_of_duplicate_names() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut first = TestHost::new("debian", &key);
    first.sign_in(&platform);
    first.check_in(&platform);
    let mut second = TestHost::new("debian", &key);
    assert_eq!(second.session_at(&platform, now()).status, 403);

    let sheet = done(&platform, &["asset", "show", "debian"]);
    for part in [second.fingerprint(), first.fingerprint(), "set name: in".to_owned()] {
        assert!(sheet.contains(&part), "{sheet}");
    }
    let (success, _, err) = xshield(&platform, &["asset", "approve-identity", "debian"]);
    assert!(!success && err.contains("--fingerprint"), "{err}");
    let short = &second.fingerprint()[..20];
    let cut = ["asset", "approve-identity", "debian", "--fingerprint", short];
    let (success, _, err) = xshield(&platform, &cut);
    assert!(!success && err.contains("64 hexadecimal digits"), "{err}");

    eventually("a check-in after the second one came", || {
        first.check_in(&platform);
        done(&platform, &["asset", "show", "debian"])
            .contains("there are two machines")
            .then_some(())
    });
    let fingerprint = second.fingerprint();
    let approve = ["asset", "approve-identity", "debian", "--fingerprint", &fingerprint];
    let (success, _, err) = xshield(&platform, &approve);
    assert!(!success && err.contains("these are two machines"), "{err}");
    let replace = [&approve[..], &["--replace-running"]].concat();
    done(&platform, &replace);
    second.sign_in(&platform);

    assert_eq!(first.session_at(&platform, now()).status, 403);
    let fingerprint = first.fingerprint();
    let reject = ["asset", "reject-identity", "debian", "--fingerprint", &fingerprint];
    assert!(done(&platform, &reject).contains("Rejected "));
}

#[test]
fn a_token_configuration_registers_its_host_and_keys_list_their_hosts() {
    let platform = TestPlatform::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("db-2.yaml");
    let path = file.to_str().unwrap();
    let make = ["key", "token", "--host", "db-2", "--tag", "role=db", "--host-config", path];
    assert_eq!(done(&platform, &make), "", "the secret is in the file alone");
    let configuration = std::fs::read_to_string(Path::new(path)).unwrap();
    assert!(configuration.contains("name: \"db-2\"\n"), "{configuration}");
    let secret = configuration.split_whitespace().find(|word| word.starts_with("xek1_")).unwrap();
    let token: EnforcementKey = secret.parse().unwrap();
    TestHost::new("db-2", &token).sign_in(&platform);

    let list = done(&platform, &["key", "list"]);
    assert!(list.contains("1 of 1") && list.contains("used"), "{list}");
    let sheet = done(&platform, &["key", "show", token.id().as_str()]);
    for part in ["for host", "db-2", "1 of 1, last now", "now from 127.0.0.1", "LAST SESSION"] {
        assert!(sheet.contains(part), "{part}: {sheet}");
    }
    let shown = done(&platform, &["key", "token"]);
    assert!(shown.contains("deployment key    xdk1_"), "{shown}");

    let networks = ["--network", "10.1.0.0/16", "--network", "2001:db8::/32"];
    let create = [&["key", "create", "--name", "n", "--max-hosts", "5"], &networks[..]].concat();
    let key = done(&platform, &create);
    let key: EnforcementKey =
        key.split_whitespace().find(|word| word.starts_with("xek1_")).unwrap().parse().unwrap();
    let sheet = done(&platform, &["key", "show", key.id().as_str()]);
    assert!(sheet.contains("10.1.0.0/16\n") && sheet.contains("0 of 5"), "{sheet}");
    let wrong = ["key", "create", "--name", "n", "--network", "10.1.0.1/16"];
    let (success, _, err) = xshield(&platform, &wrong);
    assert!(!success && err.contains("host bits"), "{err}");
}

#[test]
fn expiring_keys_are_mentioned_with_other_answers() {
    let platform = TestPlatform::start();
    done(&platform, &["key", "create", "--name", "web hosts", "--expires", "3d"]);
    for arguments in [&["key", "list"][..], &["asset", "list"]] {
        let (success, out, err) = xshield(&platform, arguments);
        assert!(success && !out.contains("Warning"), "{out}");
        assert!(err.contains("Warning: enforcement key") && err.contains("(web hosts)"), "{err}");
        let (_, _, err) = xshield(&platform, &[arguments, &["--json"]].concat());
        assert_eq!(err, "", "programs read the API's own field");
    }
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xshield"))
        .args(["login", &format!("https://{}", platform.address), "--user", "admin"])
        .arg("--password-file")
        .arg(&password)
        .arg("--ca")
        .arg(platform.data_dir().join("ca.pem"))
        .env("XDG_CONFIG_HOME", directory.path())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && err.contains("(web hosts) expires in 3 days"), "{err}");
    let info = platform.get("/api/v1/platform");
    assert_eq!(info["expiring_keys"][0]["name"], json!("web hosts"));
}
