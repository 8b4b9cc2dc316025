use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

const KEY: &str = "xek1_k1_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdfsyzF";

fn file() -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let text = format!(
        "# by hand\nconfiguration:\n  platform: https://192.0.2.1:8443\n  ca: PEM\n  \
         policy-keys: [{POLICY_KEY}]\n  enforcement-key: {KEY}\n  proxy: '' # none yet\n  \
         x-rack: 7\nsite: north\n"
    );
    fs::write(&path, &text).unwrap();
    (directory, path, text)
}

const POLICY_KEY: &str = "/RckOFqgx1tk+3jNYC+h2ZH96/drE8WO1wLqyDXp9hg=";

#[test]
fn unknown_keys_are_kept_and_named() {
    let (_directory, path, _) = file();
    let loaded = load(&path).unwrap();
    let names: Vec<_> = loaded.unknown.iter().map(|(line, key)| (*line, key.as_str())).collect();
    assert_eq!(names, [(8, "x-rack"), (9, "site")]);
}

#[test]
fn an_agent_started_by_its_unit_neither_writes_units_nor_installs() {
    let (_directory, path, _) = file();
    for (started_by, expected) in
        [(StartedBy::Unit, Provisioning::Leave), (StartedBy::Else, Provisioning::Install)]
    {
        let config = load_to_run(&path, started_by).unwrap().config;
        assert_eq!((config.boot_unit, config.nftables), (expected, expected), "{started_by:?}");
    }
}

#[test]
fn proxies_are_replaced_and_the_old_file_is_kept_as_backup() {
    let (_directory, path, old) = file();
    let params = "configuration.proxy;configuration.proxy-user;configuration.proxy-password";
    let values = "http://10.10.6.4:3128,http://[fd00::1]:4128;u1,u2;c2VjcmV0,c2VjcmV0";
    change(&path, &Edit::list(params, values).unwrap()).unwrap();
    let new = fs::read_to_string(&path).unwrap();
    assert!(new.starts_with("# by hand\n") && new.ends_with("site: north\n"), "{new}");
    assert!(new.contains("  proxy: 'http://10.10.6.4:3128,http://[fd00::1]:4128' # none yet\n"));
    assert_eq!(load(&path).unwrap().config.proxies.as_slice().len(), 2);
    let previous = path.with_file_name("config.yaml.previous");
    assert_eq!(fs::read_to_string(&previous).unwrap(), old);
    for path in [&path, &previous] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    change(&path, &Edit::list("configuration.heartbeat-seconds", "45").unwrap()).unwrap();
    let resident = load(&path).unwrap().config.resident;
    assert_eq!(resident.settings(None).heartbeat, Duration::from_secs(45));
}

#[test]
fn the_host_name_is_set_and_removed() {
    let (_directory, path, _) = file();
    let own = load(&path).unwrap().config.host_name(&crate::os::this_system());
    for (value, name) in [("web-9", "web-9"), ("0815", "0815"), ("", own.as_str())] {
        change(&path, &Edit::list("configuration.name", value).unwrap()).unwrap();
        assert_eq!(
            load(&path).unwrap().config.host_name(&crate::os::this_system()),
            name,
            "{value:?}"
        );
    }
}

#[test]
fn an_invalid_change_leaves_the_file_unchanged() {
    let (_directory, path, old) = file();
    for (params, values, reason) in [
        ("configuration.proxy", "proxy.example.com:3128", "host name"),
        ("configuration.proxy", "10.0.0.1", "no port"),
        (
            "configuration.proxy;configuration.proxy-user;configuration.proxy-password",
            "10.0.0.1:1;u;plain!",
            "console's installation page",
        ),
        ("configuration.proxy;configuration.proxy-user", "10.0.0.1:1;a,b", "2 users for 1 proxy"),
        ("configuration.proxy;configuration.proxy-user", "10.0.0.1:1", "2 parameters and 1 values"),
        ("configuration.prox", "x", "is not a configuration key"),
        ("proxy", "10.0.0.1:1", "is not a configuration key"),
        ("other.proxy", "10.0.0.1:1", "is not a configuration key"),
        ("configuration.heartbeat-seconds", "often", "config.yaml:"),
        ("configuration.heartbeat-seconds", "0", "expected 1 to 86400"),
        ("configuration.platform", "http://192.0.2.1", "https://"),
    ] {
        let result = Edit::list(params, values).and_then(|changes| change(&path, &changes));
        let error = result.unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        assert!(text.contains(reason), "{params} = {values}: {text}");
        assert!(!text.contains("plain!"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), old, "{params}");
    }
}

#[test]
fn values_are_set_without_semicolons_and_a_value_cut_by_the_shell_is_refused() {
    let (_directory, path, old) = file();
    let sets = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let given = sets(&[
        "configuration.proxy=http://10.10.6.4:3128,http://[fd00::1]:4128",
        "configuration.proxy-user=u1,u2",
        "configuration.proxy-password=c2VjcmV0,c2VjcmV0cw==",
        "configuration.heartbeat-seconds=45",
    ]);
    change(&path, &Edit::given(None, None, &given).unwrap()).unwrap();
    let loaded = load(&path).unwrap().config;
    assert_eq!(loaded.proxies.as_slice().len(), 2);
    assert_eq!(loaded.resident.settings(None).heartbeat, Duration::from_secs(45));
    fs::write(&path, &old).unwrap();
    let (names, values) = (Some("configuration.name"), Some("web-9"));
    let both = Edit::given(names, values, &sets(&["configuration.heartbeat-seconds=45"]));
    assert_eq!(both.unwrap().len(), 2);
    for (params, values, set, reason) in [
        // updateConfig --param configuration.proxy;configuration.proxy-user --value …
        (Some("configuration.proxy"), None, &[][..], "--value is missing; the shell ends"),
        (None, Some("u1"), &[], "--param is missing; the shell ends"),
        // … --param 'configuration.proxy;configuration.proxy-user' --value 10.0.0.1:1;u1
        (
            Some("configuration.proxy;configuration.proxy-user"),
            Some("10.0.0.1:1"),
            &[],
            "2 parameters and 1 values: give as many of the one as of the other, separated by \
             semicolons; the shell ends",
        ),
        (None, None, &[], "--set configuration.KEY=VALUE"),
        (None, None, &["s3cret"], "--set takes KEY=VALUE"),
        (None, None, &["proxy=10.0.0.1:1"], "is not a configuration key"),
    ] {
        let error = Edit::given(params, values, &sets(set)).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn malformed_files_are_refused_with_line_and_column() {
    let (_directory, path, old) = file();
    for (text, place) in [
        (old.replace("  ca: PEM", "  ca: [PEM"), "config.yaml:"),
        (old.replace("configuration:", "configuratoin:"), "config.yaml: configuration: missing"),
        (old.replace("  ca: PEM", "  ca: PEM\n  heartbeat-seconds: [1]"), "config.yaml:5:"),
    ] {
        fs::write(&path, &text).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
        assert!(change(&path, &Edit::list("configuration.proxy", "").unwrap()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
