//! Feeds with pages, and feeds behind a proxy.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "support/damage.rs"]
mod damage;
#[path = "support/feed_server.rs"]
mod feed_server;
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use damage::{Damage, stored};
use feed_server::{Certificate, FeedServer, send};
use serde_json::{Value, json};
use support::TestPlatform;

fn add(platform: &TestPlatform, name: &str, settings: &Value) -> Value {
    platform.post("/api/v1/threat/feeds", json!({"name": name, "settings": settings}));
    run(platform, name)
}

fn run(platform: &TestPlatform, name: &str) -> Value {
    platform.post(&format!("/api/v1/threat/feeds/{name}/run"), json!({}))
}

fn is_listed(platform: &TestPlatform, address: &str) -> bool {
    platform.get(&format!("/api/v1/threat/why/{address}"))["listed"] == true
}

fn told(ran: &Value) -> &str {
    ran["failure"]["reason"].as_str().unwrap_or_default()
}

fn indicator(number: u32, address: &str, revoked: bool) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1",
        "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created": "2026-11-01T00:00:00Z", "modified": "2026-11-01T00:00:00Z",
        "valid_from": "2026-11-01T00:00:00Z", "pattern_type": "stix",
        "pattern": format!("[ipv4-addr:value = '{address}']"), "revoked": revoked,
    })
}

/// A page of a collection: its status, its content, the next one, and when its last object was added.
#[derive(Clone)]
struct CollectionPage {
    status: &'static str,
    objects: Vec<Value>,
    next: Option<&'static str>,
    last_added: &'static str,
}

fn page(
    objects: Vec<Value>,
    next: Option<&'static str>,
    last_added: &'static str,
) -> CollectionPage {
    CollectionPage { status: "200 OK", objects, next, last_added }
}

/// Pages by request: `added_after` and `next`, as they are in the query.
type Collection = BTreeMap<(&'static str, &'static str), CollectionPage>;

const FIRST: &str = "2026-11-20T10:00:00.000001Z";
const SECOND: &str = "2026-11-20T11:00:00.000002Z";
const THIRD: &str = "2026-11-21T06:00:00.000003Z";

fn in_query(time: &str) -> String {
    time.replace(':', "%3A")
}

/// A server with one collection, whose pages the test may change at any time.
fn taxii_server(pages: Collection) -> (FeedServer, Arc<Mutex<Collection>>) {
    let pages = Arc::new(Mutex::new(pages));
    let served = pages.clone();
    let server = FeedServer::plain(move |asked, out| {
        let query = query_of(&asked.line);
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        let pages = served.lock().unwrap();
        let found = pages
            .iter()
            .find(|((after, next), _)| of("added_after") == in_query(after) && of("next") == *next);
        let Some((_, page)) = found else { return send(out, "400 Bad Request", "", b"") };
        let headers = format!(
            "content-type: application/taxii+json;version=2.1\r\n\
             X-TAXII-Date-Added-Last: {}\r\n",
            page.last_added
        );
        let mut body = json!({"more": page.next.is_some(), "objects": page.objects});
        if let Some(next) = page.next {
            body["next"] = next.into();
        }
        send(out, page.status, &headers, body.to_string().as_bytes())
    });
    (server, pages)
}

