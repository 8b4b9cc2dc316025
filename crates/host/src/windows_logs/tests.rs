use std::net::IpAddr;

use xshield_policy::Direction::{self, Inbound, Outbound};

use super::*;

fn own() -> OwnAddresses {
    ["10.0.0.9", "fe80::9"].iter().map(|text| text.parse::<IpAddr>().unwrap()).collect()
}

fn json(id: &str, way: &str, ends: [&str; 4], protocol: &str, time: &str) -> String {
    let [source, source_port, destination, destination_port] = ends;
    format!(
        r#"{{"EventID":{id},"@timestamp":"{time}","Direction":"{way}","SourceAddress":"{source}",
            "SourcePort":"{source_port}","DestAddress":"{destination}","DestPort":"{destination_port}",
            "Protocol":"{protocol}","Application":"\\device\\harddiskvolume2\\a b\\s.exe",
            "ProcessID":"77","FilterRTID":"70001","Keywords":-9214364837600034816,"tags":["x"]}}"#
    )
}

fn flow(text: &str) -> FlowEvent {
    match Event::read(&Fields::from_json(text).unwrap(), &own()) {
        Ok(Some(Event::Flow(flow))) => flow,
        other => panic!("{text}: {other:?}"),
    }
}

const IN: &str = "%%14592";
const OUT: &str = "%%14593";
const NOON: &str = "2026-01-02T12:00:00.000Z";

#[test]
fn local_and_remote_ends_follow_the_hosts_addresses() {
    let placed = |local: &str, remote: &str| {
        let end = |text: &str| {
            let (address, port) = text.rsplit_once('|').unwrap();
            (address.parse().unwrap(), port.parse().unwrap())
        };
        Ends::Peer { local: end(local), remote: end(remote) }
    };
    for (way, ends, wanted) in [
        (OUT, ["10.0.0.9", "50000", "10.0.0.5", "443"], placed("10.0.0.9|50000", "10.0.0.5|443")),
        // Inbound, in the format of some builds, and in that of others.
        (IN, ["10.0.0.5", "50000", "10.0.0.9", "22"], placed("10.0.0.9|22", "10.0.0.5|50000")),
        (IN, ["10.0.0.9", "22", "10.0.0.5", "50000"], placed("10.0.0.9|22", "10.0.0.5|50000")),
        (IN, ["fe80::5%12", "5353", "ff02::fb", "5353"], placed("ff02::fb|5353", "fe80::5|5353")),
        (IN, ["ff02::fb", "5353", "fe80::5", "5353"], placed("ff02::fb|5353", "fe80::5|5353")),
        (
            OUT,
            ["0.0.0.0", "68", "255.255.255.255", "67"],
            placed("0.0.0.0|68", "255.255.255.255|67"),
        ),
        (IN, ["127.0.0.1", "50000", "127.0.0.1", "80"], Ends::ThisHost),
        (OUT, ["10.0.0.9", "50000", "::1", "80"], Ends::ThisHost),
        (
            IN,
            ["10.0.0.5", "1", "10.0.0.8", "2"],
            Ends::Unplaced {
                source: ("10.0.0.5".parse().unwrap(), 1),
                destination: ("10.0.0.8".parse().unwrap(), 2),
            },
        ),
    ] {
        let got = flow(&json("5156", way, ends, "17", NOON));
        assert_eq!(got.ends, wanted, "{way} {ends:?}");
    }
}

#[test]
fn a_flow_event_is_parsed() {
    let got = flow(&json("\"5157\"", IN, ["10.0.0.5", "50000", "10.0.0.9", "22"], "6", NOON));
    assert_eq!((got.outcome, got.direction), (FlowOutcome::ConnectionBlocked, Inbound));
    assert_eq!(got.application.as_deref(), Some(r"\device\harddiskvolume2\a b\s.exe"));
    assert_eq!((got.process, got.filter), (Some(77), Some(70_001)));
    assert_eq!(got.time, Some(1_767_355_200_000));
    for (protocol, ends, wanted) in [
        ("6", ["10.0.0.5", "50000", "10.0.0.9", "22"], Detail::Ports { local: 22, remote: 50_000 }),
        ("1", ["10.0.0.5", "0", "10.0.0.9", "8"], Detail::Icmp { kind: 8, code: 0 }),
        ("58", ["fe80::9", "135", "fe80::5", "0"], Detail::Icmp { kind: 135, code: 0 }),
        ("2", ["10.0.0.5", "0", "224.0.0.22", "0"], Detail::None),
        ("6", ["127.0.0.1", "1", "127.0.0.1", "2"], Detail::None),
    ] {
        assert_eq!(flow(&json("5156", IN, ends, protocol, NOON)).detail(), wanted, "{ends:?}");
    }
}

