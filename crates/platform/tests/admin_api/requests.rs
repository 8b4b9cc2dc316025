//! Requests and answers: their description, refusals, pages, and the end of the platform.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use serde_json::json;
use xshield_server::keys::KeyError;
use xshield_server::serve::{ServeError, start};

use crate::kind;
use crate::support::{PASSWORD, TestHost, TestPlatform, eventually, settings};

const FINGERPRINT: &str = "sha256:66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";

/// Two types with one schema name would share one description.
#[test]
fn types_of_the_same_name_have_separate_schemas() {
    let platform = TestPlatform::start();
    let described = platform.raw("GET", "/api/v1/openapi.json", &[], b"").json();
    let schemas = &described["components"]["schemas"];
    for (schema, field) in [
        ("Delivery", "channel"),
        ("KeyHost", "last_session"),
        ("HostFacts", "booted_at"),
        ("HostSettings", "heartbeat"),
        ("ThreatSettings", "private_ranges"),
    ] {
        assert!(schemas[schema]["properties"][field].is_object(), "{schema}: {}", schemas[schema]);
    }
    for (schema, word) in [
        ("AssetStanding", "identity-changed"),
        ("ClaimStanding", "accepted"),
        ("FeedStanding", "stale"),
        ("JobStanding", "running"),
    ] {
        let words = schemas[schema]["enum"].as_array().unwrap();
        assert!(words.contains(&json!(word)), "{schema}: {words:?}");
    }
}

#[test]
fn bad_requests_name_the_field() {
    let platform = TestPlatform::start();
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    TestHost::new("h", &platform.new_key()).sign_in(&platform);
    let keys = "/api/v1/enforcement-keys";
    for (method, path, body, status, problem, field) in [
        ("POST", keys, json!({"nam": "x"}), 400, "invalid-json", ""),
        ("POST", keys, json!({"name": 7}), 400, "invalid-json", "/name"),
        ("POST", keys, json!({"tags": {"role": ""}}), 400, "invalid-json", "/tags/role"),
        ("POST", keys, json!({"expires_at": "tomorrow"}), 400, "invalid-json", "/expires_at"),
        (
            "POST",
            keys,
            json!({"expires_at": "2020-01-01T00:00:00Z"}),
            422,
            "invalid-value",
            "/expires_at",
        ),
        ("POST", "/api/v1/enforcement-keys/no/revoke", json!({}), 404, "not-found", ""),
        ("GET", "/api/v1/assets/nobody", json!(null), 404, "not-found", ""),
        ("GET", "/api/v1/assets?limit=0", json!(null), 422, "invalid-value", "?limit"),
        ("GET", "/api/v1/assets?limit=x", json!(null), 422, "invalid-value", "?limit"),
        ("GET", "/api/v1/assets?cursor=x", json!(null), 422, "invalid-value", "?cursor"),
        ("GET", "/api/v1/assets?status=odd", json!(null), 422, "invalid-value", "?status"),
        ("GET", "/api/v1/assets?segment=odd", json!(null), 422, "invalid-value", "?segment"),
        ("GET", "/api/v1/assets?stauts=active", json!(null), 422, "invalid-value", "?stauts"),
        ("GET", "/api/v1/assets?tag=%20", json!(null), 422, "invalid-value", "?tag"),
        ("GET", "/api/v1/assets/h/events?port=99999", json!(null), 422, "invalid-value", "?port"),
        ("GET", "/api/v1/assets/h/events?peer=x", json!(null), 422, "invalid-value", "?peer"),
        ("GET", "/api/v1/assets/h/events?since=x", json!(null), 422, "invalid-value", "?since"),
        ("PATCH", "/api/v1/assets/h", json!({"tags": {"a b": "c"}}), 400, "invalid-json", "/tags"),
        (
            "POST",
            "/api/v1/assets/h/commands",
            json!({"kind": "dance"}),
            422,
            "invalid-value",
            "/kind",
        ),
        ("POST", "/api/v1/assets/h/identity/approve", json!({}), 400, "invalid-json", ""),
        (
            "POST",
            "/api/v1/assets/h/identity/approve",
            json!({"fingerprint": "sha256:12"}),
            400,
            "invalid-json",
            "/fingerprint",
        ),
        (
            "POST",
            "/api/v1/assets/h/identity/approve",
            json!({"fingerprint": FINGERPRINT}),
            409,
            "no-pending-identity",
            "",
        ),
        ("POST", keys, json!({"max_registrations": 0}), 422, "invalid-value", "/max_registrations"),
        (
            "POST",
            keys,
            json!({"kind": "token", "max_registrations": 2}),
            422,
            "invalid-value",
            "/max_registrations",
        ),
        ("POST", keys, json!({"allowed_networks": []}), 422, "invalid-value", "/allowed_networks"),
        (
            "POST",
            keys,
            json!({"allowed_networks": ["10.0.0.1/8"]}),
            422,
            "invalid-value",
            "/allowed_networks",
        ),
        ("POST", keys, json!({"bound_name": "not a name"}), 400, "invalid-json", "/bound_name"),
        (
            "POST",
            "/api/v1/users",
            json!({"name": "x", "password": "short", "role": "viewer"}),
            422,
            "invalid-value",
            "/password",
        ),
        (
            "POST",
            "/api/v1/users",
            json!({"name": "x", "password": "a long password", "role": "king"}),
            400,
            "invalid-json",
            "/role",
        ),
        ("PATCH", "/api/v1/users/admin", json!({"role": "viewer"}), 409, "last-admin", ""),
        ("DELETE", "/api/v1/users/admin", json!({}), 409, "last-admin", ""),
        (
            "PUT",
            "/api/v1/policy?expected_version=7",
            json!({"documents": []}),
            409,
            "candidate-changed",
            "?expected_version",
        ),
        (
            "POST",
            "/api/v1/policy/synchronize",
            json!({"expected_version": 7}),
            409,
            "candidate-changed",
            "/expected_version",
        ),
        ("GET", "/api/v1/policy/revisions/9", json!(null), 404, "not-found", ""),
        ("PUT", "/api/v1/policy", json!({}), 422, "invalid-policy", ""),
        (
            "PUT",
            "/api/v1/policy",
            json!({"documents": [{"segment": {"name": "a", "criteria": "role ="}}]}),
            422,
            "invalid-policy",
            "/documents/0",
        ),
        (
            "PUT",
            "/api/v1/policy",
            json!({"documents": [{"segment": {
                "name": "a", "criteria": "role = 'a'", "templates": ["missing"]
            }}]}),
            422,
            "invalid-policy",
            "/documents/0",
        ),
        ("GET", "/api/v1/nothing", json!(null), 404, "not-found", ""),
        ("PUT", "/api/v1/assets", json!({}), 405, "method-not-allowed", ""),
    ] {
        let sent = (!body.is_null()).then(|| body.clone());
        let (got, answer) = platform.call(method, path, Some(&platform.admin), sent);
        assert_eq!((got, kind(&answer)), (status, problem), "{method} {path} {body}: {answer}");
        let named = answer["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{method} {path} {body}: {answer}");
    }
}