fn query_of(line: &str) -> BTreeMap<String, String> {
    let target = line.split(' ').nth(1).unwrap();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn taxii(server: &FeedServer) -> Value {
    json!({
        "source": {"url": {
            "url": server.url("/api/collections/c/objects/"), "allow": ["private", "http"]}},
        "format": "stix",
        "exchange": "taxii",
        "within": 5,
    })
}

/// Like the server of OASIS: `next` identifies the iteration and not the page, and a request without `limit`
/// is a server error.
#[test]
fn a_server_that_repeats_its_next_token_is_read_to_its_end() {
    let asked_for = Arc::new(Mutex::new(0_u8));
    let place = asked_for.clone();
    let server = FeedServer::plain(move |asked, out| {
        let query = query_of(&asked.line);
        if !query.contains_key("limit") {
            return send(out, "500 Internal Server Error", "", b"");
        }
        let mut place = place.lock().unwrap();
        *place = if query.get("next").is_some_and(|next| next == "walk") { *place + 1 } else { 0 };
        let objects = [indicator(u32::from(*place), &format!("198.51.100.{}", *place + 1), false)];
        let mut body = json!({"more": *place < 3, "objects": objects});
        if *place < 3 {
            body["next"] = "walk".into();
        }
        let headers = format!(
            "content-type: application/taxii+json;version=2.1\r\nX-TAXII-Date-Added-Last: {FIRST}\r\n"
        );
        send(out, "200 OK", &headers, body.to_string().as_bytes())
    });
    let platform = TestPlatform::start();
    let ran = add(&platform, "c", &taxii(&server));
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(4)), "{ran}");
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_collection_is_read_page_by_page_and_then_from_where_it_ended() {
    let (server, pages) = taxii_server(BTreeMap::from([
        (("", ""), page(vec![indicator(1, "198.51.100.1", false)], Some("p2"), FIRST)),
        (
            ("", "p2"),
            page(
                vec![indicator(2, "198.51.100.2", false), indicator(3, "198.51.100.3", false)],
                None,
                SECOND,
            ),
        ),
        // Nothing was added since.
        ((SECOND, ""), page(vec![], None, "")),
    ]));
    let platform = TestPlatform::start();
    let ran = add(&platform, "c", &taxii(&server));
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(3)), "{ran}");
    let asked = server.asked();
    assert_eq!(asked[0].header("accept"), Some("application/taxii+json;version=2.1"));
    assert!(asked[0].line.contains("match%5Btype%5D=indicator"), "{}", asked[0].line);
    assert!(asked[1].line.contains("next=p2"), "{}", asked[1].line);

    let ran = run(&platform, "c");
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(3)), "no news: everything stays");

    // One is added, one is revoked; the position survives a restart.
    let news = vec![indicator(4, "198.51.100.4", false), indicator(1, "198.51.100.1", true)];
    pages.lock().unwrap().insert((SECOND, ""), page(news, None, THIRD));
    pages.lock().unwrap().insert((THIRD, ""), page(vec![], None, ""));
    let platform = platform.restart();
    let before = server.asked().len();
    let ran = run(&platform, "c");
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(3)), "{ran}");
    let first = query_of(&server.asked()[before].line);
    assert_eq!(first.get("added_after"), Some(&in_query(SECOND)));
    for (address, listed) in [
        ("198.51.100.1", false),
        ("198.51.100.2", true),
        ("198.51.100.3", true),
        ("198.51.100.4", true),
    ] {
        assert_eq!(is_listed(&platform, address), listed, "{address}");
    }
    run(&platform, "c");
    let last = query_of(&server.asked().pop().unwrap().line);
    assert_eq!(last.get("added_after"), Some(&in_query(THIRD)));

    // The stored listing is lost: changes alone would not suffice.
    let mut platform = platform;
    for damage in Damage::ALL {
        platform.end();
        stored(&platform, "listings").iter().for_each(|path| damage.befall(path));
        platform = platform.restart();
        let before = server.asked().len();
        let ran = run(&platform, "c");
        assert_eq!((told(&ran), &ran["entries"]), ("", &json!(3)), "{damage:?}: {ran}");
        let first = query_of(&server.asked()[before].line);
        assert_eq!(first.get("added_after"), None, "{damage:?}");
        assert!(is_listed(&platform, "198.51.100.3"), "{damage:?}");
    }
}

#[test]
fn a_failing_later_page_keeps_the_pages_before() {
    let (server, pages) = taxii_server(BTreeMap::from([(
        ("", ""),
        page(
            vec![indicator(1, "198.51.100.1", false), indicator(2, "198.51.100.2", false)],
            None,
            FIRST,
        ),
    )]));
    let platform = TestPlatform::start();
    pages.lock().unwrap().insert((FIRST, ""), page(vec![], None, ""));
    let ran = add(&platform, "c", &taxii(&server));
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(2)), "{ran}");

    let good = page(vec![indicator(1, "198.51.100.1", true)], None, THIRD);
    let news = vec![indicator(3, "198.51.100.3", false)];
    pages.lock().unwrap().insert((FIRST, ""), page(news, Some("p2"), SECOND));
    for (second, reason) in [
        (CollectionPage { status: "500 Oops", ..good.clone() }, "500"),
        (CollectionPage { status: "404 Not Found", ..good.clone() }, "404"),
        (page(vec![], Some("p2"), THIRD), "same objects"),
    ] {
        pages.lock().unwrap().insert((FIRST, "p2"), second);
        let before = server.asked().len();
        let ran = run(&platform, "c");
        assert!(told(&ran).contains(reason), "{reason:?} is not in {ran}");
        assert_eq!(ran["entries"], 2, "{reason}: the listing of before stays");
        assert!(server.asked().len() >= before + 2, "{reason}: the later page was asked for");
        assert!(is_listed(&platform, "198.51.100.1"), "{reason}");
        assert!(!is_listed(&platform, "198.51.100.3"), "{reason}: half a round is none");
    }
    // The pages that were read in vain are sent again.
    pages.lock().unwrap().insert((FIRST, "p2"), good);
    let ran = run(&platform, "c");
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(2)), "{ran}");
    assert!(is_listed(&platform, "198.51.100.3") && !is_listed(&platform, "198.51.100.1"));
}

