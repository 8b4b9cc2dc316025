//! What is added is what is kept, and what is read.

use xshield_firewall::plan::Family;
use xshield_firewall::wfp::eval::EnginePhase;
use xshield_firewall::wfp::model::{
    EngineState, Filter, FilterAction, FilterCondition, Flags, MatchType, Value, Weight,
};
use xshield_firewall::wfp::names::{FilterField, Layer};
use xshield_firewall::wfp::windows::app_id;
use xshield_firewall::wfp::{
    EngineFault, FilterEngine, Guid, ObjectChange, SessionKind, Transaction, difference, ours,
    trial,
};
use xshield_wfp_double::store::{RawValue, kind};

use crate::double::{Double, by_key, decides, host, old_and_new};

#[test]
fn a_plan_is_read_back_as_it_was_added() {
    let ((bound, plan), _) = old_and_new();
    let double = Double::holding(&plan);
    let read = host().read().unwrap();
    assert_eq!(difference(Some(&plan), &read), Default::default());
    // The double's own view, which shares no code with what was read, and the engine in memory.
    assert_eq!(by_key(&read), by_key(&double.state()));
    let mut memory = EngineState::default();
    crate::double::install(&mut memory, &plan);
    assert_eq!(by_key(&read), by_key(&memory));
    assert_eq!((&read.providers, &read.sublayers), (&memory.providers, &memory.sublayers));
    for state in [&read, &double.state()] {
        decides(state, &bound, &EnginePhase::ALL).unwrap();
    }
    // Boot-time filters are half of them: no enumeration forgot them.
    let at_boot = |filter: &&Filter| filter.flags.contains(Flags::BOOT_TIME);
    assert_eq!(read.filters.iter().filter(at_boot).count() * 2, read.filters.len());
    assert!(read.filters.iter().all(|filter| filter.id.is_some()));
}

#[test]
fn a_restart_keeps_persistent_and_boot_time_objects() {
    let ((old, before), (_, after)) = old_and_new();
    let double = Double::holding(&before);
    let mut engine = host();
    engine.commit(&trial::begin(&after)).unwrap();
    drop(engine);
    double.directory.edit(xshield_wfp_double::store::Store::restart).unwrap();
    decides(&double.state(), &old, &EnginePhase::ALL).unwrap();
    assert_eq!(difference(Some(&before), &host().read().unwrap()), Default::default());
}

/// One filter with one condition.
fn filter(layer: Layer, field: FilterField, match_type: MatchType, value: Value) -> Filter {
    Filter {
        key: Guid(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10).into(),
        name: "Xshield \u{e4}\u{1f980}".into(),
        description: "".into(),
        flags: Flags::default(),
        provider: Some(ours::PROVIDER.into()),
        layer,
        sublayer: ours::SUBLAYER.into(),
        weight: Weight::Exact(0x0123_4567_89ab_cdef),
        effective_weight: None,
        conditions: vec![FilterCondition { field, match_type, value }],
        action: FilterAction::Block,
        id: None,
    }
}

