//! Every message of the protocol survives being read and written.

use bytes::Bytes;
use prost::Message;
use quadrille_proto::wire::{ToClient, ToServer};

use crate::schema::{Filler, Schema};

/// Reads and writes; what is lost on the way is missing afterwards.
fn comes_back<M: Message + Default + std::fmt::Debug>(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let message = M::decode(bytes.clone()).unwrap();
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
}

#[test]
fn every_message_comes_back_with_every_field() {
    let schema = Schema::read();
    let mut filler = Filler::new(&schema, 7, true);
    let mut choices = 0;
    for (frame, oneofs) in [("ToServer", 1), ("ToClient", 2)] {
        for (number, _) in (0..oneofs).flat_map(|oneof| schema.choices(frame, oneof)) {
            // Often enough that every inner choice was made.
            for _ in 0..8 {
                let bytes = filler.frame(frame, number);
                match frame {
                    "ToServer" => comes_back::<ToServer>(bytes),
                    _ => comes_back::<ToClient>(bytes),
                }
            }
            choices += 1;
        }
    }
    assert!(choices > 50, "the frames are read wrongly: {choices}");
    let seen = filler.seen.iter().filter_map(|name| name.strip_prefix(".quadrille.v1.wire."));
    assert_eq!(seen.collect::<Vec<_>>(), Vec::from_iter(schema.names()), "some are in no frame");
}

#[test]
fn any_part_of_a_message_comes_back() {
    let schema = Schema::read();
    for seed in 0..200 {
        let mut filler = Filler::new(&schema, seed, false);
        for (number, _) in schema.choices("ToServer", 0) {
            comes_back::<ToServer>(filler.frame("ToServer", number));
        }
        for (number, _) in (0..2).flat_map(|oneof| schema.choices("ToClient", oneof)) {
            comes_back::<ToClient>(filler.frame("ToClient", number));
        }
    }
}

/// A request holds no list of bare numbers: packed, such a list is eight times as long in memory,
/// and the limits on frames count fields.
#[test]
fn requests_hold_no_packed_lists() {
    let schema = Schema::read();
    let mut open: Vec<_> =
        schema.choices("ToServer", 0).iter().map(|(_, it)| (*it).to_owned()).collect();
    let mut looked_at = 0;
    while let Some(message) = open.pop() {
        for field in
            schema.messages.get(&format!(".quadrille.v1.wire.{message}")).into_iter().flatten()
        {
            looked_at += 1;
            let holds = matches!(field.ty, 9 | 11 | 12);
            assert!(!field.repeated || holds, "{message}.{}", field.name);
            if let Some(inner) = field.type_name.strip_prefix(".quadrille.v1.wire.") {
                open.push(inner.to_owned());
            }
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}
