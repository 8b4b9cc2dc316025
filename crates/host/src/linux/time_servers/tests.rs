use std::fs;

use proptest::prelude::*;

use super::*;
use crate::time_server::Place;

fn shown(servers: &[TimeServer]) -> String {
    let shown = servers.iter().map(|server| {
        let place = match &server.place {
            Place::Address(address) => address.to_string(),
            Place::Name(name) => name.to_string(),
        };
        if server.keys == Keys::Nts { format!("{place}+nts") } else { place }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn configuration_lines_are_parsed() {
    for (line, expected) in [
        ("server 10.0.0.1 iburst", "10.0.0.1"),
        ("Pool 2.Debian.pool.ntp.org. iburst maxsources 4", "2.debian.pool.ntp.org"),
        ("peer fd00::1", "fd00::1"),
        ("server time.cloudflare.com iburst NTS", "time.cloudflare.com+nts"),
        ("  server fe80::1%eth0", "fe80::1"),
        ("server ::ffff:10.0.0.1", "10.0.0.1"),
        ("# server 10.0.0.1", ""),
        ("server", ""),
        ("server 127.127.1.0", ""),
        ("server not_a/name", ""),
        ("allow 10.0.0.0/8", ""),
        ("keyfile /etc/keys", ""),
    ] {
        assert_eq!(shown(&parse_chrony(line).servers), expected, "{line}");
        assert_eq!(shown(&parse_ntpd(line).servers), expected, "{line}");
    }
    for line in ["! server 10.0.0.1", "; server 10.0.0.1", "% server 10.0.0.1"] {
        assert_eq!(shown(&parse_chrony(line).servers), "", "{line}");
    }
    assert_eq!(shown(&parse_ntpd("server -6 ntp.example nts # mine").servers), "ntp.example+nts");
    assert_eq!(shown(&parse_ntpd("server 10.0.0.1 # nts").servers), "10.0.0.1");
}

#[test]
fn each_programs_files_are_read() {
    type Files<'a> = &'a [(&'a str, &'a str)];
    let table: &[(&str, Files<'_>, &str)] = &[
        ("nothing", &[], ""),
        (
            "chrony of Debian",
            &[
                (
                    "etc/chrony/chrony.conf",
                    "confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\n\
                     sourcedir /run/chrony-dhcp\nsourcedir /etc/chrony/sources.d\n",
                ),
                ("etc/chrony/conf.d/a.conf", "server 10.0.0.1"),
                ("etc/chrony/conf.d/a.disabled", "server 10.0.0.99"),
                ("run/chrony-dhcp/eth0.sources", "server 10.0.0.2 iburst"),
                ("etc/chrony/sources.d/b.sources", "server nts.example nts"),
            ],
            "10.0.0.1 10.0.0.2 2.debian.pool.ntp.org nts.example+nts",
        ),
        (
            "chrony: of files with one name the first directory's counts",
            &[
                ("etc/chrony.conf", "confdir /etc/one /etc/two"),
                ("etc/one/a.conf", "server 10.0.0.1"),
                ("etc/two/a.conf", "server 10.0.0.2"),
                ("etc/two/b.conf", "server 10.0.0.3"),
            ],
            "10.0.0.1 10.0.0.3",
        ),
        (
            "chrony: files that include each other, and a pattern",
            &[
                ("etc/chrony.conf", "include /etc/chrony.d/*.conf\nserver 10.0.0.1"),
                ("etc/chrony.d/a.conf", "include /etc/chrony.conf\nserver 10.0.0.2"),
                ("etc/chrony.d/b.txt", "server 10.0.0.99"),
            ],
            "10.0.0.1 10.0.0.2",
        ),
        (
            "ntpsec, and what DHCP told it",
            &[
                ("etc/ntpsec/ntp.conf", "pool 0.example iburst\nincludefile \"/etc/more\"\n"),
                ("etc/more", "server 10.0.0.1"),
                ("run/ntpsec/ntp.conf.dhcp", "server 10.0.0.2 iburst"),
            ],
            "10.0.0.1 10.0.0.2 0.example",
        ),
        (
            "timesyncd, with a drop-in that takes away what came before",
            &[
                ("etc/systemd/timesyncd.conf", "[Time]\nNTP=10.0.0.9\nFallbackNTP=ntp.example\n"),
                ("etc/systemd/timesyncd.conf.d/a.conf", "[Time]\nNTP=\nNTP=10.0.0.1 10.0.0.2"),
                ("usr/lib/systemd/timesyncd.conf.d/a.conf", "[Time]\nNTP=10.0.0.99"),
                ("run/systemd/netif/state", "OPER_STATE=routable\nNTP=10.0.0.3 10.0.0.4"),
                ("run/systemd/netif/links/2", "DNS=10.0.0.53\nNTP=10.0.0.5"),
            ],
            "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5",
        ),
        (
            "timesyncd as it comes: what it was built with",
            &[(
                "etc/systemd/timesyncd.conf",
                "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org 1.debian.pool.ntp.org\n",
            )],
            "0.debian.pool.ntp.org 1.debian.pool.ntp.org",
        ),
        (
            "what a program was built with does not count beside a configuration",
            &[
                ("etc/systemd/timesyncd.conf", "[Time]\n#FallbackNTP=0.fedora.pool.ntp.org\n"),
                ("etc/chrony.conf", "server 10.0.0.1"),
            ],
            "10.0.0.1",
        ),
    ];
    for (name, files, expected) in table {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in *files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(shown(&configured(root.path())), *expected, "{name}");
    }
}

#[test]
fn files_and_includes_are_limited() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let many: String =
        (0..5_000).map(|n| format!("server 10.0.{}.{}\n", n / 250, n % 250 + 1)).collect();
    write("etc/ntp.conf", &many);
    assert_eq!(configured(root.path()).len(), MOST);
    // If all files include all files, reading ends, and what comes after them is not read.
    write("etc/chrony.conf", "server 192.0.2.1\nconfdir /etc/chrony.d");
    for number in 0..200 {
        write(&format!("etc/chrony.d/{number:03}.conf"), "include /etc/chrony.d/*.conf");
    }
    assert_eq!(shown(&configured(root.path())), "192.0.2.1");
}

proptest! {
    #[test]
    fn any_text_is_read(text in "\\PC*|((server|pool|NTP=|#NTP=|\\[Time\\]|include|confdir)[ a-z0-9.:%*?/-]*\n)*") {
        for said in [parse_chrony(&text), parse_ntpd(&text)] {
            prop_assert!(said.servers.len() <= text.lines().count());
        }
        let _ = parse_timesyncd(&text, Timesyncd::default());
        let _ = parse_netif(&text);
    }
}
