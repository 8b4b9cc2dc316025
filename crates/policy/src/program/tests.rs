use super::*;
use crate::facts::Facts;

fn program(process: &str, user: &str, unit: &str) -> LocalProgram {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let process = given(process).map(|text| ProcessMatch::try_from(text).unwrap());
    let user = given(user).map(|text| UserName::try_from(text).unwrap());
    let unit = given(unit).map(|text| UnitName::try_from(text).unwrap());
    LocalProgram::new(process, user, unit).unwrap()
}

#[test]
fn text_round_trips() {
    let table = [
        (("nginx", "", ""), "nginx"),
        (("/usr/sbin/nginx", "", ""), "/usr/sbin/nginx"),
        (("user=root", "", ""), "user=root"),
        (("", "root", ""), "\tuser=root"),
        (("", "", "app@1.service"), "\tunit=app@1.service"),
        (("a=b c", "CORP\\x", "x.scope"), "\tprocess=a=b c\tuser=CORP\\x\tunit=x.scope"),
    ];
    for ((process, user, unit), text) in table {
        let value = program(process, user, unit);
        assert_eq!(String::from(value.clone()), text);
        assert_eq!(LocalProgram::try_from(text.to_owned()), Ok(value));
    }
    for refused in ["", "\t", "\tuser=", "\tuser=a\tgroup=b", "\t\tuser=a", "a/b", "nginx\tuser=a"]
    {
        assert!(LocalProgram::try_from(refused.to_owned()).is_err(), "{refused:?}");
    }
    for (text, is_path) in [
        (r"C:\nginx\nginx.exe", true),
        (r"\\server\share\a b.exe", true),
        ("/usr/sbin/nginx", true),
        ("nginx.exe", false),
        ("C:nginx.exe", false),
        (r"C:\nginx\", false),
    ] {
        let process = ProcessMatch::try_from(text.to_owned()).unwrap();
        assert_eq!(matches!(process, ProcessMatch::Path(_)), is_path, "{text}");
    }
    assert_eq!(LocalProgram::new(None, None, None), None);
}

#[test]
fn users_and_units_are_parsed() {
    let users = [
        ("postgres", true),
        ("_apt", true),
        ("a.b-c$", true),
        ("CORP\\bob", true),
        ("bob@corp.example", true),
        ("0", true),
        ("4294967294", true),
        ("4294967295", false),
        ("007", false),
        ("", false),
        ("-x", false),
        ("a b", false),
        ("a:b", false),
        ("a\nb", false),
        ("/bin/sh", false),
    ];
    for (text, good) in users {
        assert_eq!(UserName::try_from(text.to_owned()).is_ok(), good, "user {text:?}");
    }
    let long = format!("{}.service", "a".repeat(248));
    let units = [
        ("nginx.service", true),
        ("app@1.service", true),
        ("docker-0a1b.scope", true),
        ("dev-disk\\x2d1.service", true),
        ("nginx", false),
        (".service", false),
        ("app@.service", false),
        ("@1.service", false),
        ("system.slice", false),
        ("x.socket", false),
        ("a/b.service", false),
        ("../x.service", false),
        ("a b.service", false),
        (long.as_str(), false),
    ];
    for (text, good) in units {
        assert_eq!(UnitName::try_from(text.to_owned()).is_ok(), good, "unit {text:?}");
    }
}

/// Facts are stored on hosts: those of an earlier version are still read, and keys that earlier versions know
/// stay the same.
#[test]
fn facts_of_earlier_versions_are_parsed() {
    let text = r#"{"endpoints":[],"resolvers":[],"domains":{},
        "listeners":{"nginx":[{"protocol":"tcp","port":80}]},
        "owners":{"/usr/bin/curl":{"Ok":{"uid":7}},"b":{"Ok":{"cgroup":"b.service"}},"c":{"Err":"no"}}}"#;
    let facts: Facts = serde_json::from_str(text).unwrap();
    let of = |name: &str| facts.owners[&program(name, "", "")].clone();
    use crate::bind::Owner;
    assert_eq!(of("/usr/bin/curl"), Ok(vec![Owner::Uid(7)]));
    assert_eq!(of("b"), Ok(vec![Owner::Cgroup("b.service".to_owned())]));
    assert_eq!(of("c"), Err("no".to_owned()));
    assert_eq!(facts.listeners[&program("nginx", "", "")].len(), 1);

    let mut new = facts.clone();
    new.unknown.insert(program("nginx", "bob", ""), "is not known".to_owned());
    let written = serde_json::to_string(&new).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&written).unwrap(), new);
    assert!(!serde_json::to_string(&facts).unwrap().contains("unknown"));
}

#[test]
fn programs_are_described_in_words() {
    for (words, expected) in [
        ("user:postgres", "user postgres"),
        ("unit:app.service", "unit app.service"),
        ("process:/usr/bin/app", "process /usr/bin/app"),
        ("process:app, user:www", "process app, user www"),
    ] {
        assert_eq!(LocalProgram::from_words(words).unwrap().to_string(), expected);
    }
    for words in ["", "postgres", "user:", "user:a,user:b", "group:a", "process:a/b", "user:a,"] {
        let error = LocalProgram::from_words(words).unwrap_err().to_string();
        assert!(error.contains("'user:NAME'"), "{words}: {error}");
    }
}
