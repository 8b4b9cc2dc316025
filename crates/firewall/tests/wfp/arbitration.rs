//! The model of filter arbitration compared with Microsoft's documentation, and the consequences for us.

use proptest::prelude::*;
use xshield_firewall::plan::Family;
use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, Ruling, Unknown, classify, classify_all,
};
use xshield_firewall::wfp::matching::{Fact, PacketFacts};
use xshield_firewall::wfp::model::{
    CalloutKind, EngineState, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType,
    SubLayer, Value, Weight,
};
use xshield_firewall::wfp::names::{FilterField, Layer};
use xshield_firewall::wfp::ours;
use xshield_firewall::wfp::reading::{
    CalloutBlock, ClearRight, EqualWeight, HardPermit, NegativeOnEmpty, Reading, SameField,
    Unmatched,
};
use xshield_firewall::wfp::{Guid, plan, traffic};
use xshield_policy::Verdict;

use crate::common::{bound, packet};
use crate::world::{PLAIN, holding, programs};

const LAYER: Layer = Layer::Connect(Family::V4);

/// A sublayer of another product, by its weight.
fn sublayer(weight: u16) -> SubLayer {
    SubLayer {
        key: Guid(weight.into()).into(),
        name: "other".into(),
        provider: None,
        weight,
        lifetime: Lifetime::Static,
    }
}

fn filter(sublayer: u16, weight: u64, action: &str, conditions: Vec<FilterCondition>) -> Filter {
    let callout = |kind| FilterAction::Callout { kind, callout: "driver".to_owned() };
    let (kind, flags) = match action.strip_suffix('!') {
        Some(kind) => (kind, Flags::CLEAR_ACTION_RIGHT),
        None => (action, Flags::default()),
    };
    let action = match kind {
        "permit" => FilterAction::Permit,
        "block" => FilterAction::Block,
        "callout" => callout(CalloutKind::Terminating),
        "maybe" => callout(CalloutKind::Unknown),
        "inspect" => callout(CalloutKind::Inspection),
        other => unreachable!("no action {other}"),
    };
    Filter {
        key: Guid(u128::from(sublayer) << 64 | u128::from(weight)).into(),
        name: "other".into(),
        description: "".into(),
        flags,
        provider: None,
        layer: LAYER,
        sublayer: Guid(sublayer.into()).into(),
        weight: Weight::Exact(weight),
        effective_weight: None,
        conditions,
        action,
        id: None,
    }
}

/// `SUBLAYER:WEIGHT ACTION` of filters that match everything; `!` sets the flag.
fn filters(text: &str) -> EngineState {
    let mut state = EngineState::default();
    for word in text.split(", ").filter(|word| !word.is_empty()) {
        let (place, action) = word.split_once(' ').unwrap();
        let (sub, weight) = place.split_once(':').unwrap();
        let (sub, weight): (u16, u64) = (sub.parse().unwrap(), weight.parse().unwrap());
        if state.sublayers.iter().all(|known| known.weight != sub) {
            state.sublayers.push(sublayer(sub));
        }
        state.filters.push(filter(sub, weight, action, Vec::new()));
    }
    state
}

fn ruling(text: &str, callouts: CalloutAnswer, reading: &Reading) -> Ruling {
    let assumption = Assumption { callouts, ..PLAIN };
    let state = filters(text);
    classify(&state, &LAYER, &PacketFacts::default(), (EnginePhase::Running, assumption), reading)
        .ruling
}

#[test]
fn uncontradicted_documentation_holds_under_every_reading() {
    use CalloutAnswer::{Blocks, Continues, Permits};
    use Ruling::{Block, Permit};
    for (text, callouts, wanted) in [
        // Within a sublayer the highest weight decides, and lower ones are skipped.
        ("5:9 permit, 5:8 block", Continues, Permit),
        ("5:9 block, 5:8 permit", Continues, Block),
        ("5:8 block, 5:9 permit", Continues, Permit),
        // A filter that neither permits nor blocks leaves it to the next.
        ("5:9 inspect, 5:8 block", Blocks, Block),
        ("5:9 maybe, 5:8 block", Continues, Block),
        ("5:9 maybe, 5:8 block", Permits, Permit),
        ("5:9 callout, 5:8 permit", Blocks, Block),
        // A plain block is final, and lower sublayers don't override it.
        ("9:1 block, 5:1 permit", Continues, Block),
        ("9:1 block, 5:1 permit!", Continues, Block),
        // A permit that is never hard can be overridden.
        ("9:1 maybe, 5:1 block", Permits, Block),
    ] {
        for reading in Reading::all() {
            assert_eq!(ruling(text, callouts, &reading), wanted, "{text} under {reading:?}");
        }
    }
}

