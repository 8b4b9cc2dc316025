//! Unauthenticated clients: large bodies without a session, connections that read no response, pending
//! identities, guessed passwords.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Attack;
use super::client::{Connection, Request};
use super::fixture::{Fixture, headers};
use super::simulated_host::SimulatedHost;
use crate::bench::{Effort, pause};

/// Concurrent connections.
const CROWD: u16 = 300;
/// The largest body that any route accepts.
const BODY: usize = 8 << 20;
/// Requests sent without reading a response: so many that no buffer holds all responses.
const UNREAD: usize = 5_000;

fn span(effort: Effort) -> Duration {
    match effort {
        Effort::Full => Duration::from_secs(60),
        Effort::Quick => Duration::from_secs(15),
    }
}

/// Runs `act` on many threads repeatedly until the end, whatever its result.
fn crowd(end: Instant, act: impl Fn(u16, Instant) -> Result<()> + Sync) {
    std::thread::scope(|scope| {
        for number in 0..CROWD {
            let act = &act;
            scope.spawn(move || {
                while Instant::now() < end {
                    let begun = Instant::now();
                    // Refused or not: what matters is the effect on others.
                    drop(act(number, end));
                    pause((begun + Duration::from_millis(500)).min(end));
                }
            });
        }
    });
}

/// Bodies of the largest size on a route that needs a session, from one address; all but the last byte of
/// each.
pub(super) fn bodies(_: &Fixture, effort: Effort) -> Result<Attack> {
    Ok(Box::new(move |fixture| {
        let piece = vec![b'x'; 64 << 10];
        crowd(Instant::now() + span(effort), |_, end| {
            let mut connection = fixture.endpoint.open(Ipv4Addr::new(127, 0, 2, 1))?;
            let head = format!(
                "POST /host/v1/reports HTTP/1.1\r\nhost: platform\r\ncontent-length: {BODY}\r\n\r\n"
            );
            connection.write(head.as_bytes())?;
            for _ in 0..BODY / piece.len() - 1 {
                connection.write(&piece)?;
            }
            pause(end);
            Ok(())
        });
        Ok(())
    }))
}

/// Continuous requests on connections whose responses nobody reads.
pub(super) fn silent_readers(_: &Fixture, effort: Effort) -> Result<Attack> {
    Ok(Box::new(move |fixture| {
        crowd(Instant::now() + span(effort), |_, end| {
            let mut connection = fixture.endpoint.open(Ipv4Addr::new(127, 0, 2, 2))?;
            let request =
                Request { method: "GET", path: "/host/v1/trust", headers: &[], body: &[] };
            for _ in 0..UNREAD {
                connection.send(request)?;
            }
            pause(end);
            Ok(())
        });
        Ok(())
    }))
}

/// A holder of an enforcement key presents ever new identities with another host's name.
pub(super) fn identities(fixture: &Fixture, effort: Effort) -> Result<Attack> {
    let key = fixture.key("web")?;
    let mut namesake = SimulatedHost::new(1, &key)?;
    let mut connection = fixture.endpoint.open(namesake.from)?;
    namesake.register(&mut connection)?;
    Ok(Box::new(move |fixture| {
        crowd(Instant::now() + span(effort), |number, _| {
            let mut simulated_host = SimulatedHost::new(1, &key)?;
            let mut connection = fixture.endpoint.open(crowd_address(number))?;
            // A few over each connection.
            for _ in 0..4 {
                simulated_host.ask_for_session(&mut connection)?;
                simulated_host = SimulatedHost::new(1, &key)?;
            }
            Ok(())
        });
        Ok(())
    }))
}

/// Passwords for one account and for unknown accounts, from many addresses.
pub(super) fn passwords(fixture: &Fixture, effort: Effort) -> Result<Attack> {
    fixture.add_user("looker", "viewer")?;
    Ok(Box::new(move |fixture| {
        crowd(Instant::now() + span(effort), |number, _| {
            let mut connection: Connection = fixture.endpoint.open(crowd_address(number))?;
            for guess in 0..4 {
                let user = if guess % 2 == 0 { "looker".to_owned() } else { format!("u{number}") };
                let body = serde_json::json!({"user": user, "password": format!("guess-{guess}")});
                let body = serde_json::to_vec(&body)?;
                let headers = headers(None, "application/json");
                let path = "/api/v1/login";
                connection.ask(Request { method: "POST", path, headers: &headers, body: &body })?;
            }
            Ok(())
        });
        Ok(())
    }))
}

fn crowd_address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 3, high, low.max(1))
}
