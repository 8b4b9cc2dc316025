use super::{XmlError, read};
use crate::plan::Family;
use crate::wfp::eval::{Assumption, CalloutAnswer, EnginePhase, Ruling, Unknown, classify};
use crate::wfp::matching::PacketFacts;
use crate::wfp::model::{
    CalloutKind, FilterAction, FilterCondition, Flags, Lifetime, MatchType, ObjectKey, Value,
    Weight,
};
use crate::wfp::names::{FilterField, Layer};
use crate::wfp::reading::Reading;

/// A file in the format of `netsh wfp show state`, with `filter` as the content of a filter.
fn state(filter: &str) -> String {
    format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<wfpstate>
  <timeStamp>2026-01-02T03:04:05.678Z</timeStamp>
  <sessions numItems=\"0\"/>
  <layers numItems=\"1\">
    <item>
      <layer>
        <layerKey>FWPM_LAYER_ALE_AUTH_CONNECT_V4</layerKey>
        <field numItems=\"1\"><item><fieldKey>FWPM_CONDITION_FLAGS</fieldKey></item></field>
      </layer>
      <callouts/>
      <filters numItems=\"1\"><item>{filter}</item></filters>
    </item>
  </layers>
  <providers numItems=\"1\">
    <item>
      <providerKey>{{11111111-2222-3333-4444-555555555555}}</providerKey>
      <displayData><name>A &amp; B &#xe9;</name><description/></displayData>
      <flags numItems=\"1\"><item>FWPM_PROVIDER_FLAG_PERSISTENT</item></flags>
      <serviceName>absvc</serviceName>
    </item>
  </providers>
  <subLayers numItems=\"2\">
    <item>
      <subLayerKey>FWPM_SUBLAYER_UNIVERSAL</subLayerKey>
      <displayData><name>Universal</name></displayData><flags/><providerKey/><weight>256</weight>
    </item>
    <item>
      <subLayerKey>{{11111111-2222-3333-4444-666666666666}}</subLayerKey>
      <displayData><name>AB</name></displayData>
      <flags numItems=\"1\"><item>FWPM_SUBLAYER_FLAG_PERSISTENT</item></flags>
      <providerKey>{{11111111-2222-3333-4444-555555555555}}</providerKey><weight>32767</weight>
    </item>
  </subLayers>
</wfpstate>"
    )
}

const HEAD: &str = "<filterKey>{11111111-2222-3333-4444-777777777777}</filterKey>
  <displayData><name>block it</name><description>all of it</description></displayData>
  <flags numItems=\"2\"><item>FWPM_FILTER_FLAG_PERSISTENT</item><item>00000400</item></flags>
  <providerKey>{11111111-2222-3333-4444-555555555555}</providerKey>
  <providerData><data>ff</data><asString>.</asString></providerData>
  <layerKey>FWPM_LAYER_ALE_AUTH_CONNECT_V4</layerKey>
  <subLayerKey>{11111111-2222-3333-4444-666666666666}</subLayerKey>";
const WEIGHT: &str = "<weight><type>FWP_UINT8</type><uint8>9</uint8></weight>";
const BLOCK: &str = "<action><type>FWP_ACTION_BLOCK</type><filterType/></action>";
const TAIL: &str = "<rawContext>0</rawContext><reserved/><filterId>70123</filterId>
  <effectiveWeight><type>FWP_UINT64</type><uint64>10376293541461622784</uint64></effectiveWeight>";

/// A filter with this condition.
fn with(match_type: &str, value: &str) -> String {
    let condition = format!(
        "<filterCondition numItems=\"1\"><item><fieldKey>FWPM_CONDITION_IP_REMOTE_ADDRESS</fieldKey>
           <matchType>{match_type}</matchType><conditionValue>{value}</conditionValue></item>
         </filterCondition>"
    );
    state(&format!("{HEAD}{WEIGHT}{condition}{BLOCK}{TAIL}"))
}