#[test]
fn late_answers_are_not_connection_attempts() {
    for (id, way, ends, protocol, wanted) in [
        ("5152", IN, ["10.0.0.53", "53", "10.0.0.9", "51404"], "17", true),
        ("5157", IN, ["10.0.0.9", "51404", "10.0.0.53", "53"], "17", true),
        ("5152", IN, ["10.0.0.53", "53", "10.0.0.9", "137"], "17", false),
        ("5152", IN, ["10.0.0.5", "50000", "10.0.0.9", "53"], "17", false),
        ("5152", IN, ["10.0.0.53", "53", "10.0.0.9", "51404"], "6", false),
        ("5156", IN, ["10.0.0.53", "53", "10.0.0.9", "51404"], "17", false),
        ("5157", OUT, ["10.0.0.9", "51404", "10.0.0.53", "53"], "17", false),
    ] {
        let got = flow(&json(id, way, ends, protocol, NOON)).is_late_answer();
        assert_eq!(got, wanted, "{id} {way} {ends:?}");
    }
}

#[test]
fn a_drop_reported_twice_counts_once() {
    let at = |id: &str, time: &str| {
        let time = format!("2026-01-02T12:00:{time}Z");
        flow(&json(id, IN, ["10.0.0.5", "50000", "10.0.0.9", "22"], "6", &time))
    };
    for (events, counted) in [
        (vec![at("5157", "00.000"), at("5152", "00.010")], 1),
        (vec![at("5152", "00.000"), at("5157", "00.010")], 1),
        // A repeated attempt.
        (vec![at("5152", "00.0"), at("5157", "00.0"), at("5152", "03.0"), at("5157", "03.0")], 2),
        (vec![at("5152", "00.000"), at("5157", "01.001")], 2),
        (vec![at("5152", "00.000"), at("5152", "00.001")], 2),
        (vec![at("5156", "00.000"), at("5156", "00.001")], 2),
        (vec![at("5157", "00"), at("5152", "00"), at("5152", "00")], 2),
    ] {
        let mut repeats = Repeats::default();
        let got = events.iter().filter(|event| !repeats.is_repeat(event)).count();
        let outcomes: Vec<_> = events.iter().map(|event| (event.outcome, event.time)).collect();
        assert_eq!(got, counted, "{outcomes:?}");
    }
    let untimed = || FlowEvent { time: None, ..at("5152", "00") };
    let mut repeats = Repeats::default();
    assert!(!repeats.is_repeat(&untimed()));
    assert!(
        !repeats.is_repeat(&FlowEvent { outcome: FlowOutcome::ConnectionBlocked, ..untimed() })
    );
}