/// A proxy that connects every tunnel to one server, in place of the whole internet.
struct Proxy {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let targets = Arc::new(Mutex::new(Vec::new()));
        let noted = targets.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let noted = noted.clone();
                // The tests include a client that disconnects in the middle.
                std::thread::spawn(move || drop(tunnel(&client, server, &noted)));
            }
        });
        Self { address, targets }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

fn tunnel(
    client: &TcpStream,
    server: SocketAddr,
    noted: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    noted.lock().unwrap().push(first.trim().to_owned());
    if !first.starts_with("CONNECT ") {
        return write!(&mut &*client, "HTTP/1.1 405 Tunnels Only\r\ncontent-length: 0\r\n\r\n");
    }
    let server = TcpStream::connect(server)?;
    write!(&mut &*client, "HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut there) = (lines, server.try_clone()?);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut up, &mut there));
        drop(there.shutdown(Shutdown::Write));
    });
    std::io::copy(&mut &server, &mut &*client)?;
    client.shutdown(Shutdown::Both)
}

fn through(proxy: &str, url: &str, ca: &str, allow: Value) -> Value {
    let ca = if ca.is_empty() { Value::Null } else { ca.into() };
    json!({
        "source": {"url": {"url": url, "proxy": proxy, "ca": ca, "allow": allow}},
        "format": {"plain": {"levels": null}},
        "within": 5,
    })
}

#[test]
fn feeds_are_read_through_a_proxy() {
    let platform = TestPlatform::start();
    let plain = FeedServer::plain(|_, out| send(out, "200 OK", "", b"198.51.100.1\n"));
    let proxy = Proxy::to(plain.address);
    // The proxy may have a loopback address, since operators configure it.
    let to_internet = through(&proxy.url(), "http://203.0.113.10/list", "", json!(["http"]));
    let ran = add(&platform, "plain", &to_internet);
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(1)), "{ran}");
    assert_eq!(proxy.targets()[0], "CONNECT 203.0.113.10:80 HTTP/1.1");
    let host = plain.asked()[0].header("host").map(str::to_owned);
    assert_eq!(host.as_deref(), Some("203.0.113.10"), "the server is asked as itself");

    // A name that only the proxy can resolve is resolved by the proxy.
    let named = through(&proxy.url(), "http://lists.invalid/list", "", json!(["http"]));
    let ran = add(&platform, "named", &named);
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(1)), "{ran}");
    assert!(proxy.targets().contains(&"CONNECT lists.invalid:80 HTTP/1.1".to_owned()));

    let tls = FeedServer::tls(Certificate::Good, |_, out| {
        send(out, "200 OK", "", b"198.51.100.2\n198.51.100.3\n")
    });
    let secure = Proxy::to(tls.address);
    let url = tls.url("/list");
    let ran = add(&platform, "tls", &through(&secure.url(), &url, &tls.ca, json!(["private"])));
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(2)), "{ran}");
    let expected = format!("CONNECT {} HTTP/1.1", tls.address);
    assert!(secure.targets().iter().all(|line| *line == expected), "{:?}", secure.targets());

    // A server in between does not have a certificate for the name.
    let other = "https://203.0.113.10/list";
    let ran = add(&platform, "other", &through(&secure.url(), other, &tls.ca, json!([])));
    assert!(told(&ran).contains("ertificate"), "{ran}");
    let nobody = through("http://127.0.0.1:1", &url, &tls.ca, json!(["private"]));
    let ran = add(&platform, "no-proxy", &nobody);
    assert!(told(&ran).contains("could not reach"), "{ran}");
}

