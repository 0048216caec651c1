//! The numbers, bits and classes of records agree: with the `oneof`, with the page that lists
//! them, and with what is on disk.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quadrille_proto::record::{self, Class, EventAppended, Kind, RecordError};

use crate::samples;

#[test]
fn every_variant_has_the_number_of_its_oneof_field() {
    let numbers: Vec<u32> = samples::records().iter().map(record::number).collect();
    assert_eq!(numbers, record::NUMBERS, "one sample of each, in order");
    for kind in samples::records() {
        let number = record::number(&kind);
        let bytes = record::Record { kind: Some(kind) }.encode_to_vec();
        let (field, _) = prost::encoding::decode_key(&mut &bytes[..]).unwrap();
        assert_eq!(field, number);
    }
}

#[test]
fn the_oneof_has_no_other_field() {
    let files = protox::compile(["record.proto"], [Path::new(env!("CARGO_MANIFEST_DIR"))]).unwrap();
    let message = files
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .find(|message| message.name() == "Record")
        .unwrap();
    let fields: Vec<_> = message.field.iter().map(|f| f.number().unsigned_abs()).collect();
    assert_eq!(fields, record::NUMBERS);
}

#[test]
fn bodies_have_the_stated_length_and_come_back() {
    for kind in samples::records() {
        let mut out = BytesMut::new();
        record::encode_body(&kind, &mut out);
        assert_eq!(out.len(), record::body_len(&kind), "{kind:?}");
        let number = record::number(&kind);
        let must = record::must_understand(number);
        assert_eq!(record::decode(number, must, out.freeze()), Ok(Some(kind)));
    }
}

#[test]
fn event_bytes_are_not_copied() {
    let event = Bytes::from_static(b"opaque event bytes");
    let kind = Kind::EventAppended(EventAppended { offset: 3, event, ..Default::default() });
    let mut out = BytesMut::new();
    record::encode_body(&kind, &mut out);
    let body = out.freeze();
    let within = body.as_ptr_range();
    let Ok(Some(Kind::EventAppended(read))) = record::decode(1, true, body.clone()) else {
        panic!("not an event");
    };
    assert!(within.contains(&read.event.as_ptr()));
}

#[test]
fn unknown_records_are_skipped_or_named() {
    let body = Bytes::from_static(b"\xff\xff");
    assert_eq!(record::decode(4_000, false, body.clone()), Ok(None));
    let error = record::decode(4_000, true, body.clone()).unwrap_err();
    assert_eq!(error, RecordError::Unknown { number: 4_000 });
    assert_eq!(error.code(), "record_unknown");
    assert!(record::must_understand(4_000));
    // A known one that is damaged is an error, whatever the bit says.
    let error = record::decode(37, false, body).unwrap_err();
    assert_eq!(error.code(), "record_body");
    assert!(error.to_string().contains("type 37"), "{error}");
}

#[test]
fn a_plain_settle_is_lazy_and_a_step_is_not() {
    use record::{SettleKind, Settled};
    for (how, class) in [(SettleKind::Ack, Class::Lazy), (SettleKind::Step, Class::Sync)] {
        let settled = Settled { kind: how.into(), ..Default::default() };
        assert_eq!(record::class(&Kind::Settled(settled)), class);
    }
}

/// The table of the on-disk format: number -> (name, must understand, class).
fn documented() -> BTreeMap<u32, (String, bool, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker/FORMAT.md");
    let page = std::fs::read_to_string(page).expect("the page of the on-disk format");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, number, name, must, class, _, _, _] = cells[..] else {
            return None;
        };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        Some((number.parse().ok()?, (name.to_owned(), must == "yes", class.to_owned())))
    });
    rows.collect()
}

#[test]
fn the_format_page_lists_every_record_as_it_is() {
    let code = samples::records().into_iter().map(|kind| {
        let number = record::number(&kind);
        let class = format!("{:?}", record::class(&kind)).to_lowercase();
        (number, (record::name(&kind).to_owned(), record::must_understand(number), class))
    });
    let code: BTreeMap<_, _> = code.collect();
    assert_eq!(documented(), code);
}

#[test]
fn a_lane_is_a_hash_in_two_halves() {
    let hash = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    let lane = record::Lane::from(hash);
    assert_eq!((lane.hi, lane.lo), (0x0011_2233_4455_6677, 0x8899_aabb_ccdd_eeff));
    assert_eq!(u128::from(lane), hash);
}
