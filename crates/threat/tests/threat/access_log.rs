//! Access logs: the client, whatever is claimed.

use proptest::prelude::*;
use xshield_threat::access_log::{Header, LineError, LogFormat, MAX_LINE, Reading, Request, read};

fn reading(format: LogFormat, header: Header) -> Reading {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|prefix| prefix.parse().unwrap());
    Reading { format, header, trusted: trusted.to_vec() }
}

fn combined(peer: &str, forwarded: &str) -> String {
    format!(
        "{peer} - bob [10/Oct/2000:13:55:36 -0700] \"GET /a?b=[c] HTTP/1.1\" 200 5 \"-\" \
         \"agent \\\"x\\\"\" \"{forwarded}\""
    )
}

fn ask(line: &str, reading: &Reading) -> Result<(String, Option<String>), LineError> {
    let Request { client, via, .. } = read(line.as_bytes(), reading)?;
    Ok((client.to_string(), via.map(|via| via.to_string())))
}

#[test]
fn the_rightmost_untrusted_address_is_the_client() {
    let (x, f, r) = (Header::XForwardedFor, Header::Forwarded, Header::XRealIp);
    let no_address = Err(LineError::NoAddress);
    for (header, peer, forwarded, expected) in [
        (x, "10.0.0.1", "198.51.100.7", Ok(("198.51.100.7", Some("10.0.0.1")))),
        // Spoofed by the client: the proxy appended its peer.
        (x, "10.0.0.1", "1.1.1.1, 198.51.100.7", Ok(("198.51.100.7", Some("10.0.0.1")))),
        (
            x,
            "10.0.0.1",
            "1.1.1.1, 10.9.9.9, 198.51.100.7, 10.0.0.2",
            Ok(("198.51.100.7", Some("10.0.0.2"))),
        ),
        // Not a trusted proxy: it is the client, whatever it claims.
        (x, "198.51.100.9", "1.1.1.1", Ok(("198.51.100.9", None))),
        (x, "::ffff:10.0.0.1", "::ffff:198.51.100.7", Ok(("198.51.100.7", Some("10.0.0.1")))),
        (x, "10.0.0.1", "-", Ok(("10.0.0.1", None))),
        (x, "10.0.0.1", "", Ok(("10.0.0.1", None))),
        (x, "10.0.0.1", "10.0.0.3, 10.0.0.2", Ok(("10.0.0.3", Some("10.0.0.2")))),
        (x, "10.0.0.1", "198.51.100.7:4711", Ok(("198.51.100.7", Some("10.0.0.1")))),
        (x, "10.0.0.1", "[2001:db8::7]:4711", Ok(("2001:db8::7", Some("10.0.0.1")))),
        (x, "fd00::1", "2001:db8::7", Ok(("2001:db8::7", Some("fd00::1")))),
        (x, "10.0.0.1", "198.51.100.7, unknown", no_address),
        (x, "10.0.0.1", "198.51.100.7,", no_address),
        (x, "10.0.0.1", "198.51.100.7, _hidden, 10.0.0.2", no_address),
        (x, "10.0.0.1", "unknown, 198.51.100.7", Ok(("198.51.100.7", Some("10.0.0.1")))),
        (
            f,
            "10.0.0.1",
            "for=198.51.100.7;proto=https;by=10.0.0.1",
            Ok(("198.51.100.7", Some("10.0.0.1"))),
        ),
        (
            f,
            "10.0.0.1",
            r#"for=1.1.1.1, For=\"[2001:db8::7]:_x\""#,
            Ok(("2001:db8::7", Some("10.0.0.1"))),
        ),
        (
            f,
            "10.0.0.1",
            r#"for=\"198.51.100.7:47011\", for=10.0.0.2;host=\"a,b;c\""#,
            Ok(("198.51.100.7", Some("10.0.0.2"))),
        ),
        (f, "10.0.0.1", "for=_gazonk", no_address),
        (f, "10.0.0.1", "proto=https", no_address),
        (f, "10.0.0.1", "for=1.1.1.1;for=2.2.2.2", no_address),
        (r, "10.0.0.1", "198.51.100.7", Ok(("198.51.100.7", Some("10.0.0.1")))),
        (r, "10.0.0.1", "1.1.1.1, 198.51.100.7", no_address),
    ] {
        let got = ask(&combined(peer, forwarded), &reading(LogFormat::Combined, header));
        let expected = expected.map(|(client, via)| (client.to_owned(), via.map(str::to_owned)));
        assert_eq!(got, expected, "{header:?} {peer} {forwarded}");
    }
}

