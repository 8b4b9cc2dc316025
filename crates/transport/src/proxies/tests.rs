//! Texts of operators, and the resulting lists.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use proptest::prelude::*;

use super::*;

fn b64(text: &str) -> String {
    STANDARD.encode(text)
}

/// `address user password` of each proxy, `-` for none.
fn shown(list: &ProxyList) -> Vec<String> {
    let proxies = list.as_slice().iter();
    let text = proxies.map(|proxy| {
        let password = proxy.password.as_ref().map_or("-", Secret::expose);
        format!("{} {} {password}", proxy.address, proxy.user.as_deref().unwrap_or("-"))
    });
    text.collect()
}

#[test]
fn accepted_proxy_lists() {
    let (s1, s2) = (b64("one"), b64("zwei ß,:"));
    let both = format!("{s1},{s2}");
    let second = format!(",{s2}");
    let table: [(&str, &str, &str, &[&str]); 11] = [
        ("", "", "", &[]),
        (" ", "", " ", &[]),
        ("http://10.10.6.4:3128", "", "", &["10.10.6.4:3128 - -"]),
        ("10.10.6.4:3128", "u1", "", &["10.10.6.4:3128 u1 -"]),
        (
            "http://10.10.6.4:3128,http://[fd00::1]:4128",
            "",
            "",
            &["10.10.6.4:3128 - -", "[fd00::1]:4128 - -"],
        ),
        (
            " HTTP://10.10.6.4:3128/ , [FD00:0::1]:1 ",
            "",
            "",
            &["10.10.6.4:3128 - -", "[fd00::1]:1 - -"],
        ),
        ("10.0.0.1:1,10.0.0.2:1", "u1,u2", &both, &["10.0.0.1:1 u1 one", "10.0.0.2:1 u2 zwei ß,:"]),
        ("10.0.0.1:1,10.0.0.2:1", "u1", &s1, &["10.0.0.1:1 u1 one", "10.0.0.2:1 - -"]),
        ("10.0.0.1:1,10.0.0.2:1", ",u2", &second, &["10.0.0.1:1 - -", "10.0.0.2:1 u2 zwei ß,:"]),
        (
            "10.0.0.1:1,10.0.0.2:1,10.0.0.3:1",
            "u1,,u3",
            &s1,
            &["10.0.0.1:1 u1 one", "10.0.0.2:1 - -", "10.0.0.3:1 u3 -"],
        ),
        (
            "10.0.0.1:1,10.0.0.1:2",
            "do main\\us@er,",
            "",
            &["10.0.0.1:1 do main\\us@er -", "10.0.0.1:2 - -"],
        ),
    ];
    for (addresses, users, passwords, expected) in table {
        let list = ProxyList::parse(addresses, users, passwords);
        assert_eq!(shown(&list.unwrap()), expected, "{addresses} {users} {passwords}");
    }
}

