use super::*;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use xshield_policy::Span;

/// The server's answer for a name and type.
#[derive(Clone)]
enum Say {
    Addresses(Vec<IpAddr>),
    Alias(&'static str, Vec<IpAddr>),
    NoSuchName,
    Fail,
    Refuse,
    Nothing,
}

type Zone = Arc<Mutex<BTreeMap<(String, u16), Say>>>;

const A: u16 = 1;
const AAAA: u16 = 28;

/// A DNS server on the loopback address that answers from its zone; other names do not exist.
struct Server {
    zone: Zone,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let zone = Zone::default();
        let served = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((size, from)) = socket.recv_from(&mut buffer) {
                if let Some(answer) = answer(&buffer[..size], &served) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { zone, port }
    }

    fn say(&self, name: &str, family: u16, say: Say) {
        self.zone.lock().unwrap().insert((name.to_owned(), family), say);
    }

    fn resolver(&self) -> Resolver {
        let conf = ResolvConf::parse("nameserver 127.0.0.1\nsearch example");
        let hosts = parse_hosts("10.9.9.9 printer.example");
        let timeouts = ResolverTimeouts {
            one_try: Duration::from_millis(300),
            retries: 1,
            total: Duration::from_secs(5),
        };
        Resolver { conf, hosts, port: self.port, timeouts }
    }
}

fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (mut name, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap().to_ascii_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let name = name.join(".");
    let family = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let say = zone.lock().unwrap().get(&(name.clone(), family)).cloned().unwrap_or(Say::NoSuchName);
    let (code, records) = match say {
        Say::Nothing => return None,
        Say::Fail => (2, vec![]),
        Say::Refuse => (5, vec![]),
        Say::NoSuchName => (3, vec![]),
        Say::Addresses(list) => (0, list.iter().map(|a| address_record(&name, *a)).collect()),
        Say::Alias(target, list) => {
            let mut records = vec![record(&name, 5, &wire_name(target))];
            records.extend(list.iter().map(|a| address_record(target, *a)));
            (0, records)
        }
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(question);
    answer.extend(records.concat());
    Some(answer)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut wire = wire_name(name);
    wire.extend(kind.to_be_bytes());
    wire.extend([0, 1, 0, 0, 0, 60]);
    wire.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    wire.extend(data);
    wire
}

fn address_record(name: &str, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => record(name, A, &v4.octets()),
        IpAddr::V6(v6) => record(name, AAAA, &v6.octets()),
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn some(texts: &[&str]) -> Say {
    Say::Addresses(addresses(texts))
}

fn codes(resolution: &Resolution) -> Vec<&str> {
    resolution.problems.iter().map(|problem| problem.code.as_str()).collect()
}

/// A grace that is over in the next second.
const SOON: Grace = Grace { span: Span::minutes(0), while_connected: false };

/// A moment with a stale time of a hundred seconds, and no connections.
fn at(now: UnixSeconds) -> Moment<'static> {
    Moment { now, stale: 100, connected: &|| Ok(HashSet::new()) }
}

/// Resolves one name at one time: its addresses and the problems' codes.
fn resolve(server: &Server, cache: &mut Cache, name: &str, now: u64) -> (Vec<IpAddr>, Vec<String>) {
    let domain = DomainName::try_from(name.to_owned()).unwrap();
    let resolution = server.resolver().resolve([(&domain, SOON)], cache, at(now)).unwrap();
    let codes = codes(&resolution).into_iter().map(str::to_owned).collect();
    (resolution.domains[&domain].clone(), codes)
}

#[test]
fn all_addresses_of_both_families_through_aliases() {
    let server = Server::start();
    server.say("repo.example", A, some(&["10.0.0.2", "10.0.0.1"]));
    server.say("repo.example", AAAA, some(&["2001:db8::1"]));
    server.say("www.example", A, Say::Alias("cdn.example", addresses(&["10.0.0.7"])));
    // The server leaves following the alias to the resolver.
    server.say("www.example", AAAA, Say::Alias("cdn.example", vec![]));
    server.say("cdn.example", AAAA, some(&["2001:db8::7"]));
    let names = ["repo.example", "www.example", "gone.example", "printer.example"];
    let domains = names.map(|name| DomainName::try_from(name.to_owned()).unwrap());
    let mut cache = Cache::default();
    let asked = domains.iter().map(|domain| (domain, Grace::DEFAULT));
    let resolution = server.resolver().resolve(asked, &mut cache, at(1)).unwrap();
    let got: Vec<Vec<IpAddr>> =
        domains.iter().map(|domain| resolution.domains[domain].clone()).collect();
    let expected: [&[&str]; 4] = [
        &["10.0.0.1", "10.0.0.2", "2001:db8::1"],
        &["10.0.0.7", "2001:db8::7"],
        &[],
        &["10.9.9.9"],
    ];
    assert_eq!(got, expected.map(addresses));
    assert_eq!(resolution.problems, []);
}

#[test]
fn addresses_are_removed_when_the_answer_changes() {
    let server = Server::start();
    let mut cache = Cache::default();
    for (now, say, expected) in [
        (1, some(&["10.0.0.1", "10.0.0.2"]), &["10.0.0.1", "10.0.0.2"][..]),
        (2, some(&["10.0.0.2", "10.0.0.3"]), &["10.0.0.2", "10.0.0.3"]),
        (3, Say::NoSuchName, &[]),
        (4, some(&["10.0.0.4"]), &["10.0.0.4"]),
        (5, some(&[]), &[]),
    ] {
        server.say("db.example", A, say);
        let got = resolve(&server, &mut cache, "db.example", now);
        assert_eq!(got, (addresses(expected), vec![]), "at {now}");
    }
}

#[test]
fn an_address_is_kept_for_its_grace_and_then_removed_and_reported() {
    let server = Server::start();
    let domain = DomainName::try_from("cdn.example".to_owned()).unwrap();
    let mut cache = Cache::default();
    let grace = |while_connected| Grace { span: Span::minutes(1), while_connected };
    let mut run = |now, say: &str, grace, connected: &dyn Fn() -> io::Result<HashSet<IpAddr>>| {
        server.say("cdn.example", A, some(&[say]));
        let moment = Moment { connected, ..at(now) };
        let resolution = server.resolver().resolve([(&domain, grace)], &mut cache, moment).unwrap();
        let left = resolution.left.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let codes = codes(&resolution).join(" ");
        (resolution.domains[&domain].clone(), left, codes)
    };
    let unasked = || -> io::Result<HashSet<IpAddr>> { panic!("nothing depends on it") };
    let to_the_first = || Ok(HashSet::from(["10.0.0.1".parse().unwrap()]));
    let unknown = || Err(io::Error::other("no sock_diag here"));
    let both = addresses(&["10.0.0.1", "10.0.0.2"]);
    let gone = "10.0.0.1 is no longer an address of cdn.example here: last answered 60 s ago";
    let quiet = |addresses: &[IpAddr]| (addresses.to_vec(), String::new(), String::new());
    assert_eq!(run(0, "10.0.0.1", grace(false), &unasked), quiet(&addresses(&["10.0.0.1"])));
    assert_eq!(run(1, "10.0.0.2", grace(false), &unasked), quiet(&both));
    assert_eq!(run(59, "10.0.0.2", grace(true), &unasked), quiet(&both));
    assert_eq!(run(60, "10.0.0.2", grace(true), &to_the_first), quiet(&both));
    let (left, told, codes) = run(60, "10.0.0.2", grace(true), &unknown);
    assert_eq!((left, told.as_str()), (addresses(&["10.0.0.2"]), gone));
    assert_eq!(codes, "dns-connections-unknown");
}

#[test]
fn a_failing_server_keeps_the_last_answer_for_a_limited_time_and_is_reported() {
    for failure in [Say::Nothing, Say::Fail] {
        let server = Server::start();
        server.say("db.example", A, some(&["10.0.0.1"]));
        let mut cache = Cache::default();
        let (none, old) = (addresses(&[]), addresses(&["10.0.0.1"]));
        assert_eq!(resolve(&server, &mut cache, "db.example", 50), (old.clone(), vec![]));
        server.say("db.example", A, failure);
        let text = serde_json::to_string(&cache).unwrap();
        let mut cache: Cache = serde_json::from_str(&text).unwrap();
        let stale = (old.clone(), vec!["dns-stale".to_owned()]);
        assert_eq!(resolve(&server, &mut cache, "db.example", 150), stale);
        let failed = (none, vec!["dns-failed".to_owned()]);
        assert_eq!(resolve(&server, &mut cache, "db.example", 151), failed, "too old");
        assert_eq!(resolve(&server, &mut cache, "db.example", 60), failed, "forgotten for good");
        server.say("db.example", A, some(&["10.0.0.1"]));
        assert_eq!(resolve(&server, &mut cache, "db.example", 152), (old, vec![]));
    }
}

#[test]
fn a_failing_family_keeps_its_addresses_while_the_other_changes() {
    let server = Server::start();
    server.say("db.example", A, some(&["10.0.0.1"]));
    server.say("db.example", AAAA, some(&["2001:db8::1"]));
    let mut cache = Cache::default();
    resolve(&server, &mut cache, "db.example", 1);
    server.say("db.example", A, some(&["10.0.0.2"]));
    server.say("db.example", AAAA, Say::Fail);
    let expected = (addresses(&["10.0.0.2", "2001:db8::1"]), vec!["dns-stale".to_owned()]);
    assert_eq!(resolve(&server, &mut cache, "db.example", 2), expected);
}

#[test]
fn a_family_that_the_server_declines_has_no_addresses_unless_it_had_some() {
    for (family, declined, address, other) in
        [(A, AAAA, "10.0.0.1", "2001:db8::1"), (AAAA, A, "2001:db8::1", "10.0.0.1")]
    {
        let server = Server::start();
        server.say("db.example", family, some(&[address]));
        server.say("db.example", declined, Say::Refuse);
        let mut cache = Cache::default();
        let one = (addresses(&[address]), vec![]);
        assert_eq!(resolve(&server, &mut cache, "db.example", 1), one, "{address}");
        assert_eq!(resolve(&server, &mut cache, "db.example", 2), one, "{address}, again");
        server.say("db.example", declined, some(&[other]));
        resolve(&server, &mut cache, "db.example", 3);
        server.say("db.example", declined, Say::Refuse);
        let (found, codes) = resolve(&server, &mut cache, "db.example", 4);
        assert_eq!((found.len(), codes), (2, vec!["dns-stale".to_owned()]), "it had {other}");
        server.say("db.example", family, Say::Refuse);
        let codes = resolve(&server, &mut Cache::default(), "db.example", 5).1;
        assert_eq!(codes, ["dns-failed"], "both");
    }
}

#[test]
fn a_clock_set_back_does_not_keep_an_answer_forever() {
    let server = Server::start();
    server.say("db.example", A, some(&["10.0.0.1"]));
    let mut cache = Cache::default();
    resolve(&server, &mut cache, "db.example", 1_000_000);
    server.say("db.example", A, Say::Fail);
    assert_eq!(resolve(&server, &mut cache, "db.example", 10).1, ["dns-stale"]);
    assert_eq!(resolve(&server, &mut cache, "db.example", 111).1, ["dns-failed"]);
}

#[test]
fn names_no_longer_requested_are_forgotten() {
    let server = Server::start();
    server.say("a.example", A, some(&["10.0.0.1"]));
    let mut cache = Cache::default();
    resolve(&server, &mut cache, "a.example", 1);
    resolve(&server, &mut cache, "b.example", 2);
    assert_eq!(cache.0.len(), 1);
    server.resolver().resolve([], &mut cache, at(3)).unwrap();
    assert_eq!(cache, Cache::default());
}

#[test]
fn many_names_with_a_dead_server_end_in_time() {
    let server = Server::start();
    let domains: Vec<DomainName> = (0..300)
        .map(|number| {
            let name = format!("n{number}.example");
            server.say(&name, A, Say::Nothing);
            server.say(&name, AAAA, Say::Nothing);
            DomainName::try_from(name).unwrap()
        })
        .collect();
    let mut resolver = server.resolver();
    resolver.timeouts.total = Duration::from_millis(700);
    let begun = std::time::Instant::now();
    let asked = domains.iter().map(|domain| (domain, Grace::DEFAULT));
    let resolution = resolver.resolve(asked, &mut Cache::default(), at(1)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(codes(&resolution), ["dns-failed"]);
    assert!(resolution.problems[0].text.contains("and 295 more"), "{:?}", resolution.problems);
    assert!(resolution.domains.values().all(Vec::is_empty), "nothing, not everything");
}

#[test]
fn host_names_resolve_to_addresses() {
    let server = Server::start();
    server.say("platform.example", A, some(&["10.0.0.1"]));
    server.say("platform.example", AAAA, some(&["2001:db8::1"]));
    server.say("silent.example", A, Say::Nothing);
    server.say("silent.example", AAAA, Say::Nothing);
    let resolver = server.resolver();
    let both = addresses(&["10.0.0.1", "2001:db8::1"]);
    for (name, expected) in [
        ("platform.example", both.clone()),
        ("platform", both.clone()),
        ("platform.example.", both),
        ("Printer.example", addresses(&["10.9.9.9"])),
        ("192.0.2.1", addresses(&["192.0.2.1"])),
        ("[2001:db8::9]", addresses(&["2001:db8::9"])),
    ] {
        assert_eq!(resolver.resolve_host(name).unwrap(), expected, "{name}");
    }
    let error = |name: &str| resolver.resolve_host(name).unwrap_err();
    assert!(matches!(error("gone.example"), ResolveError::NoAddress { .. }));
    assert!(matches!(error("silent.example"), ResolveError::Failed { .. }));
    let nobody = Resolver { conf: ResolvConf::default(), ..resolver };
    let none = nobody.resolve_host("platform.example").unwrap_err();
    assert!(matches!(none, ResolveError::NoServer { .. }), "{none}");
}