#[test]
fn lines_of_known_servers_are_read() {
    let combined = reading(LogFormat::Combined, Header::XForwardedFor);
    let line = "198.51.100.7 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 2326";
    let found = read(line.as_bytes(), &combined).unwrap();
    assert_eq!(found.at, 971_211_336);
    assert_eq!(found.request.as_deref(), Some("GET /a HTTP/1.0"));

    let json = reading(LogFormat::Json, Header::XForwardedFor);
    for (server, line) in [
        (
            "nginx",
            r#"{"time_iso8601":"2026-11-21T05:00:00+01:00","remote_addr":"10.0.0.1",
          "http_x_forwarded_for":"1.1.1.1, 198.51.100.7","request":"GET /a HTTP/1.1"}"#,
        ),
        (
            "caddy",
            r#"{"level":"info","ts":1795233600.25,"request":{"remote_ip":"10.0.0.1",
          "remote_port":"4711","client_ip":"1.1.1.1","method":"GET","uri":"/a HTTP/1.1",
          "headers":{"X-Forwarded-For":["1.1.1.1","198.51.100.7"]}},"status":200}"#,
        ),
        (
            "nginx with its local time",
            r#"{"time_local":"21/Nov/2026:05:00:00 +0100","remote_addr":"10.0.0.1",
          "http_x_forwarded_for":"198.51.100.7","request":"GET /a HTTP/1.1"}"#,
        ),
        (
            "caddy of before 2.5",
            r#"{"ts":1795233600.25,"request":{"remote_addr":"10.0.0.1:4711",
          "method":"GET","uri":"/a HTTP/1.1","headers":{"X-Forwarded-For":["198.51.100.7"]}}}"#,
        ),
        (
            "istio",
            r#"{"start_time":"2026-11-21T04:00:00.310Z","downstream_remote_address":"10.0.0.1:4711",
          "x_forwarded_for":"198.51.100.7","method":"GET","path":"/a HTTP/1.1"}"#,
        ),
        (
            "cloudflare",
            r#"{"EdgeStartTimestamp":1795233600250000000,"ClientIP":"198.51.100.7",
          "ClientRequestMethod":"GET","ClientRequestURI":"/a HTTP/1.1"}"#,
        ),
        (
            "traefik",
            r#"{"ClientAddr":"10.0.0.1:4711","ClientHost":"1.1.1.1",
          "RequestMethod":"GET","RequestPath":"/a HTTP/1.1","StartUTC":"2026-11-21T04:00:00.5Z",
          "request_X-Forwarded-For":"198.51.100.7"}"#,
        ),
    ] {
        let line = line.replace('\n', "");
        let found = read(line.as_bytes(), &json).unwrap();
        assert_eq!(found.client.to_string(), "198.51.100.7", "{server}");
        assert_eq!(found.at, 1_795_233_600, "{server}");
        assert_eq!(found.request.as_deref(), Some("GET /a HTTP/1.1"), "{server}");
    }

    for (format, line) in [
        (
            LogFormat::Combined,
            "example.com:443 10.0.0.1 - - [21/Nov/2026:05:00:00 +0100] \"GET /a HTTP/1.1\" 200 5 \"-\" \
             \"agent\" \"1.1.1.1, 198.51.100.7\"",
        ),
        (
            LogFormat::Haproxy,
            "<134>Nov 21 05:00:00 lb haproxy[7]: 10.0.0.1:33317 [21/Nov/2026:04:00:00.655] http-in \
             static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1.1.1.1, 198.51.100.7} {} \
             \"GET /a HTTP/1.1\"",
        ),
        (
            LogFormat::Haproxy,
            "10.0.0.1:33317 [21/Nov/2026:04:00:00.655] http-in static/srv1 10/0/30/69/109 200 2750 - - \
             ---- 1/1/1/1/0 0/0 {www.example|198.51.100.7|curl} \"GET /a HTTP/1.1\"",
        ),
        (
            LogFormat::Envoy,
            "[2026-11-21T04:00:00.310Z] \"GET /a HTTP/1.1\" 204 - 154 0 226 100 \
             \"198.51.100.7,10.0.0.1\" \"nsq2http\" \"cc21d9b0\" \"locations\" \"tcp://10.0.2.1:80\"",
        ),
        (
            LogFormat::Envoy,
            "2026-11-21T04:00:01.000000001Z stdout F [2026-11-21T04:00:00.310Z] \"GET /a HTTP/1.1\" 503 \
             UF \"via_upstream\" 154 0 226 - \"1.1.1.1, 198.51.100.7,10.0.0.1\" \"curl\" \"cc21\" \
             \"x\" \"-\" outbound|80||x - 10.0.9.9:80 10.0.0.1:4711 - default",
        ),
    ] {
        let found = read(line.as_bytes(), &reading(format, Header::XForwardedFor)).unwrap();
        assert_eq!(found.client.to_string(), "198.51.100.7", "{line}");
        assert_eq!(found.via.map(|via| via.to_string()).as_deref(), Some("10.0.0.1"), "{line}");
        assert_eq!(found.at, 1_795_233_600, "{line}");
        assert_eq!(found.request.as_deref(), Some("GET /a HTTP/1.1"), "{line}");
    }
}

