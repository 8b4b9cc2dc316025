use std::os::unix::fs::PermissionsExt as _;

use super::*;

const KEY: &str = "xek1_k1_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdfsyzF";
const POLICY_KEY: &str = "/RckOFqgx1tk+3jNYC+h2ZH96/drE8WO1wLqyDXp9hg=";

fn onboarding() -> String {
    format!(
        "# Secret.\nplatform: https://192.0.2.1:8443\nca: |\n  -----BEGIN CERTIFICATE-----\n  \
         AAAA\n\n  -----END CERTIFICATE-----\npolicy-keys:\n- {POLICY_KEY}\nenforcement-key: {KEY}\n"
    )
}

#[test]
fn the_platforms_file_becomes_the_configuration_and_registration_is_repeatable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etc/xshield/config.yaml");
    let file = directory.path().join("host.yaml");
    fs::write(&file, onboarding()).unwrap();
    let given = Registration { onboarding: Some(file.clone()), ..Registration::default() };
    register(&path, &given, Path::new("/")).unwrap();
    for (mode, told) in [(0o600, false), (0o640, true), (0o644, true)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let problem = given.exposed().map(|problem| problem.text);
        assert_eq!(problem.is_some(), told, "{mode:o}: {problem:?}");
        let names = |text: &String| text.contains("chmod 600") && text.contains("enforcement key");
        assert!(problem.iter().all(names), "{problem:?}");
    }
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://192.0.2.1:8443");
    assert!(config.ca_pem.contains("AAAA\n\n-----END"), "{:?}", config.ca_pem);

    let elsewhere = Registration { domain: Some("10.0.0.9:443".into()), ..Registration::default() };
    register(&path, &elsewhere, Path::new("/")).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://10.0.0.9:443");
    assert!(fs::read_to_string(&path).unwrap().contains("# Secret."));
}

#[test]
fn domain_key_and_trust_suffice_and_nothing_is_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let full = Registration {
        domain: Some("platform.example.com".into()),
        key: Some(GivenKey::parse(KEY).unwrap()),
        ca: Some(ca),
        policy_keys: vec![POLICY_KEY.into()],
        onboarding: None,
        name: Some("db-1".into()),
        proxies: Some(GivenProxies::parse("10.0.0.1:3128", "", "").unwrap()),
    };
    type Take = fn(&mut Registration);
    let table: [(Take, &str); 4] = [
        (|given| given.domain = None, "--domain"),
        (|given| given.key = None, "--deploymentKey"),
        (|given| given.ca = None, "--ca"),
        (|given| given.policy_keys.clear(), "--policy-key"),
    ];
    for (take, named) in table {
        let mut given = full.clone();
        take(&mut given);
        let text = register(&path, &given, Path::new("/")).unwrap_err().to_string();
        assert!(text.contains(named), "{text}");
        assert!(!path.exists());
    }
    register(&path, &full, Path::new("/")).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://platform.example.com:443");
    assert_eq!(config.host_name(&crate::os::this_system()), "db-1");
    let wrong = Registration { name: Some("no name".into()), ..Registration::default() };
    let refused = register(&path, &wrong, Path::new("/")).unwrap_err().to_string();
    assert!(refused.contains("name: \"no name\" is not a valid name"), "{refused}");
}

const DEPLOYMENT_KEY: &str = "xdk1_k7f3_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlDH37A";

#[test]
fn registering_again_changes_only_the_given_parts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    fs::write(directory.path().join("key"), KEY).unwrap();
    let old = format!(
        "# ours\nconfiguration:\n  platform: https://a.example.com # old\n  ca-file: ca.pem\n  \
         policy-keys:\n  - {POLICY_KEY}\n  enforcement-key-file: key\n  x-site: north\n"
    );
    fs::write(&path, &old).unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, format!("\n  {pem}\n")).unwrap();
    let given = Registration {
        key: Some(GivenKey::parse(KEY).unwrap()),
        ca: Some(ca),
        policy_keys: vec![POLICY_KEY.into(), POLICY_KEY.into()],
        ..Registration::default()
    };
    register(&path, &given, Path::new("/")).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!((config.ca_pem.as_str(), config.policy_keys.len()), (pem, 2));
    assert_eq!(config.enforcement_key.to_text().as_str(), KEY);
    let new = fs::read_to_string(&path).unwrap();
    assert!(new.contains("x-site: north") && new.contains("# old"), "{new}");
    assert!(!new.contains("-file"), "{new}");
    let previous = fs::read_to_string(path.with_file_name("config.yaml.previous")).unwrap();
    assert_eq!(previous, old);
}

#[test]
fn a_deployment_key_excludes_other_trust_options_and_a_damaged_one_is_refused() {
    for text in [&DEPLOYMENT_KEY[..60], &DEPLOYMENT_KEY.replace("k7f3", "k7f4"), "nonsense"] {
        let error = GivenKey::parse(text).unwrap_err().to_string();
        assert!(!error.contains("nonsense") && !error.contains("BwcH"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let key = GivenKey::parse(DEPLOYMENT_KEY).unwrap();
    let alone = Registration {
        domain: Some("127.0.0.1:1".into()),
        key: Some(key),
        ..Registration::default()
    };
    type Add = fn(&mut Registration);
    let more: [Add; 3] = [
        |given| given.ca = Some("ca.pem".into()),
        |given| given.policy_keys.push(POLICY_KEY.into()),
        |given| given.onboarding = Some("host.yaml".into()),
    ];
    for add in more {
        let mut given = alone.clone();
        add(&mut given);
        let refused = register(&path, &given, Path::new("/")).unwrap_err();
        assert!(matches!(refused, RegisterError::TrustTwice), "{refused}");
    }
    // Port 1 is closed.
    let refused = register(&path, &alone, Path::new("/")).unwrap_err();
    assert!(matches!(refused, RegisterError::Discover(_)), "{refused}");
    assert!(!path.exists());
}

#[test]
fn registering_again_cannot_change_the_platform() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let state = directory.path().join("state");
    let text = format!(
        "configuration:\n  platform: https://a.example.com\n  ca: PEM\n  policy-keys: \
         [{POLICY_KEY}]\n  enforcement-key: {KEY}\n  state-directory: {}\n",
        state.display()
    );
    fs::write(&path, &text).unwrap();
    fs::create_dir(&state).unwrap();
    fs::write(state.join("progress"), "whatever").unwrap();
    let other = "kaKKC3Q4FZOk2UaVeSCJJq/IrYLIg5t2RDWbnrqaSzo=";
    let with = |keys: &[&str]| Registration {
        policy_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Registration::default()
    };
    let refused = register(&path, &with(&[other]), Path::new("/")).unwrap_err();
    assert!(matches!(refused, RegisterError::AnotherPlatform), "{refused}");
    let file = directory.path().join("host.yaml");
    fs::write(&file, onboarding().replace(POLICY_KEY, other)).unwrap();
    let moved = Registration { onboarding: Some(file), ..Registration::default() };
    let refused = register(&path, &moved, Path::new("/")).unwrap_err();
    assert!(matches!(refused, RegisterError::AnotherPlatform), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    register(&path, &with(&[POLICY_KEY, other]), Path::new("/")).expect("a key that is added");
    fs::remove_dir_all(&state).unwrap();
    register(&path, &with(&["/RckOFqgx1tk+3jNYC+h2ZH96/drE8WO1wLqyDXp9hg="]), Path::new("/"))
        .expect("nothing is left of the platform before");
}
