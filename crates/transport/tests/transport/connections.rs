use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xshield_transport::{
    CancelHandle, Endpoints, Handover, Method, Phase, Proxy, Request, Route, RouteError, Timeouts,
    Transport, TransportConfig, TransportError,
};

use crate::proxy::{Kind, TestProxy};
use crate::server::{AfterAnswer, Behaviour, Server};
use crate::{Names, config, get, timeouts, transport};

#[test]
fn a_request_arrives_as_sent_and_its_answer_comes_back() {
    let server = Server::start();
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    let request = Request {
        method: Method::Post,
        path_and_query: "/host/v1/check-in?a=1",
        headers: &[("x-test", "yes".into()), ("content-type", "application/json".into())],
        body: b"{\"version\":1}",
    };
    let response = transport.send(&request).unwrap();
    let text = String::from_utf8(response.body.clone()).unwrap();
    assert!(text.starts_with("POST /host/v1/check-in?a=1 HTTP/1.1\n"), "{text}");
    assert!(text.contains("x-test: yes") && text.contains("user-agent: test/1"), "{text}");
    assert!(text.ends_with("{\"version\":1}"), "{text}");
    assert_eq!((response.status, response.header("etag")), (200, Some("\"e\"")));
    assert_eq!(response.header("absent"), None);
    let shown = format!("{request:?}");
    assert_eq!(shown, "POST /host/v1/check-in?a=1");
}

#[test]
fn every_status_is_an_answer() {
    let server = Server::start();
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    for status in [304, 302, 307, 401, 404, 409, 429, 500, 503] {
        assert_eq!(get(&mut transport, &format!("/status/{status}")).unwrap().status, status);
    }
    assert_eq!(transport.current_route(), Some(&Route::Direct));
}

#[test]
fn connections_are_kept_except_for_the_probe() {
    let server = Server::start();
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    for _ in 0..3 {
        get(&mut transport, "/").unwrap();
    }
    assert_eq!(server.connections(), 1);
    transport.probe().unwrap();
    transport.probe().unwrap();
    assert_eq!(server.connections(), 3);
    get(&mut transport, "/").unwrap();
    assert_eq!(server.connections(), 3, "the kept connection is still there");
    transport.new_connection();
    get(&mut transport, "/").unwrap();
    assert_eq!(server.connections(), 4);
}

#[test]
fn a_dead_idle_connection_does_not_count_as_a_route_failure() {
    let server =
        Server::with(Behaviour { after_answer: AfterAnswer::Close, ..Behaviour::default() });
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    for expected in 1..=3 {
        get(&mut transport, "/").unwrap();
        assert_eq!(server.connections(), expected);
        assert_eq!(transport.routes()[0].last_failure, None);
    }
}

#[test]
fn a_connection_is_handed_over_only_on_the_same_route() {
    let server = Server::start();
    let proxy = TestProxy::start(Kind::Good, server.address);
    let made = |proxies, timeouts| {
        let config = config(server.address, &server.ca_pem, proxies);
        transport(TransportConfig { timeouts, ..config })
    };
    let place = Handover::default();
    let mut first = made(vec![], timeouts());
    get(&mut first, "/").unwrap();
    first.hand_over(&place);

    let mut second = made(vec![], timeouts());
    second.take_over(&place);
    get(&mut second, "/").unwrap();
    assert_eq!(server.connections(), 1, "the second one went on with the first one's");
    get(&mut first, "/").unwrap();
    assert_eq!(server.connections(), 2, "the first one has none any more");

    second.hand_over(&place);
    let mut by_proxy = made(vec![proxy.plain()], timeouts());
    by_proxy.take_over(&place);
    get(&mut by_proxy, "/").unwrap();
    assert_eq!(server.connections(), 3, "another route takes another connection");
    assert_eq!(proxy.seen().len(), 1);

    // Time limits belong to the sender, not to the connection.
    let stall = Duration::from_millis(100);
    by_proxy.hand_over(&place);
    let mut hasty = made(vec![proxy.plain()], Timeouts { stall, exchange: stall, ..timeouts() });
    hasty.take_over(&place);
    let error = hasty.send_once(
        &Request { method: Method::Get, path_and_query: "/endless", headers: &[], body: &[] },
        &CancelHandle::default(),
    );
    assert!(matches!(error, Err(TransportError::NoRoute { .. })), "{error:?}");
    assert_eq!(server.connections(), 3);

    place.clear();
    first.hand_over(&place);
    place.clear();
    let mut last = made(vec![], timeouts());
    last.take_over(&place);
    get(&mut last, "/").unwrap();
    assert_eq!(server.connections(), 4, "what was cleared is closed");
}

#[test]
fn an_answer_over_the_limit_is_refused() {
    let server = Server::start();
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    assert_eq!(get(&mut transport, "/big/1048576").unwrap().body.len(), 1 << 20);
    let error = get(&mut transport, "/big/1048577").unwrap_err();
    assert!(matches!(error, TransportError::ResponseTooLarge { limit: 1_048_576 }), "{error:?}");
    assert_eq!(get(&mut transport, "/").unwrap().status, 200);
}