#[test]
fn refused_proxy_addresses() {
    use ProxyListReason::{Address, Brackets, Credentials, Empty, HostName, NoPort, Scheme, Twice};
    let table = [
        (",", Empty(1)),
        ("10.0.0.1:1,", Empty(2)),
        ("10.0.0.1:1,,10.0.0.2:1", Empty(2)),
        ("http://user:secret@10.0.0.1:1", Credentials(1)),
        ("10.0.0.1:1,user@10.0.0.1:1", Credentials(2)),
        ("https://10.0.0.1:1", Scheme(1)),
        ("socks5://10.0.0.1:1", Scheme(1)),
        ("proxy.example.com:3128", HostName(1)),
        ("10.0.0.1:1,http://proxy:3128", HostName(2)),
        ("localhost", HostName(1)),
        ("10.0.0.1", NoPort(1)),
        ("http://[fd00::1]", NoPort(1)),
        ("fd00::1", Brackets(1)),
        ("fd00::1:3128", Brackets(1)),
        ("http://1:2:3:4:5:6:7:8:3128", Brackets(1)),
        ("10.0.0.1:0", Address(1)),
        ("0.0.0.0:3128", Address(1)),
        ("[::]:3128", Address(1)),
        ("[fe80::1%2]:3128", Address(1)),
        ("10.0.0.1:65536", Address(1)),
        ("10.0.0.256:1", Address(1)),
        ("http://10.0.0.1:1/path", Address(1)),
        ("http://", Address(1)),
        ("[proxy]:3128", Address(1)),
        ("10.0.0.1:1 10.0.0.2:1", Address(1)),
        ("10.0.0.1:1,http://10.0.0.1:1/", Twice("10.0.0.1:1".parse().unwrap())),
    ];
    for (addresses, expected) in table {
        let error = ProxyList::parse(addresses, "", "").unwrap_err();
        assert_eq!(error.reason, expected, "{addresses}");
        assert_eq!(error.text, ProxyText::Addresses, "{addresses}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn refused_proxy_credentials() {
    use ProxyListReason::{ControlCharacter, NoUser, NotBase64, NotText, TooMany, User};
    use ProxyText::{Passwords, Users};
    let too_many = |text, given, proxies| TooMany { text, given, proxies };
    let (good, line, binary) = (b64("good"), b64("good\n"), STANDARD.encode([0xff, 0xfe]));
    let one = "10.0.0.1:1";
    let two = "10.0.0.1:1,10.0.0.2:1";
    let second = format!("{good},hunter2!");
    let both = format!("{good},{good}");
    let table = [
        ("", "u1", "", Users, too_many(Users, 1, 0)),
        (one, "u1,u2", "", Users, too_many(Users, 2, 1)),
        (one, "u1,", "", Users, too_many(Users, 2, 1)),
        (one, "u1", both.as_str(), Passwords, too_many(Passwords, 2, 1)),
        (one, "u:1", "", Users, User(1)),
        (two, "u1,u\u{7}2", "", Users, User(2)),
        (one, "", good.as_str(), Passwords, NoUser(1)),
        (two, "u1", both.as_str(), Passwords, NoUser(2)),
        (one, "u1", "hunter2!", Passwords, NotBase64(1)),
        (two, "u1,u2", second.as_str(), Passwords, NotBase64(2)),
        (one, "u1", "Z29vZA", Passwords, NotBase64(1)),
        (one, "u1", binary.as_str(), Passwords, NotText(1)),
        (one, "u1", line.as_str(), Passwords, ControlCharacter(1)),
    ];
    for (addresses, users, passwords, text, expected) in table {
        let error = ProxyList::parse(addresses, users, passwords).unwrap_err();
        let wanted = ProxyListError { text, reason: expected };
        assert_eq!(error, wanted, "{addresses} {users} {passwords}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn passwords_are_not_in_debug() {
    let list = ProxyList::parse("10.0.0.1:1", "u1", &b64("hunter2")).unwrap();
    let text = format!("{list:?}");
    assert!(text.contains("u1") && !text.contains("hunter2"), "{text}");
    assert!(!text.contains(&b64("hunter2")), "{text}");
}

#[test]
fn proxies_that_no_text_can_express_are_refused() {
    let proxy = |address: &str, user: Option<&str>, password: Option<&str>| Proxy {
        address: address.parse().unwrap(),
        user: user.map(str::to_owned),
        password: password.map(|text| Secret::new(text.to_owned())),
    };
    let table = [
        (vec![proxy("proxy.example.com:1", None, None)], ProxyListReason::HostName(1)),
        (vec![proxy("10.0.0.1:1", None, Some("x"))], ProxyListReason::NoUser(1)),
        (vec![proxy("10.0.0.1:1", Some("a:b"), None)], ProxyListReason::User(1)),
    ];
    for (proxies, expected) in table {
        assert_eq!(ProxyList::try_from(proxies).unwrap_err().reason, expected);
    }
}

prop_compose! {
    fn any_proxy()(
        address in prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)],
        port in 1..=u16::MAX,
        user in proptest::option::of("[^:,\\s\\p{C}]{1,12}"),
        password in "[^\\p{Cc}]{1,20}",
        with_password: bool,
    ) -> Proxy {
        let password = (with_password && user.is_some()).then(|| Secret::new(password));
        Proxy { address: SocketAddr::new(address, port).into(), user, password }
    }
}

proptest! {
    #[test]
    fn proxy_lists_round_trip(proxies in proptest::collection::vec(any_proxy(), 0..5)) {
        let usable = |proxy: &Proxy| !proxy.address.address().unwrap().ip().is_unspecified();
        prop_assume!(proxies.iter().all(usable));
        prop_assume!(ProxyList::try_from(proxies.clone()).is_ok());
        let join = |text: &dyn Fn(&Proxy) -> String| {
            proxies.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let addresses = join(&|proxy| format!("http://{}", proxy.address));
        let users = join(&|proxy| proxy.user.clone().unwrap_or_default());
        let passwords = join(&|proxy| proxy.password.as_ref().map_or(String::new(), |p| b64(p.expose())));
        let list = ProxyList::parse(&addresses, &users, &passwords).unwrap();
        prop_assert_eq!(Vec::from(list), proxies);
    }

    #[test]
    fn any_text_is_read_or_refused(
        addresses in "[0-9a-f:.,@/\\[\\]%htp -]{0,40}",
        users in "\\PC{0,20}",
        passwords in "[A-Za-z0-9+/=, ]{0,30}",
    ) {
        if let Ok(list) = ProxyList::parse(&addresses, &users, &passwords) {
            prop_assert_eq!(ProxyList::try_from(list.as_slice().to_vec()), Ok(list));
        }
    }
}

#[test]
fn a_fingerprint_changes_with_anything_in_the_list_and_with_the_salt() {
    let of = |addresses: &str, users: &str, passwords: &str| {
        ProxyList::parse(addresses, users, passwords).unwrap().fingerprint(&[1; 16])
    };
    let two = "10.0.0.1:1,10.0.0.2:1";
    let first = of(two, "u,v", "c2VjcmV0,c2VjcmV0");
    assert_eq!(first, of("http://10.0.0.1:1,http://10.0.0.2:1/", "u,v", "c2VjcmV0,c2VjcmV0"));
    for other in [
        of(two, "u,v", "c2VjcmV0,c2VjcmV1"),
        of(two, "u,v", "c2VjcmV0"),
        of(two, "u,w", "c2VjcmV0,c2VjcmV0"),
        of("10.0.0.2:1,10.0.0.1:1", "u,v", "c2VjcmV0,c2VjcmV0"),
        of("10.0.0.1:1", "u", "c2VjcmV0"),
        of("", "", ""),
    ] {
        assert_ne!(other, first);
    }
    let list = ProxyList::parse(two, "", "").unwrap();
    assert_ne!(list.fingerprint(&[1; 16]), list.fingerprint(&[2; 16]));
}
