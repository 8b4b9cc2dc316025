//! Without the session key, no headers verify; accepted parameters are written the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_policy::AssetId;
use xshield_wire::SessionKey;
use xshield_wire::signature::{COMPONENTS, Params, ReceivedHeaders, RequestParts, verify};

fuzz_target!(|input: (&str, &str, &str, &str)| {
    let (authorization, content_digest, signature_input, signature) = input;
    let asset: AssetId = "a-web".parse().unwrap();
    let request = RequestParts { method: "POST", path: "/", query: None, body: b"" };
    let headers = ReceivedHeaders {
        authorization: Some(authorization),
        content_digest: Some(content_digest),
        signature_input: Some(signature_input),
        signature: Some(signature),
    };
    let _ = headers.token();
    let key = SessionKey::from_bytes([1; 32]);
    assert!(verify(&key, &asset, &request, &headers, 1_790_000_000).is_err());
    if let Ok((_, params)) = Params::parse(signature_input) {
        let text = params.serialize(&COMPONENTS);
        assert_eq!(Params::parse(&text).unwrap(), (COMPONENTS.to_vec(), params));
    }
});