#[test]
fn an_answer_that_does_not_end_times_out() {
    let server = Server::start();
    let mut config = config(server.address, &server.ca_pem, vec![]);
    config.timeouts.exchange = std::time::Duration::from_millis(600);
    let error = get(&mut transport(config), "/endless").unwrap_err();
    let TransportError::NoRoute { failures } = error else { panic!("{error:?}") };
    let expected = RouteError::TimedOut { at: server.address.into(), phase: Phase::Receiving };
    assert_eq!(failures[0].error, expected);
}

#[test]
fn an_invalid_header_is_refused() {
    let server = Server::start();
    let mut transport = transport(config(server.address, &server.ca_pem, vec![]));
    let headers = [("x-test", "a\r\nb: c".to_owned())];
    let request =
        Request { method: Method::Get, path_and_query: "/", headers: &headers, body: &[] };
    assert!(matches!(transport.send(&request), Err(TransportError::Request { .. })));
    assert_eq!(server.connections(), 0);
}

#[test]
fn names_are_resolved_by_the_given_resolver_alone() {
    let server = Server::start();
    let mut config = config(server.address, &server.ca_pem, vec![]);
    config.platform = format!("https://platform.test:{}", server.address.port()).parse().unwrap();
    let names = |names: &[&'static str]| {
        let local = || vec!["127.0.0.1".parse().unwrap()];
        Arc::new(Names(names.iter().map(|&name| (name, local())).collect::<BTreeMap<_, _>>()))
    };
    let mut known = Transport::new(config.clone(), names(&["platform.test"])).unwrap();
    assert_eq!(get(&mut known, "/").unwrap().status, 200);

    let mut unknown = Transport::new(config.clone(), names(&[])).unwrap();
    let error = get(&mut unknown, "/").unwrap_err();
    let TransportError::NoRoute { failures } = error else { panic!("{error:?}") };
    let at = config.platform.endpoint().clone();
    assert_eq!(failures[0].error, RouteError::NameNotFound { at });

    // Through a proxy, the proxy resolves the platform's name.
    let proxy = TestProxy::start(Kind::Good, server.address);
    config.proxies = vec![proxy.plain()];
    let mut proxied = Transport::new(config.clone(), names(&[])).unwrap();
    assert_eq!(get(&mut proxied, "/").unwrap().status, 200);
    let connect = format!("CONNECT platform.test:{} HTTP/1.1", server.address.port());
    assert_eq!(proxy.seen(), [connect]);

    // A proxy may be given by name, too.
    let named = format!("proxy.test:{}", proxy.address.port()).parse().unwrap();
    config.proxies = vec![Proxy { address: named, user: None, password: None }];
    let mut proxied = Transport::new(config.clone(), names(&["proxy.test"])).unwrap();
    assert_eq!(get(&mut proxied, "/").unwrap().status, 200);
    assert!(matches!(proxied.current_route(), Some(Route::Proxy(_))));
    let expected = Endpoints {
        addresses: vec![proxy.address],
        by_name: vec![proxy.address],
        unresolved: vec![config.platform.endpoint().clone()],
    };
    assert_eq!(proxied.endpoints(), expected);
}

#[test]
fn a_waiting_request_is_cancelled_at_once_and_the_next_one_works() {
    let server = Server::start();
    let proxy = TestProxy::start(Kind::Good, server.address);
    let hanging = TestProxy::start(Kind::Hanging, server.address);
    let held = Request { method: Method::Get, path_and_query: "/endless", headers: &[], body: &[] };
    let plain = Request { path_and_query: "/", ..held };
    // Waiting for the answer, directly and in a tunnel, and for the proxy's own answer.
    let cases = [
        (vec![], Duration::from_secs(600)),
        (vec![proxy.plain()], Duration::from_secs(600)),
        (vec![hanging.plain()], Duration::from_secs(600)),
    ];
    for (proxies, timeout) in cases {
        let hangs = proxies.first().is_some_and(|it| it.address == hanging.address.into());
        let mut config = config(server.address, &server.ca_pem, proxies);
        config.timeouts.stall = timeout;
        config.timeouts.exchange = timeout;
        config.timeouts.through_proxy = timeout;
        let mut transport = transport(config);
        let line = CancelHandle::default();
        let before = server.connections();
        let waits = || server.connections() > before || !hanging.seen().is_empty();
        let given_up = std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(30);
                while !waits() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                line.cancel();
            });
            transport.send_once(&held, &line).unwrap_err()
        });
        assert!(matches!(given_up, TransportError::Cancelled), "{given_up}");
        assert!(transport.routes().iter().all(|route| route.last_failure.is_none()));
        let again = transport.send_once(&plain, &line).unwrap_err();
        assert!(matches!(again, TransportError::Cancelled), "a cut line stays cut: {again}");
        if !hangs {
            assert_eq!(transport.send_once(&plain, &CancelHandle::default()).unwrap().status, 200);
        }
    }
}