#[test]
fn each_open_question_has_two_answers_that_differ() {
    use CalloutAnswer::{Blocks, Continues};
    use Ruling::{Block, Permit};
    let usual = Reading::USUAL;
    let cleared = Reading { clear_right: ClearRight::ClearedIsHard, ..usual };
    let yields = Reading { hard_permit: HardPermit::YieldsToAnyBlock, ..usual };
    let hard_callouts = Reading { callout_block: CalloutBlock::Hard, ..usual };
    let last = Reading { equal_weight: EqualWeight::LastAdded, ..usual };
    let blocked = Reading { unmatched: Unmatched::Blocked, ..usual };
    for (text, callouts, first, (other, second)) in [
        ("9:1 permit, 5:1 block", Continues, Block, (cleared, Permit)),
        ("9:1 permit!, 5:1 block", Continues, Permit, (cleared, Block)),
        ("9:1 permit!, 5:1 block", Continues, Permit, (yields, Block)),
        ("9:1 callout, 5:1 permit", Blocks, Permit, (hard_callouts, Block)),
        ("5:1 permit, 5:1 block", Continues, Permit, (last, Block)),
        ("", Continues, Permit, (blocked, Block)),
    ] {
        assert_eq!(ruling(text, callouts, &usual), first, "{text} as usual");
        assert_eq!(ruling(text, callouts, &other), second, "{text} under {other:?}");
    }
    // A veto, on which all readings agree.
    for reading in [usual, yields, hard_callouts] {
        assert_eq!(ruling("9:1 permit!, 5:1 callout", Blocks, &reading), Block, "{reading:?}");
    }
}

#[test]
fn conditions_match_values() {
    use MatchType::{Equal, FlagsAllSet, FlagsNoneSet, NotEqual, Range};
    let port =
        |match_type, value| FilterCondition { field: FilterField::RemotePort, match_type, value };
    let local =
        |match_type, value| FilterCondition { field: FilterField::LocalPort, match_type, value };
    let address =
        |value| FilterCondition { field: FilterField::RemoteAddress, match_type: Equal, value };
    let flags = |match_type| FilterCondition {
        field: FilterField::Flags,
        match_type,
        value: Value::U32(5),
    };
    let range = |first, last| Value::Range(Box::new((Value::U16(first), Value::U16(last))));
    let facts = PacketFacts(
        [
            (FilterField::RemotePort, Fact::Number(443)),
            (FilterField::LocalPort, Fact::Empty),
            (FilterField::RemoteAddress, Fact::Number(0x0a00_0105)),
            (FilterField::Flags, Fact::Number(1)),
        ]
        .into(),
    );
    let usual = Reading::USUAL;
    let with = |same_field| Reading { same_field, ..usual };
    let fails = Reading { negative_on_empty: NegativeOnEmpty::Fails, ..usual };
    let mask = |mask| Value::V4Mask { address: 0x0a00_0100, mask };
    let two = || vec![port(Equal, Value::U16(80)), port(Equal, Value::U16(443))];
    let apart = || {
        let far = local(Equal, Value::Empty);
        vec![port(Equal, Value::U16(80)), far, port(Equal, Value::U16(443))]
    };
    for (conditions, reading, wanted) in [
        (vec![port(Equal, Value::U16(443))], usual, true),
        (vec![port(NotEqual, Value::U16(443))], usual, false),
        (vec![port(Range, range(443, 443))], usual, true),
        (vec![port(Range, range(444, 500))], usual, false),
        (vec![address(mask(0xffff_ff00))], usual, true),
        (vec![address(mask(0xffff_fffe))], usual, false),
        (vec![flags(FlagsAllSet)], usual, false),
        (vec![flags(FlagsNoneSet)], usual, false),
        (vec![local(Equal, Value::Empty)], usual, true),
        (vec![local(Equal, Value::U16(0))], usual, false),
        (vec![local(NotEqual, Value::U16(1))], usual, true),
        (vec![local(NotEqual, Value::U16(1))], fails, false),
        (two(), with(SameField::AnyOfNeighbours), true),
        (two(), with(SameField::All), false),
        (two(), with(SameField::Refused), false),
        (apart(), with(SameField::AnyOfNeighbours), false),
        (
            vec![port(Equal, Value::U16(443)), local(Equal, Value::Empty)],
            with(SameField::Refused),
            true,
        ),
    ] {
        let mut state = filters("5:0 permit");
        state.filters.push(filter(5, 1, "block", conditions.clone()));
        let got = classify(&state, &LAYER, &facts, (EnginePhase::Running, PLAIN), &reading).ruling;
        assert_eq!(got == Ruling::Block, wanted, "{conditions:?} under {reading:?}");
    }
}