#[test]
fn objects_are_parsed() {
    let empty = "<filterCondition/>";
    let read = read(&state(&format!("{HEAD}{WEIGHT}{empty}{BLOCK}{TAIL}"))).unwrap();
    let provider: ObjectKey =
        ObjectKey::Guid("{11111111-2222-3333-4444-555555555555}".parse().unwrap());
    assert_eq!(read.provider_name(Some(&provider)), format!("A & B é {provider}"));
    assert_eq!(read.providers[0].service.as_deref(), Some("absvc"));
    let weights: Vec<u16> = read.sublayers.iter().map(|sublayer| sublayer.weight).collect();
    let lifetimes: Vec<Lifetime> = read.sublayers.iter().map(|s| s.lifetime).collect();
    assert_eq!(
        (weights, lifetimes),
        (vec![256, 32767], vec![Lifetime::Static, Lifetime::Persistent])
    );
    let [filter] = &read.filters[..] else { panic!("one filter, not {}", read.filters.len()) };
    assert_eq!((&*filter.name, &*filter.description), ("block it", "all of it"));
    assert_eq!(filter.flags, Flags::PERSISTENT);
    assert_eq!(filter.layer, Layer::Connect(Family::V4));
    assert_eq!((filter.weight, filter.rank()), (Weight::Within(9), 9 << 60));
    assert_eq!((filter.action.clone(), filter.id), (FilterAction::Block, Some(70123)));
    assert_eq!((filter.provider.as_ref(), &filter.conditions[..]), (Some(&provider), &[][..]));
    // And it can be evaluated.
    let assumption = Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };
    let at = (EnginePhase::Running, assumption);
    let outcome = classify(&read, &filter.layer, &PacketFacts::default(), at, &Reading::USUAL);
    assert_eq!((outcome.ruling, outcome.by), (Ruling::Block, Some(filter)));
}

#[test]
fn values_are_parsed() {
    let range = "<type>FWP_RANGE_TYPE</type><rangeValue>
        <valueLow><type>FWP_UINT32</type><uint32>10.0.0.1</uint32></valueLow>
        <valueHigh><type>FWP_UINT32</type><uint32>10.0.0.9</uint32></valueHigh></rangeValue>";
    for (text, wanted) in [
        ("<type>FWP_EMPTY</type>", Value::Empty),
        ("<type>FWP_UINT8</type><uint8>6</uint8>", Value::U8(6)),
        ("<type>FWP_UINT16</type><uint16>443</uint16>", Value::U16(443)),
        ("<type>FWP_UINT32</type><uint32>786432</uint32>", Value::U32(786_432)),
        ("<type>FWP_UINT32</type><uint32>10.0.0.1</uint32>", Value::U32(0x0a00_0001)),
        ("<type>FWP_UINT64</type><uint64>7</uint64>", Value::U64(7)),
        (
            "<type>FWP_BYTE_ARRAY16_TYPE</type><byteArray16>fe80::1%12</byteArray16>",
            Value::V6(0xfe80 << 112 | 1),
        ),
        (range, Value::Range(Box::new((Value::U32(0x0a00_0001), Value::U32(0x0a00_0009))))),
        (
            "<type>FWP_BYTE_BLOB_TYPE</type><byteBlob><data>5C00</data><asString>.</asString></byteBlob>",
            Value::Blob(vec![0x5c, 0]),
        ),
        ("<type>FWP_BYTE_BLOB_TYPE</type><byteBlob/>", Value::Blob(vec![])),
        ("<type>FWP_SID</type><sid>S-1-15-2-1</sid>", Value::Sid("S-1-15-2-1".to_owned())),
        (
            "<type>FWP_SECURITY_DESCRIPTOR_TYPE</type><sd>O:LSD:(A;;CC;;;S-1-5-18)</sd>",
            Value::SecurityDescriptor("O:LSD:(A;;CC;;;S-1-5-18)".to_owned()),
        ),
        (
            "<type>FWP_V4_ADDR_MASK</type><v4AddrMask><addr>10.0.0.0</addr><mask>255.0.0.0</mask></v4AddrMask>",
            Value::V4Mask { address: 0x0a00_0000, mask: 0xff00_0000 },
        ),
        (
            "<type>FWP_V6_ADDR_MASK</type><v6AddrMask><addr>fe80::</addr><prefixLength>10</prefixLength></v6AddrMask>",
            Value::V6Mask { address: 0xfe80 << 112, length: 10 },
        ),
        (
            "<type>FWP_TOKEN_INFORMATION_TYPE</type>",
            Value::Other("FWP_TOKEN_INFORMATION_TYPE".to_owned()),
        ),
    ] {
        let state = read(&with("FWP_MATCH_EQUAL", text)).unwrap();
        let field = FilterField::RemoteAddress;
        let wanted = FilterCondition { field, match_type: MatchType::Equal, value: wanted };
        assert_eq!(state.filters[0].conditions, [wanted], "{text}");
    }
}