#[test]
fn values_are_as_windows_has_them() {
    let (v4, v6) = (Layer::Connect(Family::V4), Layer::Connect(Family::V6));
    let app = "\\device\\x\u{1f980}\0";
    let app: Vec<u8> = app.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let number = RawValue::Number;
    let loopback = |bytes: [u8; 16]| RawValue::Bytes(kind::BYTES16, bytes.to_vec());
    let mut fe80 = [0; 16];
    fe80[..2].copy_from_slice(&[0xfe, 0x80]);
    let mut one = [0; 16];
    one[15] = 1;
    let range = |low, high| Value::Range(Box::new((low, high)));
    use FilterField::{AppId, Flags as FlagsField, LocalPort, Protocol, RemoteAddress, UserId};
    use MatchType::{Equal, FlagsAllSet, Greater, NotEqual, Range};
    for (layer, field, how, value, wanted) in [
        (&v4, Protocol, Equal, Value::U8(6), number(kind::UINT8, 6)),
        (&v4, LocalPort, Greater, Value::U16(443), number(kind::UINT16, 443)),
        (&v4, FlagsField, FlagsAllSet, Value::U32(1), number(kind::UINT32, 1)),
        // 10.0.0.5, in the order of the host.
        (&v4, RemoteAddress, Equal, Value::U32(0x0a00_0005), number(kind::UINT32, 0x0a00_0005)),
        (
            &v4,
            RemoteAddress,
            NotEqual,
            Value::V4Mask { address: 0x0a00_0000, mask: 0xff00_0000 },
            RawValue::V4(0x0a00_0000, 0xff00_0000),
        ),
        (
            &v4,
            RemoteAddress,
            Range,
            range(Value::U32(1), Value::U32(2)),
            RawValue::Range(Box::new((number(kind::UINT32, 1), number(kind::UINT32, 2)))),
        ),
        // ::1, in the order of the network.
        (&v6, RemoteAddress, Equal, Value::V6(1), loopback(one)),
        (
            &v6,
            RemoteAddress,
            Equal,
            Value::V6Mask { address: 0xfe80 << 112, length: 10 },
            RawValue::V6(fe80, 10),
        ),
        (
            &v6,
            RemoteAddress,
            Range,
            range(Value::V6(1), Value::V6(0xfe80 << 112)),
            RawValue::Range(Box::new((loopback(one), loopback(fe80)))),
        ),
        (&v4, AppId, Equal, Value::Blob(app.clone()), RawValue::Bytes(kind::BLOB, app.clone())),
        (
            &v4,
            UserId,
            Equal,
            Value::SecurityDescriptor("O:SYG:SYD:(A;;CCRC;;;S-1-5-18)".into()),
            RawValue::Bytes(
                kind::DESCRIPTOR,
                vec![
                    1, 0, 4, 0x80, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 1, 1, 0, 0,
                    0, 0, 0, 5, 18, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, 2, 0, 28, 0, 1,
                    0, 0, 0, 0, 0, 20, 0, 1, 0, 2, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
                ],
            ),
        ),
    ] {
        let double = Double::new();
        let mut engine = host();
        engine.commit(&trial::prepare(&EngineState::default()).unwrap()).unwrap();
        let added = filter(layer.clone(), field, how, value);
        let change = ObjectChange::AddFilter(Box::new(added.clone()));
        let transaction = Transaction { session: SessionKind::Lasting, changes: vec![change] };
        engine.commit(&transaction).unwrap_or_else(|error| panic!("{added:?}: {error}"));
        let store = double.directory.load().unwrap();
        let kept = store.filters.values().next().unwrap();
        assert_eq!(kept.key, "{01020304-0506-0708-090a-0b0c0d0e0f10}");
        assert_eq!(kept.name.as_deref(), Some("Xshield \u{e4}\u{1f980}"));
        assert_eq!(kept.weight, RawValue::Number(kind::UINT64, 0x0123_4567_89ab_cdef));
        assert_eq!(kept.action, 0x1001);
        assert_eq!(kept.conditions[0].value, wanted);
        let read = engine.read().unwrap();
        assert!(read.filters[0].is_same_as(&added), "{:?} is not {added:?}", read.filters[0]);
    }
}

#[test]
fn a_program_is_identified_by_its_device_path() {
    let _double = Double::new();
    let path = std::env::current_exe().unwrap();
    let app = app_id(path.to_str().unwrap()).unwrap();
    let text = app.to_string();
    assert!(text.starts_with(r"\device\harddiskvolume") && text.ends_with(".exe"), "{text}");
    assert_eq!(text, text.to_lowercase());
    for missing in ["", "C:\\none\\such.exe", "a\0b"] {
        let error = app_id(missing).unwrap_err();
        assert_eq!(error.fault, EngineFault::NoSuchFile, "{missing:?}: {error}");
    }
}
