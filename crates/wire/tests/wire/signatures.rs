use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{
    AlgorithmName, HttpSignatureBase, HttpSignatureHeaders, HttpSignatureParams, SharedKey,
};
use proptest::prelude::*;
use ring::hmac;
use xshield_wire::session::MAX_CLOCK_SKEW;
use xshield_wire::signature::{
    COMPONENTS, Params, ParamsError, ReceivedHeaders, RequestParts, SignatureError, SignedHeaders,
    Signer, TAG, content_digest, sign, signature_base, verify,
};
use xshield_wire::{Bytes, SessionKey};

use crate::fixtures::{NOW, asset, session};

const BODY: &[u8] = br#"{"version":1,"sequence":7}"#;

fn parts() -> RequestParts<'static> {
    RequestParts { method: "POST", path: "/host/v1/check-in", query: None, body: BODY }
}

fn signed(parts: &RequestParts<'_>) -> SignedHeaders {
    let session = session();
    let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
    sign(signer, parts, NOW, Bytes([31; 16]))
}

fn received(headers: &SignedHeaders) -> ReceivedHeaders<'_> {
    ReceivedHeaders::find(|name| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()))
}

fn verified(parts: &RequestParts<'_>, headers: &SignedHeaders) -> Result<(), SignatureError> {
    let session = session();
    verify(&session.key, &session.asset, parts, &received(headers), NOW).map(|_| ())
}

/// The value of one header, to be altered.
fn header<'a>(headers: &'a mut SignedHeaders, name: &str) -> &'a mut String {
    headers.iter_mut().find(|(n, _)| *n == name).map(|(_, value)| value).unwrap()
}

#[test]
fn the_base_is_the_one_of_rfc_9421_b_2_5() {
    let components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
    ];
    let names: Vec<&str> = components.iter().map(|(name, _)| *name).collect();
    let params = Params {
        created: 1_618_884_473,
        keyid: "test-shared-secret".into(),
        nonce: None,
        tag: None,
    };
    let text = params.serialize(&names);
    let expected =
        r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    assert_eq!(text, expected);
    assert_eq!(Params::parse(&text).unwrap(), (names, params));

    let secret =
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
    let mac = hmac::sign(&key, signature_base(&components, &text).as_bytes());
    assert_eq!(STANDARD.encode(mac), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
}

