use std::time::{Duration, Instant};

use xshield_transport::{Phase, Proxy, Route, RouteError, Transport, TransportError};

use crate::proxy::{Kind, TestProxy};
use crate::server::Server;
use crate::{config, get, transport};

fn current(transport: &Transport) -> Option<usize> {
    transport.routes().iter().position(|route| route.current)
}

/// The expected failure of each kind of proxy.
fn expected(kind: Kind, proxy: &TestProxy) -> Option<RouteError> {
    let at = || proxy.address.into();
    match kind {
        Kind::Good => None,
        Kind::Wants(_) => Some(RouteError::ProxyAuthentication { proxy: at() }),
        Kind::Dead => Some(RouteError::Refused { at: at() }),
        Kind::Hanging => Some(RouteError::TimedOut { at: at(), phase: Phase::Connecting }),
        Kind::Refusing => {
            let reason = "proxy server responded 502/502".into();
            Some(RouteError::ProxyRefused { proxy: at(), reason })
        }
        Kind::Forbidding => {
            let reason = "proxy server responded 403/403".into();
            Some(RouteError::ProxyForbade { proxy: at(), reason })
        }
        Kind::Closing | Kind::Babbling => None,
    }
}

#[test]
fn routes_are_tried_in_order_and_each_failure_is_named() {
    use Kind::{Babbling, Closing, Dead, Forbidding, Good, Hanging, Refusing, Wants};
    let direct = usize::MAX;
    let table: [(&[Kind], usize); 10] = [
        (&[], direct),
        (&[Good], 0),
        (&[Good, Good], 0),
        (&[Dead, Good], 1),
        (&[Wants("a:b"), Good], 1),
        (&[Hanging, Good], 1),
        (&[Refusing, Dead, Good], 2),
        (&[Dead, Wants("a:b"), Refusing], direct),
        (&[Forbidding, Good], 1),
        (&[Closing, Babbling], direct),
    ];
    let server = Server::start();
    for (kinds, chosen) in table {
        let proxies: Vec<_> =
            kinds.iter().map(|&kind| TestProxy::start(kind, server.address)).collect();
        let listed: Vec<Proxy> = proxies.iter().map(TestProxy::plain).collect();
        let mut transport = transport(config(server.address, &server.ca_pem, listed));
        assert_eq!(get(&mut transport, "/").unwrap().status, 200, "{kinds:?}");
        let chosen = chosen.min(kinds.len());
        assert_eq!(current(&transport), Some(chosen), "{kinds:?}");
        for (index, state) in transport.routes().into_iter().enumerate() {
            match (kinds.get(index), index < chosen) {
                (Some(Closing | Babbling), true) => assert!(state.last_failure.is_some()),
                (Some(&kind), true) => {
                    assert_eq!(state.last_failure, expected(kind, &proxies[index]), "{kinds:?}");
                }
                _ => assert_eq!(state.last_failure, None, "{kinds:?}"),
            }
        }
    }
}