#[test]
fn unknown_values_are_evaluated_both_ways() {
    let mut state = filters("5:0 permit");
    let interface = FilterField::named("FWPM_CONDITION_ARRIVAL_INTERFACE_TYPE");
    let condition =
        FilterCondition { field: interface, match_type: MatchType::Equal, value: Value::U32(6) };
    state.filters.push(filter(5, 1, "block", vec![condition]));
    for (unknown, wanted) in [(Unknown::Matches, Ruling::Block), (Unknown::Differs, Ruling::Permit)]
    {
        let assumption = Assumption { unknown, ..PLAIN };
        let at = (EnginePhase::Running, assumption);
        let got = classify(&state, &LAYER, &PacketFacts::default(), at, &Reading::USUAL).ruling;
        assert_eq!(got, wanted, "{unknown:?}");
    }
}

#[test]
fn disabled_and_boot_time_filters() {
    for (flags, phase, wanted) in [
        (Flags::DISABLED, EnginePhase::Running, Ruling::Permit),
        (Flags::BOOT_TIME, EnginePhase::Running, Ruling::Permit),
        (Flags::BOOT_TIME, EnginePhase::Starting, Ruling::Block),
        (Flags::PERSISTENT, EnginePhase::Running, Ruling::Block),
    ] {
        let mut state = filters("5:1 permit, 5:2 block");
        state.filters[1].flags = flags;
        let at = (phase, PLAIN);
        let got = classify(&state, &LAYER, &PacketFacts::default(), at, &Reading::USUAL).ruling;
        assert_eq!(got, wanted, "{flags:?} {phase:?}");
    }
}

/// Filters of others that match everything, in sublayers of any weight except ours.
fn others(below: bool) -> impl Strategy<Value = Vec<(u16, u64, String)>> {
    let weight = if below { 0..ours::SUBLAYER_WEIGHT } else { ours::SUBLAYER_WEIGHT + 1..u16::MAX };
    let action = prop_oneof![
        Just("permit"),
        Just("permit!"),
        Just("block"),
        Just("block!"),
        Just("callout"),
        Just("maybe")
    ];
    proptest::collection::vec((weight, 0u64..4, action.prop_map(str::to_owned)), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]
    /// Whatever other products have below our sublayer, what policy denies stays denied, under every reading
    /// and whatever their drivers answer. Above it, only a hard permit can override a denial; the coexistence
    /// report shows these.
    #[test]
    fn a_denial_holds_under_any_lower_sublayers(
        bound in bound(),
        packets in proptest::collection::vec(packet(), 10),
        others in others(true),
    ) {
        let plan = plan(&bound, &programs()).unwrap();
        let mut state = holding(&plan);
        for layer in Layer::planned() {
            for (sub, weight, action) in &others {
                if state.sublayers.iter().all(|known| known.weight != *sub) {
                    state.sublayers.push(sublayer(*sub));
                }
                let foreign = filter(*sub, *weight, action, Vec::new());
                state.filters.insert(0, Filter { layer: layer.clone(), ..foreign });
            }
        }
        for packet in &packets {
            if xshield_policy::decide(&bound, packet).verdict != Verdict::Deny {
                continue;
            }
            for (layer, facts) in traffic::classifications(packet, &programs()) {
                for callouts in [CalloutAnswer::Permits, CalloutAnswer::Blocks, CalloutAnswer::Continues] {
                    let at = (EnginePhase::Running, Assumption { callouts, ..PLAIN });
                    for (reading, outcome) in classify_all(&state, &layer, &facts, at) {
                        prop_assert_eq!(outcome.ruling, Ruling::Block, "{} {:?}", packet, reading);
                    }
                }
            }
        }
    }
}
