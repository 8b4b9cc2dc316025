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
fn the_platforms_file_becomes_the_configuration_and_can_be_registered_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etc/xshield/config.yaml");
    let file = directory.path().join("host.yaml");
    fs::write(&file, onboarding()).unwrap();
    let given = Registration { onboarding: Some(file), ..Registration::default() };
    register(&path, &given).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://192.0.2.1:8443");
    assert!(config.ca_pem.contains("AAAA\n\n-----END"), "{:?}", config.ca_pem);

    let elsewhere = Registration { domain: Some("10.0.0.9:443".into()), ..Registration::default() };
    register(&path, &elsewhere).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://10.0.0.9:443");
    assert!(fs::read_to_string(&path).unwrap().contains("# Secret."));
}

#[test]
fn domain_key_and_trust_are_enough_and_nothing_is_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let full = Registration {
        domain: Some("platform.example.com".into()),
        deployment_key: Some(KEY.into()),
        ca: Some(ca),
        policy_keys: vec![POLICY_KEY.into()],
        onboarding: None,
    };
    type Take = fn(&mut Registration);
    let table: [(Take, &str); 5] = [
        (|given| given.domain = None, "--domain"),
        (|given| given.deployment_key = None, "--deploymentKey"),
        (|given| given.ca = None, "--ca"),
        (|given| given.policy_keys.clear(), "--policy-key"),
        (|given| given.deployment_key = Some("secret-nonsense".into()), "enforcement-key"),
    ];
    for (take, named) in table {
        let mut given = full.clone();
        take(&mut given);
        let text = register(&path, &given).unwrap_err().to_string();
        assert!(text.contains(named) && !text.contains("secret-nonsense"), "{text}");
        assert!(!path.exists());
    }
    register(&path, &full).unwrap();
    let config = config_file::load(&path).unwrap().config;
    assert_eq!(config.platform.to_string(), "https://platform.example.com:443");
}
