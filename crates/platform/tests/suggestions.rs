//! Wherever a service, a port or criteria are parsed, the probable intention is suggested.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::TestPlatform;

fn template(service: &str) -> Value {
    let rule = json!({ "name": "r", "from": ["any"], "services": [service] });
    json!({ "template": { "name": "t", "action": "allow", "ports": [rule] } })
}

fn segment(criteria: &str) -> Value {
    json!({ "segment": { "name": "s", "criteria": criteria, "templates": [] } })
}

#[test]
fn the_api_suggests_the_intended_word() {
    let platform = TestPlatform::start();
    let path = json!({ "name": "r", "to": ["any"], "services": ["443/tcp"] });
    let outbound = json!({ "template": { "name": "t", "action": "allow", "outbound": [path] } });
    let management = json!([{ "from": ["10.0.0.1"], "services": ["22"] }]);
    let policy = |document: Value| Some(json!({ "documents": [document] }));
    let yaml = |text: &str| Some(json!({ "files": [{ "name": "a.yaml", "text": text }] }));
    let command =
        |criteria: &str| Some(json!({ "kind": "run-now", "target": { "where": criteria } }));
    let (tcp, and) = ("did you mean tcp/443?", "did you mean 'and'?");
    for (method, path, body, says) in [
        ("PUT", "/api/v1/policy", policy(template("443/tcp")), tcp),
        ("POST", "/api/v1/policy/validate", policy(template("TCP/443")), tcp),
        ("PUT", "/api/v1/policy", policy(outbound), tcp),
        (
            "PUT",
            "/api/v1/policy",
            policy(json!({ "settings": { "management": management } })),
            "did you mean tcp/22?",
        ),
        ("PUT", "/api/v1/policy", policy(segment("role = 'a' && x = 'b'")), and),
        ("PUT", "/api/v1/policy", policy(segment("role => 'a'")), "did you mean '='?"),
        ("PUT", "/api/v1/policy", policy(segment("role = web")), "did you mean 'web'?"),
        (
            "PUT",
            "/api/v1/policy",
            yaml(
                "template: { name: t, action: allow, ports: [{ name: r, from: [any], services: [443/tcp] }] }",
            ),
            tcp,
        ),
        ("GET", "/api/v1/assets?where=role%20%3D%20web", None, "did you mean 'web'?"),
        ("GET", "/api/v1/assets?where=a%20%3D%20'b'%20%26%26%20c%20%3D%20'd'", None, and),
        ("GET", "/api/v1/threat/events?where=role%20%3D%20web", None, "did you mean 'web'?"),
        ("POST", "/api/v1/commands", command("role = web"), "did you mean 'web'?"),
        ("GET", "/api/v1/assets/h/events?port=tcp/443", None, "did you mean 443?"),
        ("GET", "/api/v1/assets/h/paths?port=443/tcp", None, "did you mean 443?"),
    ] {
        let (status, answer) = platform.call(method, path, Some(&platform.admin), body);
        assert!((400..500).contains(&status), "{method} {path}: {answer}");
        assert!(answer.to_string().contains(says), "{method} {path}: {says:?} is not in {answer}");
    }
}

#[test]
fn the_command_line_suggests_the_intended_word() {
    let platform = TestPlatform::start();
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("ca.pem"), platform.ca_pem()).unwrap();
    let file = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    file("service.yaml", &template("443/tcp").to_string());
    file("criteria.yaml", &segment("role = 'a' && x = 'b'").to_string());
    for (arguments, says) in [
        (&["policy", "validate", "--local", "-f", "service.yaml"][..], "did you mean tcp/443?"),
        (&["policy", "validate", "-f", "criteria.yaml"], "did you mean 'and'?"),
        (&["policy", "apply", "-f", "service.yaml"], "did you mean tcp/443?"),
        (&["asset", "list", "--where", "role = web"], "did you mean 'web'?"),
        (&["threat", "events", "--where", "role => 'web'"], "did you mean '='?"),
        (&["command", "run-now", "--where", "role = 'a' || x = 'b'"], "did you mean 'or'?"),
        (&["events", "--port", "443/tcp"], "did you mean 443?"),
        (&["paths", "--asset", "h", "--port", "tcp/443"], "did you mean 443?"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xshield"))
            .args(arguments)
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("XSHIELD_URL", format!("https://{}", platform.address))
            .env("XSHIELD_TOKEN", &platform.admin)
            .env("XSHIELD_CA", home.path().join("ca.pem"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{arguments:?}: {said}");
    }
}