#[test]
fn the_digest_is_the_one_of_rfc_9421_b_2() {
    // RFC 9530, appendix D: the body of the RFC's examples.
    let body = br#"{"hello": "world"}"#;
    assert_eq!(content_digest(body), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
}

/// The lines of the signature base, as an independent implementation creates them from a request.
fn independent_components(headers: &SignedHeaders) -> Vec<HttpMessageComponent> {
    let lines = [
        r#""@method": POST"#.to_owned(),
        r#""@path": /host/v1/check-in"#.to_owned(),
        r#""@query": ?"#.to_owned(),
        format!(r#""authorization": {}"#, headers[0].1),
        format!(r#""content-digest": {}"#, headers[1].1),
    ];
    lines.iter().map(|line| HttpMessageComponent::try_from(line.as_str()).unwrap()).collect()
}

fn independent_key() -> SharedKey {
    let key = STANDARD.encode(session().key.expose_secret());
    SharedKey::from_base64(&AlgorithmName::HmacSha256, &key).unwrap()
}

#[test]
fn an_independent_implementation_verifies_our_signatures() {
    let headers = signed(&parts());
    let parsed = HttpSignatureHeaders::try_parse(&headers[3].1, &headers[2].1).unwrap();
    let signature = parsed.get("xshield").unwrap();
    let components = independent_components(&headers);
    let base = HttpSignatureBase::try_new(&components, signature.signature_params()).unwrap();
    base.verify_signature_headers(&independent_key(), signature).unwrap();
}

#[test]
fn signatures_of_an_independent_implementation_verify() {
    let mut headers = signed(&parts());
    let (_, input) = headers[2].1.split_once('=').unwrap();
    let params = HttpSignatureParams::try_from(input).unwrap();
    let base = HttpSignatureBase::try_new(&independent_components(&headers), &params).unwrap();
    let made = base.build_signature_headers(&independent_key(), Some("xshield")).unwrap();
    headers[2].1 = made.signature_input_header_value();
    headers[3].1 = made.signature_header_value();
    verified(&parts(), &headers).unwrap();
}

#[test]
fn a_signed_request_has_a_time_and_an_id() {
    let session = session();
    let headers = signed(&parts());
    assert_eq!(received(&headers).token(), Ok(session.token.as_str()));
    let signed = verify(&session.key, &session.asset, &parts(), &received(&headers), NOW).unwrap();
    assert_eq!(signed.created(), NOW);
    assert_eq!(signed.nonce(), Bytes([31; 16]).to_base64());
}

#[test]
fn an_altered_request_is_refused() {
    let long = [BODY, b" "].concat();
    let table = [
        (RequestParts { method: "PUT", ..parts() }, SignatureError::Mac),
        (RequestParts { path: "/host/v1/reports", ..parts() }, SignatureError::Mac),
        (RequestParts { path: "/host/v1/check-in/", ..parts() }, SignatureError::Mac),
        (RequestParts { query: Some("a=1"), ..parts() }, SignatureError::Mac),
        (RequestParts { body: &BODY[..BODY.len() - 1], ..parts() }, SignatureError::Digest),
        (RequestParts { body: b"", ..parts() }, SignatureError::Digest),
        (RequestParts { body: &long, ..parts() }, SignatureError::Digest),
    ];
    let headers = signed(&parts());
    for (row, (altered, expected)) in table.into_iter().enumerate() {
        assert_eq!(verified(&altered, &headers), Err(expected), "row {row}");
    }
    let with_query = RequestParts { query: Some("a=1&b=2"), ..parts() };
    let headers = signed(&with_query);
    let reordered = RequestParts { query: Some("b=2&a=1"), ..parts() };
    assert_eq!(verified(&reordered, &headers), Err(SignatureError::Mac));
    assert_eq!(verified(&with_query, &headers), Ok(()));
}

#[test]
fn the_parts_of_a_request_target() {
    for (target, path, query) in [
        ("/a", "/a", None),
        ("/a?", "/a", Some("")),
        ("/a?b=1?c", "/a", Some("b=1?c")),
        ("", "", None),
    ] {
        let parts = RequestParts::new("GET", target, b"");
        assert_eq!((parts.path, parts.query), (path, query), "{target}");
    }
}

#[test]
fn an_empty_query_or_path_is_the_same_as_none() {
    let headers = signed(&RequestParts { path: "", query: Some(""), ..parts() });
    assert_eq!(verified(&RequestParts { path: "/", query: None, ..parts() }, &headers), Ok(()));
}

#[test]
fn an_old_or_future_request_is_refused() {
    let session = session();
    let headers = signed(&parts());
    let at = |now| verify(&session.key, &session.asset, &parts(), &received(&headers), now);
    for now in [NOW - MAX_CLOCK_SKEW, NOW + MAX_CLOCK_SKEW] {
        at(now).unwrap();
    }
    for now in [NOW - MAX_CLOCK_SKEW - 1, NOW + MAX_CLOCK_SKEW + 1, NOW + 3600, 0, u64::MAX] {
        assert_eq!(at(now), Err(SignatureError::Clock { created: NOW, now }));
    }
}

#[test]
fn another_sessions_key_or_asset_is_refused() {
    let session = session();
    let headers = signed(&parts());
    let other = SessionKey::from_bytes([1; 32]);
    let result = verify(&other, &session.asset, &parts(), &received(&headers), NOW);
    assert_eq!(result, Err(SignatureError::Mac));
    let result = verify(&session.key, &asset("a-db"), &parts(), &received(&headers), NOW);
    let expected = SignatureError::KeyId { got: "a-web".into(), expected: "a-db".into() };
    assert_eq!(result, Err(expected));
}

#[test]
fn an_absent_header_is_named() {
    for absent in ["authorization", "content-digest", "signature-input", "signature"] {
        let headers = signed(&parts());
        let present = ReceivedHeaders::find(|name| {
            let found = headers.iter().find(|(n, _)| *n == name && name != absent);
            found.map(|(_, value)| value.as_str())
        });
        let session = session();
        let result = verify(&session.key, &session.asset, &parts(), &present, NOW);
        assert_eq!(result, Err(SignatureError::Missing { header: absent }));
    }
}

#[test]
fn altered_headers_are_refused() {
    use SignatureError as E;
    type Check = fn(&E) -> bool;
    let malformed: Check = |e| matches!(e, E::Malformed { .. });
    let mac: Check = |e| *e == E::Mac;
    let components: Check = |e| *e == E::Components;
    let table: [(&str, &str, &str, Check); 18] = [
        ("authorization", "Bearer v4", "Bearer v5", mac),
        ("content-digest", "sha-256=:", "sha-256=", malformed),
        ("content-digest", "sha-256", "sha-512", malformed),
        ("signature-input", "created=1790000000", "created=1790000001", mac),
        ("signature-input", "created=1790000000", "created=-5", malformed),
        ("signature-input", "created=1790000000;", "", malformed),
        ("signature-input", "nonce=\"", "nonce=\"A", mac),
        ("signature-input", ";nonce", ";created=1790000000;nonce", malformed),
        ("signature-input", ";nonce", ";alg=\"none\";nonce", malformed),
        ("signature-input", "tag=\"xshield-v1\"", "tag=\"xshield-v2\"", |e| *e == E::Tag),
        ("signature-input", ";tag=\"xshield-v1\"", "", |e| *e == E::Tag),
        ("signature-input", "\"@method\" \"@path\"", "\"@path\" \"@method\"", components),
        ("signature-input", " \"content-digest\"", "", components),
        ("signature-input", "\"@method\" ", "\"@method\" \"@method\" ", components),
        ("signature-input", "\"@method\" ", "\"@method\"  ", malformed),
        ("signature-input", "xshield=", "other=", malformed),
        ("signature", "xshield=:", "xshield=:AAAA", malformed),
        ("signature", "xshield=:", "other=:", malformed),
    ];
    for (name, from, to, expected) in table {
        let mut headers = signed(&parts());
        let value = header(&mut headers, name);
        assert!(value.contains(from), "{value} has no {from}");
        *value = value.replacen(from, to, 1);
        let error = verified(&parts(), &headers).expect_err(to);
        assert!(expected(&error), "{name}: {from:?} -> {to:?}: {error:?}");
    }
}

#[test]
fn parameters_may_be_in_any_order_but_not_repeated() {
    let (_, params) = Params::parse(r#"();tag="t";keyid="k";created=1;nonce="n""#).unwrap();
    assert_eq!((params.created, params.keyid.as_str()), (1, "k"));
    let table = [
        ("", ParamsError::Components),
        ("(\"a\"", ParamsError::Components),
        ("(a);created=1;keyid=\"k\"", ParamsError::Components),
        ("();created=1", ParamsError::Incomplete),
        ("();keyid=\"k\"", ParamsError::Incomplete),
        ("();created=1;keyid=k", ParamsError::Parameter),
        ("();created=01;keyid=\"k\"", ParamsError::Parameter),
        ("();created=1234567890123456;keyid=\"k\"", ParamsError::Parameter),
        ("()x;created=1;keyid=\"k\"", ParamsError::Parameter),
        ("();created=1;keyid=\"a\\\"b\"", ParamsError::Parameter),
        ("();created=1;created=1;keyid=\"k\"", ParamsError::Repeated),
        ("();created=1;keyid=\"k\";expires=2", ParamsError::Unknown),
    ];
    for (text, expected) in table {
        assert_eq!(Params::parse(text).unwrap_err(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn parameters_read_back(
        created in 0u64..1_000_000_000_000_000,
        keyid in "[a-zA-Z0-9._-]{1,64}",
        nonce in prop::option::of("[a-zA-Z0-9+/=]{1,24}"),
        tagged: bool,
    ) {
        let tag = tagged.then(|| TAG.to_owned());
        let params = Params { created, keyid, nonce, tag };
        let text = params.serialize(&COMPONENTS);
        prop_assert_eq!(Params::parse(&text).unwrap(), (COMPONENTS.to_vec(), params));
    }

    #[test]
    fn signed_requests_verify(
        method in "[A-Z]{3,6}", path in "/[a-z0-9/%.-]{0,40}",
        query in prop::option::of("[a-z0-9=&%]{0,40}"), body: Vec<u8>, nonce: [u8; 16],
    ) {
        let session = session();
        let parts = RequestParts { method: &method, path: &path, query: query.as_deref(), body: &body };
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        let headers = sign(signer, &parts, NOW, Bytes(nonce));
        verified(&parts, &headers).unwrap();
    }

    #[test]
    fn one_altered_byte_in_a_header_is_refused(which in 0usize..4, at: prop::sample::Index, to in 32u8..127) {
        let original = signed(&parts());
        let mut headers = original.clone();
        let at = at.index(headers[which].1.len());
        headers[which].1.replace_range(at..=at, &char::from(to).to_string());
        prop_assume!(headers != original);
        prop_assert!(verified(&parts(), &headers).is_err(), "{:?}", headers);
    }

    #[test]
    fn any_headers_are_refused_without_panic(
        a in "\\PC{0,60}", d in "\\PC{0,60}", i in "xshield=\\PC{0,60}", s in "xshield=:\\PC{0,60}",
    ) {
        let session = session();
        let headers = ReceivedHeaders {
            authorization: Some(&a),
            content_digest: Some(&d),
            signature_input: Some(&i),
            signature: Some(&s),
        };
        prop_assert!(verify(&session.key, &session.asset, &parts(), &headers, NOW).is_err());
        let _ = headers.token();
    }
}