#[test]
fn actions_are_parsed() {
    let of = |name: &str| {
        let action = format!("<action><type>{name}</type><calloutKey>THEIRS</calloutKey></action>");
        read(&state(&format!("{HEAD}{WEIGHT}<filterCondition/>{action}{TAIL}")))
            .map(|state| state.filters[0].action.clone())
    };
    let callout = |kind| FilterAction::Callout { kind, callout: "THEIRS".to_owned() };
    for (name, wanted) in [
        ("FWP_ACTION_PERMIT", FilterAction::Permit),
        ("FWP_ACTION_BLOCK", FilterAction::Block),
        ("FWP_ACTION_CALLOUT_TERMINATING", callout(CalloutKind::Terminating)),
        ("FWP_ACTION_CALLOUT_INSPECTION", callout(CalloutKind::Inspection)),
        ("FWP_ACTION_CALLOUT_UNKNOWN", callout(CalloutKind::Unknown)),
    ] {
        assert_eq!(of(name).unwrap(), wanted);
    }
    assert!(of("FWP_ACTION_SOMETHING").is_err());
}

#[test]
fn errors_name_what_is_wrong() {
    let number = "<type>FWP_UINT8</type><uint8>256</uint8>";
    let key = "filter {11111111-2222-3333-4444-777777777777}: ";
    let object = |reason: &str| format!("{key}{reason}");
    let whole = with("FWP_MATCH_EQUAL", "<type>FWP_UINT8</type><uint8>6</uint8>");
    let cut = &whole[..whole.len() / 2];
    let deep = "<a>".repeat(100);
    for (text, says) in [
        (with("FWP_MATCH_EQUAL", number), object("\"256\" is no number of its type")),
        (with("FWP_MATCH_LIKE", number), object("a condition has the unknown match type")),
        (with("FWP_MATCH_EQUAL", "<type>FWP_UINT8</type>"), object("a FWP_UINT8 has no uint8")),
        (
            with(
                "FWP_MATCH_EQUAL",
                "<type>FWP_BYTE_BLOB_TYPE</type><byteBlob><data>5</data></byteBlob>",
            ),
            object("its bytes are not pairs"),
        ),
        (
            with(
                "FWP_MATCH_EQUAL",
                "<type>FWP_BYTE_BLOB_TYPE</type><byteBlob><data>5é</data></byteBlob>",
            ),
            object("its bytes are not pairs"),
        ),
        (state(&format!("{HEAD}{WEIGHT}<filterCondition/>{TAIL}")), object("has no action")),
        (state("<filterKey>{11}</filterKey>"), "filter {11}: \"{11}\" is not a GUID".to_owned()),
        (state(""), "filter without a key: has no filterKey".to_owned()),
        (cut.to_owned(), "not well-formed XML at byte".to_owned()),
        (String::new(), "there is no element".to_owned()),
        ("<a/><b/>".to_owned(), "more than one root element".to_owned()),
        ("</a>".to_owned(), "not well-formed XML".to_owned()),
        ("<a>&nothing;</a>".to_owned(), "unknown entity &nothing;".to_owned()),
        (deep, "nested deeper than 64".to_owned()),
    ] {
        match read(&text) {
            Err(error) => assert!(error.to_string().contains(&says), "{says}: {error}"),
            Ok(_) => panic!("{says}: was read"),
        }
    }
    let error = read("<a><b></a></b>").unwrap_err();
    assert!(matches!(error, XmlError::Malformed { .. }), "{error}");
}

#[test]
fn a_truncated_file_is_refused() {
    let whole = with("FWP_MATCH_EQUAL", "<type>FWP_UINT32</type><uint32>10.0.0.1</uint32>");
    assert!(read(&whole).is_ok());
    for (at, _) in whole.char_indices() {
        assert!(read(&whole[..at]).is_err(), "{}", &whole[..at]);
    }
}
