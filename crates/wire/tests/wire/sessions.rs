use xshield_wire::message::{Message, SessionRequest, SessionResponse};
use xshield_wire::session::{MAX_CLOCK_SKEW, MAX_TOKEN, SessionError, prove, start};
use xshield_wire::{Bytes, EnforcementKey, IdentityKey};

use crate::fixtures::{NOW, TOKEN, asset, enforcement, identity, randomness, terms};

fn request() -> SessionRequest {
    start(&enforcement(), &identity(), "web", NOW, randomness()).0
}

fn refused(request: &SessionRequest, now: u64) -> SessionError {
    prove(request, &enforcement(), now).expect_err("the request must be refused")
}

/// The answer to [`request`], altered, as its host receives it.
fn finished(alter: impl FnOnce(&mut SessionResponse)) -> Result<(), SessionError> {
    let (request, pending) = start(&enforcement(), &identity(), "web", NOW, randomness());
    let enforcement = enforcement();
    let proven = prove(&request, &enforcement, NOW).unwrap();
    let (mut response, _) = proven.accept(terms(), |_| TOKEN.to_owned()).unwrap();
    alter(&mut response);
    pending.finish(response).map(|_| ())
}

#[test]
fn both_sides_derive_the_same_fresh_key() {
    let enforcement = enforcement();
    let mut keys = Vec::new();
    for ephemeral in [[17; 32], [18; 32]] {
        let random = xshield_wire::session::Randomness { ephemeral, nonce: [19; 16] };
        let (request, pending) = start(&enforcement, &identity(), "web", NOW, random);
        let request = SessionRequest::read(&request.to_json().unwrap()).unwrap();
        let proven = prove(&request, &enforcement, NOW + MAX_CLOCK_SKEW).unwrap();
        let mut sealed = None;
        let (response, platform) = proven
            .accept(terms(), |key| {
                sealed = Some(key.clone());
                TOKEN.to_owned()
            })
            .unwrap();
        let session = pending.finish(response).unwrap();
        assert_eq!(session.key, platform);
        assert_eq!(sealed, Some(platform));
        assert_eq!((session.asset, session.token.as_str()), (asset("a-web"), TOKEN));
        assert_eq!((session.expires, session.platform_time), (NOW + 3600, NOW + MAX_CLOCK_SKEW));
        keys.push(session.key);
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_wrong_enforcement_key_is_refused() {
    let other = EnforcementKey::new("k7f3".parse().unwrap(), [8; 32]);
    assert_eq!(prove(&request(), &other, NOW).unwrap_err(), SessionError::RequestMac);
    let renamed = EnforcementKey::new("k8".parse().unwrap(), [7; 32]);
    let error = prove(&request(), &renamed, NOW).unwrap_err();
    assert_eq!(error, SessionError::OtherKey { named: "k7f3".into(), used: "k8".into() });
}

#[test]
fn the_enforcement_key_alone_cannot_impersonate_another_host() {
    // Someone who knows the enforcement key names web's identity, but signs with their own key.
    let mut request = request();
    let own = IdentityKey::from_seed([99; 32]);
    let forged = start(&enforcement(), &own, "web", NOW, randomness()).0;
    request.signature = forged.signature;
    assert_eq!(refused(&request, NOW), SessionError::RequestSignature);
    let mut request = forged;
    request.identity = identity().public();
    assert_eq!(refused(&request, NOW), SessionError::RequestMac);
}

#[test]
fn a_clock_off_by_more_than_five_minutes_is_refused_with_both_clocks() {
    let request = request();
    for now in [NOW - MAX_CLOCK_SKEW, NOW + MAX_CLOCK_SKEW] {
        prove(&request, &enforcement(), now).unwrap();
    }
    for now in [NOW - MAX_CLOCK_SKEW - 1, NOW + MAX_CLOCK_SKEW + 1, NOW + 3600, 0, u64::MAX] {
        assert_eq!(refused(&request, now), SessionError::ClockSkew { host: NOW, platform: now });
    }
}

#[test]
fn every_altered_field_of_the_request_is_detected() {
    type Alter = fn(&mut SessionRequest);
    let table: [(Alter, SessionError); 9] = [
        (|r| r.version = 2, SessionError::Version { got: 2 }),
        (|r| r.version = 0, SessionError::Version { got: 0 }),
        (|r| r.host_name.push('x'), SessionError::RequestMac),
        (|r| r.identity.0[0] ^= 1, SessionError::RequestMac),
        (|r| r.ephemeral.0[31] ^= 1, SessionError::RequestMac),
        (|r| r.nonce.0[5] ^= 1, SessionError::RequestMac),
        (|r| r.created += 1, SessionError::RequestMac),
        (|r| r.mac.0[0] ^= 1, SessionError::RequestMac),
        (|r| r.signature.0[63] ^= 1, SessionError::RequestSignature),
    ];
    for (row, (alter, expected)) in table.into_iter().enumerate() {
        let mut request = request();
        alter(&mut request);
        assert_eq!(refused(&request, NOW), expected, "row {row}");
    }
}

#[test]
fn text_cannot_move_from_one_field_into_the_next() {
    let random = randomness;
    let key = EnforcementKey::new("k7f3".parse().unwrap(), [7; 32]);
    let longer = EnforcementKey::new("k7f3w".parse().unwrap(), [7; 32]);
    let (one, _) = start(&key, &identity(), "web", NOW, random());
    let (two, _) = start(&longer, &identity(), "eb", NOW, random());
    assert_ne!(one.mac, two.mac);
}

#[test]
fn every_altered_field_of_the_answer_is_detected() {
    assert_eq!(finished(|_| ()), Ok(()));
    type Alter = fn(&mut SessionResponse);
    let table: [(Alter, SessionError); 8] = [
        (|r| r.version = 2, SessionError::Version { got: 2 }),
        (|r| r.asset = asset("a-db"), SessionError::ResponseMac),
        (|r| r.ephemeral.0[0] ^= 1, SessionError::ResponseMac),
        (|r| r.token.push('x'), SessionError::ResponseMac),
        (|r| r.expires += 1, SessionError::ResponseMac),
        (|r| r.time -= 1, SessionError::ResponseMac),
        (|r| r.mac.0[31] ^= 1, SessionError::ResponseMac),
        (|r| r.ephemeral = Bytes([0; 32]), SessionError::WeakEphemeral),
    ];
    for (row, (alter, expected)) in table.into_iter().enumerate() {
        assert_eq!(finished(alter), Err(expected), "row {row}");
    }
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let enforcement = enforcement();
    let (_, pending) = start(&enforcement, &identity(), "web", NOW, randomness());
    let (later, _) = start(&enforcement, &identity(), "web", NOW + 1, randomness());
    let proven = prove(&later, &enforcement, NOW).unwrap();
    let (response, _) = proven.accept(terms(), |_| TOKEN.to_owned()).unwrap();
    assert_eq!(pending.finish(response), Err(SessionError::ResponseMac));
}

#[test]
fn a_platform_without_the_enforcement_key_is_refused() {
    let (mut request, pending) = start(&enforcement(), &identity(), "web", NOW, randomness());
    // It can't prove the request, so it creates one that it can, with the same ephemeral key.
    let own = EnforcementKey::new("k7f3".parse().unwrap(), [0; 32]);
    let made_up = start(&own, &identity(), "web", NOW, randomness()).0;
    request.mac = made_up.mac;
    request.signature = made_up.signature;
    let proven = prove(&request, &own, NOW).unwrap();
    let (response, _) = proven.accept(terms(), |_| TOKEN.to_owned()).unwrap();
    assert_eq!(pending.finish(response), Err(SessionError::ResponseMac));
}

#[test]
fn a_token_invalid_in_a_header_is_refused() {
    let enforcement = enforcement();
    let request = request();
    let proven = prove(&request, &enforcement, NOW).unwrap();
    for token in
        ["".into(), "a b".into(), "a\r\nx: y".into(), "é".into(), "x".repeat(MAX_TOKEN + 1)]
    {
        let error = proven.accept(terms(), |_| token).unwrap_err();
        assert_eq!(error, SessionError::Token);
    }
}
