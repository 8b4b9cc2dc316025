use std::sync::Arc;

use xshield_transport::{ConfigError, RouteError, Transport, TransportError};

use crate::server::{Behaviour, Server, Validity};
use crate::{Names, config, get, transport};

fn failure(transport: &mut Transport) -> RouteError {
    match get(transport, "/") {
        Err(TransportError::NoRoute { mut failures }) => failures.remove(0).error,
        other => panic!("expected a failed route, got {other:?}"),
    }
}

fn reason_for(behaviour: Behaviour) -> RouteError {
    let server = Server::with(behaviour);
    failure(&mut transport(config(server.address, &server.ca_pem, vec![])))
}

#[test]
fn the_pinned_ca_is_trusted_and_another_is_not() {
    let (server, other) = (Server::start(), Server::start());
    let mut pinned = transport(config(server.address, &server.ca_pem, vec![]));
    assert_eq!(get(&mut pinned, "/").unwrap().status, 200);

    let mut wrong = transport(config(server.address, &other.ca_pem, vec![]));
    let error = get(&mut wrong, "/").unwrap_err();
    assert!(error.is_untrusted());
    let text = error.to_string();
    assert!(text.contains("issued by another CA") && text.contains("pinned CA"), "{text}");
    let error = wrong.probe().unwrap_err();
    assert!(error.is_untrusted());

    let both = format!("{}\n{}", other.ca_pem, server.ca_pem);
    assert_eq!(
        get(&mut transport(config(server.address, &both, vec![])), "/").unwrap().status,
        200
    );
}

#[test]
fn a_certificate_for_another_name_or_time_is_untrusted() {
    let named = reason_for(Behaviour { names: &["elsewhere.test"], ..Behaviour::default() });
    let RouteError::UntrustedCertificate { reason, .. } = named else { panic!("{named:?}") };
    assert_eq!(reason, "it is for another name");
    let expired = reason_for(Behaviour { validity: Validity::LongAgo, ..Behaviour::default() });
    let RouteError::UntrustedCertificate { reason, .. } = expired else { panic!("{expired:?}") };
    assert_eq!(reason, "it has expired");
}

#[test]
fn an_older_tls_is_refused() {
    let version = &rustls::version::TLS12;
    let error = reason_for(Behaviour { version, ..Behaviour::default() });
    assert!(matches!(error, RouteError::Tls { .. }), "{error:?}");
}

#[test]
fn an_invalid_ca_is_refused_at_once() {
    let new = |pem: &str| {
        let config = config("127.0.0.1:1".parse().unwrap(), pem, vec![]);
        Transport::new(config, Arc::new(Names::default())).map(|_| ()).unwrap_err()
    };
    assert!(matches!(new(""), ConfigError::NoCertificate));
    assert!(matches!(new("hello"), ConfigError::NoCertificate));
    let cut = "-----BEGIN CERTIFICATE-----\nMIIB";
    assert!(matches!(new(cut), ConfigError::Pem(_) | ConfigError::NoCertificate));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(new(junk), ConfigError::Certificate(_)));
}