#[test]
fn a_proxy_does_not_give_access_to_refused_addresses() {
    let platform = TestPlatform::start();
    let server = FeedServer::plain(|asked, out| match asked.line.as_str() {
        "GET /inside HTTP/1.1" => {
            send(out, "302 Found", "location: http://127.0.0.1/admin\r\n", b"")
        }
        "GET /cloud HTTP/1.1" => {
            let to = "location: http://169.254.169.254/latest/\r\n";
            send(out, "302 Found", to, b"")
        }
        _ => send(out, "200 OK", "", b"198.51.100.1\n"),
    });
    let proxy = Proxy::to(server.address);
    let good = through(&proxy.url(), "http://203.0.113.10/list", "", json!(["http"]));
    let ran = add(&platform, "good", &good);
    assert_eq!((told(&ran), &ran["entries"]), ("", &json!(1)), "the proxy works: {ran}");

    let itself = format!("http://{}/", proxy.address);
    for (name, url, allow, reason) in [
        ("loopback", "http://127.0.0.1/", json!(["http"]), "this machine itself"),
        ("localhost", "http://localhost/", json!(["http"]), "this machine itself"),
        ("mapped", "http://[::ffff:10.0.0.1]/", json!(["http"]), "a private address"),
        ("private", "http://10.0.0.1/", json!(["http"]), "a private address"),
        ("proxy", itself.as_str(), json!(["http"]), "this machine itself"),
        ("cloud", "http://169.254.169.254/", json!(["http", "private"]), "cloud metadata"),
        ("to-inside", "http://203.0.113.10/inside", json!(["http"]), "this machine itself"),
        ("to-cloud", "http://203.0.113.10/cloud", json!(["http", "private"]), "cloud metadata"),
    ] {
        let ran = add(&platform, name, &through(&proxy.url(), url, "", allow));
        assert!(told(&ran).contains(reason), "{name}: {reason:?} is not in {ran}");
        assert_eq!(ran["entries"], 0, "{name}");
    }
    let allowed = "CONNECT 203.0.113.10:80 HTTP/1.1";
    assert!(proxy.targets().iter().all(|line| line == allowed), "{:?}", proxy.targets());
}

/// A MISP feed whose documents the test may change at any time, by their paths.
fn misp_server() -> (FeedServer, Arc<Mutex<BTreeMap<String, String>>>) {
    let documents = Arc::new(Mutex::new(BTreeMap::new()));
    let served: Arc<Mutex<BTreeMap<String, String>>> = documents.clone();
    let server = FeedServer::plain(move |asked, out| {
        let path = asked.line.split(' ').nth(1).unwrap();
        let found = served.lock().unwrap().get(path).cloned();
        match found.as_deref() {
            None => send(out, "404 Not Found", "", b""),
            Some("busy") => send(out, "503 Busy", "retry-after: 600\r\n", b""),
            Some(text) => send(out, "200 OK", "", text.as_bytes()),
        }
    });
    (server, documents)
}

fn event_id(number: u32) -> String {
    format!("5a1b2c3d-{number:04}-4000-8000-0123456789ab")
}

fn manifest(events: &[(u32, u64)]) -> String {
    let event = |(number, timestamp): &(u32, u64)| {
        (event_id(*number), json!({"info": "x", "timestamp": timestamp.to_string()}))
    };
    Value::Object(events.iter().map(event).collect()).to_string()
}

/// An event with an attribute of its own, and one of an object.
fn misp_event(own: &str, of_object: &str) -> String {
    let attribute = |value: &str, to_ids: bool| {
        let kind = if value.contains('|') { "ip-dst|port" } else { "ip-src" };
        json!({"type": kind, "value": value, "to_ids": to_ids})
    };
    json!({"Event": {
        "info": "x",
        "Attribute": [attribute(own, true), attribute("192.0.2.99", false),
                      {"type": "domain", "value": "evil.example", "to_ids": true}],
        "Object": [{"name": "ip-port", "Attribute": [attribute(of_object, true)]}],
    }})
    .to_string()
}

#[test]
fn only_changed_events_of_a_misp_feed_are_fetched() {
    let platform = TestPlatform::start();
    let (server, documents) = misp_server();
    let put = |path: &str, text: String| documents.lock().unwrap().insert(path.to_owned(), text);
    let document = |number: u32| format!("/feed/{}.json", event_id(number));
    put("/feed/manifest.json", manifest(&[(1, 100), (2, 100), (3, 100)]));
    put(&document(1), misp_event("198.51.100.1", "198.51.100.11|443"));
    put(&document(2), misp_event("198.51.100.2", "198.51.100.12|80"));
    put(&document(3), json!({"Event": {"info": "nothing to see"}}).to_string());
    let settings = json!({
        "source": {"url": {"url": server.url("/feed/"), "allow": ["private", "http"]}},
        "format": "misp", "exchange": "misp", "within": 5,
    });
    let ran = add(&platform, "misp", &settings);
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(4)), "{ran}");
    for (address, listed) in [
        ("198.51.100.1", true),
        ("198.51.100.11", true),
        ("198.51.100.2", true),
        ("198.51.100.12", true),
        ("192.0.2.99", false),
    ] {
        assert_eq!(is_listed(&platform, address), listed, "{address}");
    }

    // One changes, one is removed, one is added; the third is unchanged.
    let before = server.asked().len();
    put("/feed/manifest.json", manifest(&[(1, 200), (3, 100), (4, 100)]));
    put(&document(1), misp_event("198.51.100.1", "198.51.100.21|443"));
    put(&document(4), misp_event("198.51.100.4", "2001:db8::4"));
    let ran = run(&platform, "misp");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(4)), "{ran}");
    let asked: Vec<String> = server.asked()[before..]
        .iter()
        .map(|asked| asked.line.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert!(asked.contains(&document(1)) && asked.contains(&document(4)), "{asked:?}");
    assert!(!asked.contains(&document(3)), "{asked:?}");
    for (address, listed) in [
        ("198.51.100.1", true),
        ("198.51.100.11", false),
        ("198.51.100.21", true),
        ("198.51.100.2", false),
        ("2001:db8::4", true),
    ] {
        assert_eq!(is_listed(&platform, address), listed, "{address}");
    }
    let platform = platform.restart();
    let before = server.asked().len();
    let ran = run(&platform, "misp");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(4)), "{ran}");
    assert!(server.asked()[before..].iter().all(|asked| asked.line.contains("manifest")));
}

