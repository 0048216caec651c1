//! The borrowed view against prost, on good bytes, foreign bytes, damaged bytes and noise.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message as _;
use quadrille_proto::{Event, EventError, EventView, limits, record};

use crate::samples;

fn encode(event: &Event) -> Bytes {
    let mut out = BytesMut::new();
    event.encode(&mut out);
    assert_eq!(out.len(), event.encoded_len());
    out.freeze()
}

/// What the view reads, as prost's own type.
fn as_message(view: &EventView<'_>) -> record::Event {
    let header = |(name, value): (&str, &[u8])| record::Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    record::Event {
        id: view.id.to_owned(),
        r#type: view.ty.to_owned(),
        source: view.source.to_owned(),
        saga: view.saga.to_owned(),
        key: view.key.to_owned(),
        subject: view.subject.to_owned(),
        turn: view.turn,
        schema: view.schema,
        time: view.time,
        cause: view.cause.to_owned(),
        content_type: view.content_type.to_owned(),
        traceparent: view.traceparent.to_owned(),
        headers: view.headers().map(header).collect(),
        data: Bytes::copy_from_slice(view.data),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9.-]{1,40}", "\\PC{0,90}"]
}

prop_compose! {
    fn message()(
        texts in proptest::collection::vec(text(), 9),
        (turn, schema, time) in any::<(u32, u32, u64)>(),
        headers in proptest::collection::vec((text(), any::<Vec<u8>>()), 0..4),
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) -> record::Event {
        let header = |(name, value): (String, Vec<u8>)| record::Header { name, value: value.into() };
        let mut texts = texts.into_iter();
        let mut next = || texts.next().expect("nine texts");
        record::Event {
            id: next(), r#type: next(), source: next(), saga: next(), key: next(), subject: next(),
            turn, schema, time,
            cause: next(), content_type: next(), traceparent: next(),
            headers: headers.into_iter().map(header).collect(),
            data: data.into(),
        }
    }
}

/// The view accepts exactly what prost accepts (groups apart, which prost skips) and reads the same.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    match (EventView::parse(bytes), record::Event::decode(bytes)) {
        (Ok(view), Ok(message)) => prop_assert_eq!(as_message(&view), message),
        (Err(_), Err(_)) => {}
        (Err(EventError::WireType { field: "unknown" }), Ok(_)) => {}
        (view, message) => prop_assert!(false, "{view:?} but prost says {message:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_events_read_as_prost_reads_them(message in message()) {
        let bytes = message.encode_to_vec();
        let view = EventView::parse(&bytes).unwrap();
        prop_assert_eq!(as_message(&view), message);
        prop_assert_eq!(view.encoded_len(), bytes.len());
    }

    #[test]
    fn owned_events_encode_as_prost_encodes_them(message in message()) {
        let bytes = message.encode_to_vec();
        let event = Event::decode(&bytes).unwrap();
        let encoded = encode(&event);
        // Unlike prost, an empty name or value of a header is written; both read the same.
        prop_assert_eq!(record::Event::decode(encoded.clone()).unwrap(), message.clone());
        if message.headers.iter().all(|h| !h.name.is_empty() && !h.value.is_empty()) {
            prop_assert_eq!(&encoded[..], &bytes[..]);
        }
        prop_assert_eq!(Event::decode(&encoded), Ok(event));
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        agree(&bytes)?;
    }

    /// Small bytes are tags and lengths, so this gets deep into messages.
    #[test]
    fn plausible_noise_never_panics(
        bytes in proptest::collection::vec(prop_oneof![0_u8..20, 0_u8..128, any::<u8>()], 0..60),
    ) {
        agree(&bytes)?;
    }

    #[test]
    fn damaged_events_never_panic(
        message in message(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message.encode_to_vec();
        prop_assume!(!bytes.is_empty());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agree(&bytes)?;
    }

    /// Two messages after each other are one, in which the later field wins: any order, any repeat.
    #[test]
    fn later_fields_win(first in message(), second in message()) {
        let mut bytes = first.encode_to_vec();
        bytes.extend(second.encode_to_vec());
        agree(&bytes)?;
    }
}

#[test]
fn an_event_cut_anywhere_is_an_error_or_shorter_by_whole_fields() {
    let bytes = encode(&samples::event());
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        agree(cut).unwrap();
        match EventView::parse(cut) {
            Ok(view) => assert!(Event::from(view) != samples::event(), "{length}"),
            Err(error) => assert_eq!(error, EventError::Truncated, "{length}"),
        }
    }
}

#[test]
fn unknown_fields_are_passed_over() {
    // 14 as text, 16 as varint, 17 as fixed64, 18 as fixed32, then the type.
    let bytes = b"\x72\x01x\x80\x01\x96\x01\x89\x01\0\0\0\0\0\0\0\0\x95\x01\0\0\0\0\x12\x01t";
    assert_eq!(EventView::parse(bytes).unwrap().ty, "t");
    agree(bytes).unwrap();
}