#[test]
fn each_silent_proxy_costs_its_own_short_timeout() {
    let server = Server::start();
    let silent: Vec<_> = (0..3).map(|_| TestProxy::start(Kind::Hanging, server.address)).collect();
    let listed = silent.iter().map(TestProxy::plain).collect();
    let mut config = config(server.address, &server.ca_pem, listed);
    config.timeouts.through_proxy = Duration::from_millis(200);
    config.timeouts.connect = Duration::from_secs(60);
    config.timeouts.exchange = Duration::from_secs(60);
    let mut transport = transport(config);
    let began = Instant::now();
    get(&mut transport, "/").unwrap();
    assert_eq!(current(&transport), Some(3));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_silent_tunnel_times_out_long_before_a_slow_one() {
    let server = Server::start();
    let proxy = TestProxy::start(Kind::Good, server.address);
    let mut config = config(server.address, &server.ca_pem, vec![proxy.plain()]);
    config.timeouts.stall = Duration::from_millis(200);
    config.timeouts.exchange = Duration::from_secs(600);
    let mut transport = transport(config);
    let began = Instant::now();
    let error = get(&mut transport, "/endless").unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let TransportError::NoRoute { failures } = error else { panic!("{error:?}") };
    let tried: Vec<_> = failures.iter().map(|failure| failure.route.clone()).collect();
    assert_eq!(tried, [Route::Proxy(proxy.address.into()), Route::Direct]);
    for failure in failures {
        let RouteError::TimedOut { phase, .. } = failure.error else { panic!("{failure:?}") };
        assert_eq!(phase, Phase::Receiving);
    }
}

#[test]
fn the_chosen_route_is_kept_until_it_fails() {
    let server = Server::start();
    let (dead, good) = (
        TestProxy::start(Kind::Dead, server.address),
        TestProxy::start(Kind::Good, server.address),
    );
    let listed = vec![dead.plain(), good.plain()];
    let mut config = config(server.address, &server.ca_pem, listed);
    let mut first = transport(config.clone());
    get(&mut first, "/").unwrap();
    assert_eq!(current(&first), Some(1));
    first.new_connection();
    get(&mut first, "/").unwrap();
    assert_eq!(good.seen().len(), 2, "the route that worked is tried first");

    // The next run remembers it, in its stored text form.
    let remembered = first.current_route().unwrap().to_string();
    config.last_route = Some(remembered.parse().unwrap());
    let mut second = transport(config.clone());
    get(&mut second, "/").unwrap();
    assert_eq!(current(&second), Some(1));
    assert_eq!(second.routes()[0].last_failure, None, "the dead one was not tried");

    // The direct route is kept, too, although a proxy would work.
    config.last_route = Some(Route::Direct);
    let mut third = transport(config.clone());
    get(&mut third, "/").unwrap();
    assert_eq!(current(&third), Some(2));

    // A dead remembered route is abandoned; one that is no longer configured is ignored.
    config.last_route = Some(Route::Proxy(dead.address.into()));
    let mut fourth = transport(config.clone());
    get(&mut fourth, "/").unwrap();
    assert_eq!(current(&fourth), Some(1));
    config.last_route = Some("proxy 192.0.2.1:3128".parse().unwrap());
    assert_eq!(current(&transport(config)), None);
}

#[test]
fn when_every_route_fails_each_is_named_and_the_choice_is_reset() {
    let server = Server::start();
    let dead = TestProxy::start(Kind::Dead, server.address);
    let refusing = TestProxy::start(Kind::Refusing, server.address);
    let listed = vec![refusing.plain()];
    let mut config = config(dead.address, &server.ca_pem, listed);
    config.last_route = Some(Route::Direct);
    let mut transport = transport(config);
    let error = get(&mut transport, "/").unwrap_err();
    let text = error.to_string();
    let TransportError::NoRoute { failures } = error else { panic!("{error:?}") };
    let tried: Vec<_> = failures.into_iter().map(|failure| failure.route).collect();
    assert_eq!(tried, [Route::Direct, Route::Proxy(refusing.address.into())]);
    assert!(text.contains("direct: ") && text.contains("502"), "{text}");
    assert_eq!(current(&transport), None);
}

#[test]
fn the_probe_uses_the_current_route_alone() {
    let server = Server::start();
    let dead = TestProxy::start(Kind::Dead, server.address);
    let mut config = config(server.address, &server.ca_pem, vec![dead.plain()]);
    config.last_route = Some(Route::Proxy(dead.address.into()));
    let mut transport = transport(config);
    let error = transport.probe().unwrap_err();
    let TransportError::NoRoute { failures } = error else { panic!("{error:?}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(server.connections(), 0);
    get(&mut transport, "/").unwrap();
    transport.probe().unwrap();
    assert_eq!(current(&transport), Some(1));
}

#[test]
fn credentials_reach_the_proxy_whatever_characters_they_have() {
    let server = Server::start();
    for (user, password, wanted) in [
        ("spark", "secret", "spark:secret"),
        ("do main\\us@er", "p@ss:w%rd/?#", "do main\\us@er:p@ss:w%rd/?#"),
        ("ü", "ß€", "ü:ß€"),
    ] {
        let proxy = TestProxy::start(Kind::Wants(wanted), server.address);
        let listed = vec![proxy.with_credentials(user, password)];
        let mut transport = transport(config(server.address, &server.ca_pem, listed));
        get(&mut transport, "/").unwrap();
        assert_eq!(current(&transport), Some(0), "{wanted}");
    }
}

#[test]
fn passwords_are_never_shown() {
    let server = Server::start();
    let password = "hunter2-hunter2";
    for kind in [Kind::Wants("a:b"), Kind::Dead, Kind::Closing, Kind::Refusing, Kind::Babbling] {
        let proxy = TestProxy::start(kind, server.address);
        let dead = TestProxy::start(Kind::Dead, server.address);
        let listed = vec![proxy.with_credentials("spark", password)];
        let config = config(dead.address, &server.ca_pem, listed);
        let mut shown = format!("{config:?}");
        let mut transport = transport(config);
        let error = get(&mut transport, "/").unwrap_err();
        shown += &format!("{error} {error:?} {:?}", transport.routes());
        assert!(!shown.contains(password), "{shown}");
        assert!(!shown.contains("aHVudGVyMi"), "{shown}");
        assert!(!shown.contains("c3Bhcms6"), "{shown}");
    }
}

#[test]
fn an_intercepting_proxy_is_recognised() {
    let (server, interceptor) = (Server::start(), Server::start());
    let proxy = TestProxy::start(Kind::Good, interceptor.address);
    let dead = TestProxy::start(Kind::Dead, server.address);
    let mut transport = transport(config(dead.address, &server.ca_pem, vec![proxy.plain()]));
    let error = get(&mut transport, "/").unwrap_err();
    assert!(error.is_untrusted(), "{error}");
    let state = &transport.routes()[0];
    assert!(matches!(state.last_failure, Some(RouteError::UntrustedCertificate { .. })));
}