#[test]
fn an_interrupted_misp_feed_is_resumed() {
    let platform = TestPlatform::start();
    let (server, documents) = misp_server();
    let put = |path: &str, text: &str| documents.lock().unwrap().insert(path.into(), text.into());
    let document = |number: u32| format!("/{}.json", event_id(number));
    put("/manifest.json", &manifest(&[(1, 1), (2, 1), (3, 1)]));
    put(&document(1), &misp_event("198.51.100.1", "198.51.100.11"));
    put(&document(2), "busy");
    put(&document(3), &misp_event("198.51.100.3", "010.0.0.1"));
    let settings = json!({
        "source": {"url": {"url": server.url("/manifest.json"), "allow": ["private", "http"]}},
        "format": "misp", "exchange": "misp", "within": 5,
    });
    let ran = add(&platform, "misp", &settings);
    assert_eq!(ran["state"], "failing", "{ran}");
    assert!(told(&ran).contains("1 of 3 events have been read"), "{ran}");
    assert!(told(&ran).contains("wait for 600 s"), "{ran}");
    assert!(!is_listed(&platform, "198.51.100.1"), "half a feed is none");

    put(&document(2), &misp_event("198.51.100.2", "198.51.100.12"));
    let before = server.asked().len();
    let ran = run(&platform, "misp");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(5)), "{ran}");
    assert!(!server.asked()[before..].iter().any(|asked| asked.line.contains(&document(1))));
    let sample = &ran["read"]["samples"][0];
    assert_eq!(sample["file"], format!("{}.json", event_id(3)), "{ran}");

    // A missing event does not prevent reading the others, and its last version is kept.
    documents.lock().unwrap().remove(&document(1));
    put("/manifest.json", &manifest(&[(1, 2), (2, 1), (3, 1), (4, 1)]));
    let ran = run(&platform, "misp");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(5)), "{ran}");
    assert!(ran["read"]["samples"].to_string().contains("answers 404"), "{ran}");
    assert!(is_listed(&platform, "198.51.100.1"));

    for (text, reason) in [
        ("<html>", "web page"),
        (r#"{"5a"#, "ends in the middle"),
        (r#"{"../x": {"timestamp": "1"}}"#, "not an event"),
        ("{}", "allow it to be empty"),
    ] {
        put("/manifest.json", text);
        let ran = run(&platform, "misp");
        assert!(told(&ran).contains(reason), "{text}: {ran}");
        assert_eq!(ran["entries"], 5, "the last listing stays");
    }
}

#[test]
fn a_copy_of_a_misp_feed_in_a_directory_is_read_as_a_whole() {
    let platform = TestPlatform::start();
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
    write("manifest.json", &manifest(&[(1, 1), (2, 1), (3, 1)]));
    write("hashes.csv", "0123456789abcdef0123456789abcdef,x\n");
    write(&format!("{}.json", event_id(1)), &misp_event("198.51.100.1", "198.51.100.11|443"));
    write(&format!("{}.json", event_id(2)), &misp_event("010.0.0.1", "1.2.3.4/33"));
    write(&format!("{}.json", event_id(3)), r#"{"Event": {"info": "nothing to see"}}"#);
    let settings = json!({"source": {"file": files.path()}, "format": "misp"});
    let ran = add(&platform, "misp", &settings);
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(2)), "{ran}");
    assert_eq!(ran["read"]["rejected"], 2, "{ran}");
    assert!(is_listed(&platform, "198.51.100.11"));
}