#[test]
fn foreign_bytes_get_errors_that_name_what_is_wrong() {
    let cases: [(&[u8], EventError, &str); 9] = [
        (b"\x0a\x05ab", EventError::Truncated, "event_truncated"),
        (b"\x80", EventError::Truncated, "event_truncated"),
        (b"\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", EventError::Varint, "event_varint"),
        (b"\x48\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0", EventError::Varint, "event_varint"),
        (b"\0\0", EventError::FieldNumber, "event_field_number"),
        (b"\x08\0", EventError::WireType { field: "id" }, "event_wire_type"),
        (b"\x73\x74", EventError::WireType { field: "unknown" }, "event_wire_type"),
        (b"\x1a\x01\xff", EventError::Utf8 { field: "source" }, "event_not_utf8"),
        (b"\x6a\x03\x0a\x01\xff", EventError::Utf8 { field: "header name" }, "event_not_utf8"),
    ];
    for (bytes, error, code) in cases {
        assert_eq!(EventView::parse(bytes).unwrap_err(), error);
        assert_eq!(error.code(), code);
    }
}

#[test]
fn headers_keep_order_and_repeats_and_the_last_of_a_name_counts() {
    let bytes = encode(&Event::new("t").header("a", "1").header("b", "").header("a", "2"));
    let view = EventView::parse(&bytes).unwrap();
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(headers, [("a", &b"1"[..]), ("b", b""), ("a", b"2")]);
    assert_eq!(view.header("a"), Some(&b"2"[..]));
    assert_eq!(view.header("c"), None);
}

#[test]
fn headers_may_stand_among_other_fields() {
    let bytes = b"\x6a\x03\x0a\x01a\x12\x01t\x38\x05\x6a\x03\x0a\x01b\x7a\x01d";
    let view = EventView::parse(bytes).unwrap();
    assert_eq!(view.headers().map(|(name, _)| name).collect::<String>(), "ab");
    agree(bytes).unwrap();
}

#[test]
fn check_names_the_limit() {
    let good = Event::new("t").id("1");
    let long = "x".repeat(limits::MAX_TEXT + 1);
    let too_long = |field| Err(EventError::TooLong { field, length: 256 });
    assert_eq!(good.view().check(), Ok(()));
    assert_eq!(good.clone().id("").view().check(), Err(EventError::Missing { field: "id" }));
    assert_eq!(Event::new("").id("1").view().check(), Err(EventError::Missing { field: "type" }));
    assert_eq!(Event::new(&long).id("1").view().check(), too_long("type"));
    assert_eq!(good.clone().id(&long).view().check(), too_long("id"));
    assert_eq!(good.clone().source(&long).view().check(), too_long("source"));
    assert_eq!(good.clone().saga(&long).view().check(), too_long("saga"));
    assert_eq!(good.clone().key(&long).view().check(), too_long("key"));
    assert_eq!(good.clone().saga(&long[1..]).view().check(), Ok(()));
}

#[test]
fn an_event_may_have_a_mebibyte_and_not_a_byte_more() {
    let room = limits::MAX_EVENT - Event::new("t").id("1").encoded_len() - 4;
    let largest = Event::new("t").id("1").data(vec![0; room]);
    assert_eq!(largest.encoded_len(), limits::MAX_EVENT);
    assert_eq!(EventView::parse(&encode(&largest)).unwrap().check(), Ok(()));
    let larger = encode(&largest.data(vec![0; room + 1]));
    let error = EventError::TooLarge { length: limits::MAX_EVENT + 1 };
    assert_eq!(EventView::parse(&larger).unwrap().check(), Err(error));
}

#[test]
fn sealing_fills_in_what_is_missing_and_nothing_else() {
    let mut event = Event::new("t");
    event.seal(1_700_000_000_000);
    let view = event.view();
    assert_eq!((view.time, view.id.len()), (1_700_000_000_000, 36));
    assert_eq!(view.saga_or_id(), view.id);
    let sealed = event.clone();
    event.seal(1_800_000_000_000);
    assert_eq!(event, sealed);
}

#[test]
fn debugging_an_event_shows_what_is_set_and_not_its_payload() {
    let event = Event::new("t").key("k").turn(2).header("h", "v").data("secret");
    let shown = format!("{event:?}");
    assert_eq!(shown, r#"Event { type: "t", key: "k", turn: 2, h: "v", data_len: 6 }"#);
}

#[cfg(feature = "json")]
#[test]
fn json_goes_in_and_comes_out() {
    let event = Event::new("t").json(&vec![1, 2, 3]).unwrap();
    assert_eq!(event.view().content_type, "application/json");
    assert_eq!(event.view().json::<Vec<u32>>().unwrap(), [1, 2, 3]);
    let error = event.view().json::<String>().unwrap_err();
    assert_eq!(error.code(), "event_json");
    let no_json = std::collections::HashMap::from([(vec![1], 1)]);
    assert!(Event::new("t").json(&no_json).is_err());
}