#[test]
fn assets_are_listed_in_pages_and_by_filters() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    for number in 0..5 {
        let mut host = TestHost::new(&format!("host-{number}"), &key);
        host.sign_in(&platform);
        if number > 2 {
            host.check_in(&platform);
        }
    }
    let (status, _) = platform.call(
        "PATCH",
        "/api/v1/assets/host-1",
        Some(&platform.admin),
        Some(json!({"tags": {"role": "web", "location": "x"}})),
    );
    assert_eq!(status, 200);
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    let mut seen = Vec::new();
    let mut path = "/api/v1/assets?limit=2".to_owned();
    loop {
        let page = platform.get(&path);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/assets?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["host-0", "host-1", "host-2", "host-3", "host-4"]);
    for (filter, expected) in [
        ("name=Host-3", vec!["host-3"]),
        ("name=%25", vec![]),
        ("tag=role%3Dweb", vec!["host-1"]),
        ("tag=role,location%3Dx", vec!["host-1"]),
        ("tag=role%3Ddb", vec![]),
        ("segment=web", vec!["host-1"]),
        ("status=active", vec!["host-3", "host-4"]),
        ("status=never", vec!["host-0", "host-1", "host-2"]),
        ("status=never&segment=web", vec!["host-1"]),
        ("status=outdated&name=host-4", vec!["host-4"]),
        ("status=inactive", vec![]),
        ("where=role+%3D+%27web%27", vec!["host-1"]),
        ("where=role+%3D+%27web%27&segment=web&status=never", vec!["host-1"]),
        ("where=role+%3D+%27web%27&name=host-2", vec![]),
        ("status=unprotected", vec!["host-0", "host-1", "host-2", "host-3", "host-4"]),
        ("status=enforcing", vec![]),
    ] {
        let page = platform.get(&format!("/api/v1/assets?{filter}"));
        let names: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{filter}");
    }
}

#[test]
fn a_second_platform_on_the_same_data_is_refused() {
    let platform = TestPlatform::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = runtime.block_on(start(settings(&platform.data_dir())));
    assert!(matches!(second, Err(ServeError::Keys(KeyError::Locked { .. }))), "{second:?}");
}

#[test]
fn a_request_in_flight_is_finished_at_shutdown() {
    let mut platform = TestPlatform::start();
    let mut roots = rustls::RootCertStore::empty();
    let pem = platform.ca_pem();
    let ca = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(pem.as_bytes());
    roots.add(ca.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = std::net::TcpStream::connect(platform.address).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, tcp);
    let body = json!({"user": "admin", "password": PASSWORD}).to_string();
    let (head, tail) = body.split_at(10);
    write!(
        tls,
        "POST /api/v1/login HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    tls.flush().unwrap();
    // Status 100 shows that the request has reached its handler.
    let mut first = [0; 25];
    tls.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&first));
    tls.write_all(head.as_bytes()).unwrap();
    tls.flush().unwrap();
    platform.begin_stop();
    eventually("the end of listening", || {
        std::net::TcpStream::connect(platform.address).is_err().then_some(())
    });
    tls.write_all(tail.as_bytes()).unwrap();
    tls.flush().unwrap();
    let mut answer = String::new();
    drop(tls.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    platform.end();
}

#[test]
fn health_readiness_and_metrics_need_no_sign_in() {
    let platform = TestPlatform::start();
    for (path, holds) in
        [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "xshield_http_requests_total")]
    {
        let answer = platform.raw("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains(holds), "{path}");
    }
}