#[test]
fn socket_and_filter_events_are_parsed() {
    let read = |text: &str| Event::read(&Fields::from_json(text).unwrap(), &own());
    let socket = |id: u32| {
        format!(
            r#"{{"EventID":{id},"SourceAddress":"::","SourcePort":"49675","Protocol":"6",
                "Application":"-","ProcessId":"0x7e4","FilterRTID":"0"}}"#
        )
    };
    let wanted = Socket {
        address: "::".parse().unwrap(),
        port: 49_675,
        protocol: 6,
        application: None,
        process: Some(2020),
    };
    assert_eq!(read(&socket(5154)), Ok(Some(Event::Listening(wanted.clone()))));
    assert_eq!(read(&socket(5158)), Ok(Some(Event::Bound(wanted))));
    let filter = |id: u32, change: &str| {
        format!(
            r#"{{"EventID":{id},"ChangeType":"{change}","FilterId":"70002","UserName":"NT-AUTORITÄT\\SYSTEM",
                "FilterKey":"{{11111111-2222-3333-4444-555555555555}}","FilterName":"Xshield web/https"}}"#
        )
    };
    for (text, wanted) in [
        (filter(5447, "%%16384"), FilterChange::Added),
        (filter(5447, "%%16385"), FilterChange::Deleted),
        (filter(5441, ""), FilterChange::Present),
    ] {
        let Ok(Some(Event::Filter(event))) = read(&text) else { panic!("{text}") };
        assert_eq!((event.change, event.id, &*event.name), (wanted, 70_002, "Xshield web/https"));
        assert_eq!(event.user.as_deref(), Some(r"NT-AUTORITÄT\SYSTEM"));
    }
    assert_eq!(read(r#"{"EventID":4624}"#), Ok(None));
}

#[test]
fn errors_name_what_is_wrong() {
    let good = json("5156", IN, ["10.0.0.5", "50000", "10.0.0.9", "22"], "6", NOON);
    for (from, to, says) in [
        ("\"22\"", "\"65536\"", "event 5156 has the destination port \"65536\""),
        ("10.0.0.5", "10.0.0", "event 5156 has the source address \"10.0.0\""),
        ("%%14592", "Inbound", "event 5156 has the direction \"Inbound\""),
        ("\"Protocol\":\"6\"", "\"P\":\"6\"", "event 5156 has no protocol"),
        ("5156", "5447", "event 5447 has no change"),
    ] {
        let text = good.replace(from, to);
        let error = Event::read(&Fields::from_json(&text).unwrap(), &own()).unwrap_err();
        assert!(error.to_string().starts_with(says), "{says}: {error}");
    }
    assert!(Fields::from_json(&good[..good.len() / 2]).is_err());
    assert!(Fields::from_json(r#"{"EventID":"many"}"#).is_err());
}

#[test]
fn xml_and_fields_agree() {
    let data = [
        ("ProcessID", "77"),
        ("Application", r"\device\harddiskvolume2\a b\s.exe"),
        ("Direction", IN),
        ("SourceAddress", "10.0.0.5"),
        ("SourcePort", "50000"),
        ("DestAddress", "10.0.0.9"),
        ("DestPort", "22"),
        ("Protocol", "6"),
        ("FilterRTID", "70001"),
        ("RemoteUserID", "S-1-0-0"),
    ];
    let data: String =
        data.iter().map(|(name, value)| format!("<Data Name='{name}'>{value}</Data>")).collect();
    let event = |data: &str| {
        format!(
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
             <Provider Name='Microsoft-Windows-Security-Auditing'/><EventID>5156</EventID>\
             <TimeCreated SystemTime='2026-01-02T12:00:00.000000000Z'/>\
             <Execution ProcessID='4' ThreadID='320'/><Security/></System>\
             <EventData>{data}</EventData></Event>"
        )
    };
    let read = read_xml(&event(&data)).unwrap();
    let read = Event::read(&read, &own()).unwrap();
    let same = flow(&json("5156", IN, ["10.0.0.5", "50000", "10.0.0.9", "22"], "6", NOON));
    assert_eq!(read, Some(Event::Flow(same)));

    let odd = read_xml(&event("<Data Name='Application'>a &amp; b&#x20AC;</Data><Data/>")).unwrap();
    assert_eq!(odd.application.as_deref(), Some("a & b€"));
    let whole = event(&data);
    for (text, wanted) in [
        (whole.replace("5156", "many"), "there is no number in EventID"),
        (whole[..300].to_owned(), ""),
        ("<Event><EventID>5156</EventID>".to_owned(), "the event is cut off"),
        (whole.replace("</System>", "</Sistem>"), "not well-formed XML at byte"),
        (event("<Data Name='Application'>&nothing;</Data>"), "unknown entity"),
        (String::new(), "there is no number in EventID"),
    ] {
        let error = read_xml(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn a_truncated_event_is_refused() {
    let json = json("5156", IN, ["10.0.0.5", "50000", "fe80::9", "22"], "6", NOON);
    let xml = "<Event xmlns='x'><System><EventID>5156</EventID><Security/></System><EventData>\
               <Data Name='Application'>\\a &amp; b\\ü.exe</Data></EventData></Event>";
    assert!(Fields::from_json(&json).is_ok() && read_xml(xml).is_ok());
    let cuts = |text: &str| {
        let ends = text.char_indices().map(|(at, _)| at);
        ends.map(|at| text[..at].to_owned()).collect::<Vec<_>>()
    };
    for cut in cuts(&json) {
        assert!(Fields::from_json(&cut).is_err(), "{cut}");
    }
    for cut in cuts(xml) {
        assert!(read_xml(&cut).is_err(), "{cut}");
    }
}

const HEADER: &str = "#Fields: date time action protocol src-ip dst-ip src-port dst-port size tcpflags \
                      tcpsyn tcpack tcpwin icmptype icmpcode info path";

fn firewall(line: &str) -> Result<Option<FirewallLine>, FirewallLogError> {
    let mut log = FirewallLog::default();
    assert_eq!(log.line(HEADER), Ok(None));
    log.line(line)
}

#[test]
fn the_firewall_log_is_parsed() {
    let flow = |is_allowed, direction: Direction, protocol, ends: [&str; 2], detail| {
        let [local, remote] = ends.map(|text| text.parse().unwrap());
        let process = None;
        Ok(Some(FirewallLine::Flow {
            may_open: true,
            is_allowed,
            direction,
            protocol,
            local,
            remote,
            detail,
            process,
        }))
    };
    let at = "2026-01-02 12:00:00";
    for (line, wanted) in [
        (
            "DROP UDP 10.0.0.5 224.0.0.251 5353 5354 73 - - - - - - - RECEIVE",
            flow(
                false,
                Inbound,
                17,
                ["224.0.0.251", "10.0.0.5"],
                Detail::Ports { local: 5354, remote: 5353 },
            ),
        ),
        (
            "ALLOW TCP 10.0.0.9 10.0.0.5 50000 443 0 - 0 0 0 - - - SEND",
            flow(
                true,
                Outbound,
                6,
                ["10.0.0.9", "10.0.0.5"],
                Detail::Ports { local: 50_000, remote: 443 },
            ),
        ),
        (
            "ALLOW ICMP fe80::5 ff02::1 - - 0 - - - - 134 0 - RECEIVE",
            flow(true, Inbound, 58, ["ff02::1", "fe80::5"], Detail::Icmp { kind: 134, code: 0 }),
        ),
        (
            "DROP ICMP 10.0.0.5 10.0.0.9 - - 60 - - - - 8 0 - RECEIVE",
            flow(false, Inbound, 1, ["10.0.0.9", "10.0.0.5"], Detail::Icmp { kind: 8, code: 0 }),
        ),
        (
            "ALLOW 2 10.0.0.1 224.0.0.1 - - 0 - - - - - - - RECEIVE",
            flow(true, Inbound, 2, ["224.0.0.1", "10.0.0.1"], Detail::None),
        ),
        ("INFO-EVENTS-LOST - - - - - - - - - - - - 7 -", Ok(Some(FirewallLine::Lost(7)))),
        ("OPEN TCP 10.0.0.9 10.0.0.5 1 2 - - - - - - - - -", Ok(None)),
    ] {
        assert_eq!(firewall(&format!("{at} {line}")), wanted, "{line}");
    }
    for header in ["#Version: 1.5", "", "#Time Format: Local"] {
        assert_eq!(firewall(header), Ok(None));
    }
}

#[test]
fn columns_follow_the_header() {
    let mut log = FirewallLog::default();
    let line = "2026-01-02 12:00:00 DROP TCP 10.0.0.5 10.0.0.9 1 22 0 - - - - - - - RECEIVE 77";
    assert_eq!(log.line(line), Err(FirewallLogError::NoHeader));
    log.line(&format!("{HEADER} pid")).unwrap();
    let Ok(Some(FirewallLine::Flow { process, .. })) = log.line(line) else { panic!("{line}") };
    assert_eq!(process, Some(77));
    log.line("#Fields: path dst-port src-port dst-ip src-ip protocol action").unwrap();
    let turned = "SEND 443 50000 10.0.0.5 10.0.0.9 TCP ALLOW";
    let Ok(Some(FirewallLine::Flow { detail, .. })) = log.line(turned) else { panic!("{turned}") };
    assert_eq!(detail, Detail::Ports { local: 50_000, remote: 443 });
    for (line, column) in [
        ("SEND 443 50000 10.0.0.5 10.0.0.9 TCP", "action"),
        ("SEND 443 50000 10.0.0.5 10.0.0 TCP ALLOW", "src-ip"),
        ("SEND 443 65536 10.0.0.5 10.0.0.9 TCP ALLOW", "src-port"),
        ("UP 443 50000 10.0.0.5 10.0.0.9 TCP ALLOW", "path"),
        ("SEND 443 50000 10.0.0.5 10.0.0.9 TPC ALLOW", "protocol"),
        ("- - - - - - INFO-EVENTS-LOST", "info"),
    ] {
        let Err(FirewallLogError::Column { column: found, .. }) = log.line(line) else {
            panic!("{line}: was read");
        };
        assert_eq!(found, column, "{line}");
    }
}