/// Traefik's `ClientHost` alone may be what a client claimed.
#[test]
fn unknown_times_and_senders_stay_unknown() {
    let combined = reading(LogFormat::Combined, Header::XForwardedFor);
    let json = reading(LogFormat::Json, Header::XForwardedFor);
    for (line, reading, error) in [
        ("1.2.3.4 - - [x] \"GET /\" 200 1", &combined, LineError::Time),
        ("1.2.3.4 - - [32/Oct/2000:13:55:36 -0700] \"GET /\" 200 1", &combined, LineError::Time),
        (r#"{"remote_addr":"1.2.3.4"}"#, &json, LineError::Time),
        (r#"{"remote_addr":"1.2.3.4","time_local":"now"}"#, &json, LineError::Time),
        (r#"{"remote_addr":"1.2.3.4","ts":-1}"#, &json, LineError::Time),
        (r#"{"ClientHost":"1.2.3.4","StartUTC":"2026-11-21T04:00:00Z"}"#, &json, LineError::Format),
        ("2026-11-21T05:00:00.1Z stdout P 1.2.3.4 - -", &combined, LineError::Piece),
    ] {
        assert_eq!(read(line.as_bytes(), reading), Err(error), "{line}");
    }
}

#[test]
fn lines_of_another_format_are_refused() {
    let combined = reading(LogFormat::Combined, Header::XForwardedFor);
    let json = reading(LogFormat::Json, Header::XForwardedFor);
    let long = vec![b'x'; MAX_LINE + 1];
    for (line, reading, error) in [
        (&b""[..], &combined, LineError::Format),
        (b"example.com - - [x] \"GET /\" 200 1", &combined, LineError::Format),
        (b"1.2.3.4 - - \"GET /\" 200 1", &combined, LineError::Format),
        (b"1.2.3.4 - - [x] \"GET /", &combined, LineError::Format),
        (b"\xff\xfe", &combined, LineError::Encoding),
        (&long, &combined, LineError::TooLong),
        (b"{}", &json, LineError::Format),
        (b"[]", &json, LineError::Format),
        (b"{\"remote_addr\":\"x\"}", &json, LineError::Format),
    ] {
        assert_eq!(read(line, reading), Err(error), "{:?}", String::from_utf8_lossy(line));
    }
    let hops = vec!["10.0.0.1"; 100].join(",");
    let line = self::combined("10.0.0.1", &hops);
    assert_eq!(read(line.as_bytes(), &combined), Err(LineError::TooManyHops));
}

proptest! {
    #[test]
    fn spoofed_headers_do_not_change_the_client(claim in "[ -~]{0,60}") {
        // In a log, quotes and backslashes of clients are escaped.
        let claim = claim.replace(['\\', '"'], "'");
        let line = combined("10.0.0.1", &format!("{claim}, 198.51.100.7"));
        let reading = reading(LogFormat::Combined, Header::XForwardedFor);
        prop_assert_eq!(ask(&line, &reading).unwrap().0, "198.51.100.7");
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        for format in
            [LogFormat::Combined, LogFormat::Json, LogFormat::Haproxy, LogFormat::Envoy]
        {
            for header in [Header::XForwardedFor, Header::Forwarded, Header::XRealIp] {
                let reading = reading(format, header);
                let _ = read(&bytes, &reading);
                let _ = read(text.as_bytes(), &reading);
                let _ = read(combined("10.0.0.1", &text).as_bytes(), &reading);
            }
        }
    }
}
