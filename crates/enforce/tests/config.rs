//! The configuration file: which values are accepted, and how errors name their position.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use xshield_enforce::Config;
use xshield_enforce::config::Provisioning;
use xshield_wire::keys::{EnforcementKey, PolicyKey};

/// A complete file; `change` edits its lines.
fn load(change: impl Fn(&mut Vec<String>)) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spark.yaml");
    let key = EnforcementKey::new("k1".parse().unwrap(), [7; 32]);
    let mut lines = vec![
        "platform: https://10.77.0.1:8443".to_owned(),
        format!("policy-keys: [{}]", PolicyKey::from_seed([9; 32]).public()),
        format!("enforcement-key: {}", *key.to_text()),
        "ca-file: ca.pem".to_owned(),
    ];
    change(&mut lines);
    fs::write(&path, lines.join("\n")).unwrap();
    fs::write(directory.path().join("ca.pem"), "PEM").unwrap();
    Config::load(&xshield_enforce::linux::this_system(), &path)
        .map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

#[test]
fn a_minimal_configuration_and_its_defaults() {
    let config = load(|_| {}).unwrap();
    assert_eq!(config.platform.to_string(), "https://10.77.0.1:8443");
    assert_eq!(config.ca_pem, "PEM");
    assert_eq!(config.state_directory.to_str(), Some("/var/lib/xshield"));
    assert_eq!(config.probation, Duration::from_secs(30));
    assert_eq!(config.nftables, Provisioning::Install);
    assert!(!format!("{config:?}").contains("BwcHBw"), "the secret is not in Debug");
}

#[test]
fn a_configured_host_name_overrides_the_systems() {
    let own = load(|_| {}).unwrap().host_name(&xshield_enforce::linux::this_system());
    let named = |line: &str| {
        load(|lines| lines.push(line.to_owned()))
            .map(|c| c.host_name(&xshield_enforce::linux::this_system()))
    };
    for (line, name) in [
        ("name: db-1.prod", "db-1.prod"),
        ("name: \"0815\"", "0815"),
        ("name: ' db '", "db"),
        ("name: ''", own.as_str()),
    ] {
        assert_eq!(named(line).as_deref(), Ok(name), "{line}");
    }
    for line in ["name: 'two words'", "name: -x", &format!("name: {}", "x".repeat(65)), "name: [a]"]
    {
        let refused = named(line).unwrap_err();
        assert!(refused.starts_with("spark.yaml:"), "{refused}");
    }
}

#[test]
fn errors_are_named_with_their_position() {
    type Change = fn(&mut Vec<String>);
    let table: [(Change, &str); 12] = [
        (|lines| lines[0] = "platform: http://10.77.0.1".to_owned(), "spark.yaml: platform: "),
        (|lines| lines[0] = "platfrom: https://10.77.0.1".to_owned(), "spark.yaml:1:1: "),
        (|lines| lines[1] = "policy-keys: []".to_owned(), "spark.yaml: policy-keys: empty"),
        (|lines| lines[1] = "policy-keys: [abc]".to_owned(), "spark.yaml: policy-keys: "),
        (
            |lines| lines[2] = "enforcement-key: xek1_k1_abc".to_owned(),
            "spark.yaml: enforcement-key: ",
        ),
        (|lines| drop(lines.remove(2)), "spark.yaml: enforcement-key: missing"),
        (|lines| lines[3] = "ca-file: gone.pem".to_owned(), "reading the configuration gone.pem"),
        (|lines| lines.push("ca: PEM".to_owned()), "spark.yaml: ca: given twice"),
        (
            |lines| lines.push("probation-seconds: 2".to_owned()),
            "probation-seconds: expected 5 to 600",
        ),
        (|lines| lines.push("state-directory: here".to_owned()), "expected an absolute path"),
        (
            |lines| lines.push("threat-budget: 0".to_owned()),
            "threat-budget: expected 1 to 65536 MiB",
        ),
        (|lines| lines.push("nftables: maybe".to_owned()), "spark.yaml:5:11: "),
    ];
    for (change, expected) in table {
        let error = load(change).unwrap_err();
        assert!(error.contains(expected), "got  {error}\nwant {expected}");
        assert!(!error.contains("BwcHBw"), "the secret is not in errors: {error}");
    }
}

#[test]
fn proxies_are_read_in_their_order() {
    let config = load(|lines| {
        lines.push("proxy: http://10.10.6.4:3128,http://[fd00::1]:4128".to_owned());
        lines.push("proxy-user: u1".to_owned());
        lines.push("proxy-password: aHVudGVyMg==".to_owned());
    })
    .unwrap();
    let [first, second] = config.proxies.as_slice() else { panic!("{:?}", config.proxies) };
    assert_eq!(first.address.to_string(), "10.10.6.4:3128");
    assert_eq!(first.user.as_deref(), Some("u1"));
    assert!(first.password.is_some());
    assert_eq!(second.address.to_string(), "[fd00::1]:4128");
    assert_eq!((&second.user, &second.password), (&None, &None));
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2") && !debug.contains("aHVudGVyMg"), "{debug}");

    assert!(load(|_| {}).unwrap().proxies.as_slice().is_empty());
    let commented_out = load(|lines| lines.push("proxy: ''\nproxy-user: ''".to_owned()));
    assert!(commented_out.unwrap().proxies.as_slice().is_empty());
}

#[test]
fn proxy_errors_are_named_without_passwords() {
    let table = [
        ("proxy: proxy.example.com:3128", "spark.yaml: proxy: proxy 1 is a host name"),
        ("proxy: [10.0.0.1:1]", "spark.yaml:5:8: "),
        ("proxy: http://u:hunter2@10.0.0.1:1", "spark.yaml: proxy: proxy 1 carries credentials"),
        ("proxy-user: u1", "spark.yaml: proxy-user: 1 user for 0 proxies"),
        (
            "proxy: 10.0.0.1:1\nproxy-password: aHVudGVyMg==",
            "spark.yaml: proxy-password: password 1 has no user",
        ),
        (
            "proxy: 10.0.0.1:1\nproxy-user: u1\nproxy-password: hunter2!",
            "spark.yaml: proxy-password: password 1 is not base64; encode it",
        ),
        ("proxy: 10.0.0.1:1\nproxy-user: u1\nproxy-password: { a: hunter2 }", "spark.yaml:7:17: "),
        ("proxy: 10.0.0.1:1\nproxy-password: hunter2: x", "spark.yaml:6:"),
    ];
    for (text, expected) in table {
        let error = load(|lines| lines.push(text.to_owned())).unwrap_err();
        assert!(error.contains(expected), "got  {error}\nwant {expected}");
        assert!(!error.contains("hunter2") && !error.contains("aHVudGVyMg"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error =
        Config::load(&xshield_enforce::linux::this_system(), "/nonexistent/spark.yaml".as_ref())
            .unwrap_err()
            .to_string();
    assert!(error.contains("/nonexistent/spark.yaml"), "{error}");
}
