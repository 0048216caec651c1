//! The codec against honest frames in any pieces, and against everything else.

use std::sync::LazyLock;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;
use quadrille_proto::codes::code;
use quadrille_proto::frame::{ClientCodec, FrameError, ServerCodec};
use quadrille_proto::limits::{MAX_FIELDS, MAX_FIRST_FRAME, MAX_FRAME, MAX_SMALL_FRAME};
use quadrille_proto::wire::to_server::Request;
use quadrille_proto::wire::{
    Ack, Error, Hello, NewEvent, Publish, Resolve, RunBits, Step, Timer, ToClient, ToServer,
};
use tokio_util::codec::{Decoder, Encoder};

use crate::protocol::page;
use crate::schema::{Filler, Schema};

fn open_server() -> ServerCodec {
    let mut codec = ServerCodec::default();
    codec.set_limits(MAX_FRAME, MAX_FRAME);
    codec
}

fn open_client() -> ClientCodec {
    let mut codec = ClientCodec::default();
    codec.set_limits(MAX_FRAME, MAX_FRAME);
    codec
}

fn framed(body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32_le(u32::try_from(body.len()).unwrap());
    frame.put_slice(body);
    frame
}

fn ask(request: Request) -> ToServer {
    ToServer { id: 1, needs: 0, request: Some(request) }
}

fn server_says(request: Request) -> Result<Option<ToServer>, FrameError> {
    open_server().decode(&mut framed(&ask(request).encode_to_vec()))
}

fn refused(request: Request) -> FrameError {
    server_says(request).expect_err("a frame that is refused")
}

fn publish(events: impl IntoIterator<Item = Bytes>) -> Request {
    let event = |event| NewEvent { topic: 1, due: 0, event };
    let events = events.into_iter().map(event).collect();
    Request::Publish(Publish { sequence: 1, confirmed: 0, events })
}

/// Frames of both directions, filled at random: what they mean, and their bytes one after the other.
fn conversation(seed: u64) -> (Vec<ToServer>, BytesMut, Vec<ToClient>, BytesMut) {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);
    let schema = &*SCHEMA;
    let mut filler = Filler::new(schema, seed, false);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    for _ in 0..6 {
        let choices = schema.choices("ToServer", 0);
        let (number, _) = choices[filler.rng.usize(..choices.len())];
        let body = filler.frame("ToServer", number);
        asked.push(ToServer::decode(&body[..]).unwrap());
        open_client().encode(asked.last().unwrap(), &mut up).unwrap();
        let oneof = i32::from(filler.rng.bool());
        let choices = schema.choices("ToClient", oneof);
        let (number, _) = choices[filler.rng.usize(..choices.len())];
        let body = filler.frame("ToClient", number);
        answered.push(ToClient::decode(&body[..]).unwrap());
        open_server().encode(answered.last().unwrap(), &mut down).unwrap();
    }
    (asked, up, answered, down)
}

/// All that comes out when the stream comes in these pieces, and ends.
fn read<C: Decoder<Error = FrameError>>(
    mut codec: C,
    pieces: &[&[u8]],
) -> (Vec<C::Item>, Option<FrameError>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    match codec.decode_eof(&mut buffer) {
        Ok(None) => (frames, None),
        Ok(Some(_)) => panic!("a frame that was there before"),
        Err(error) => (frames, Some(error)),
    }
}

fn split<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn frames_come_out_however_they_come_in(
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (asked, up, answered, down) = conversation(seed);
        let (frames, error) = read(open_server(), &split(&up, &cuts));
        prop_assert_eq!(frames, asked);
        prop_assert!(error.is_none());
        let (frames, error) = read(open_client(), &split(&down, &cuts));
        prop_assert_eq!(frames, answered);
        prop_assert!(error.is_none());
    }

    #[test]
    fn a_stream_that_is_cut_off_says_so(seed in any::<u64>(), cut in any::<prop::sample::Index>()) {
        let (asked, up, _, _) = conversation(seed);
        let cut = cut.index(up.len());
        let (frames, error) = read(open_server(), &[&up[..cut]]);
        prop_assert_eq!(&frames[..], &asked[..frames.len()]);
        let whole: usize = frames.iter().map(|it| 4 + it.encoded_len()).sum();
        match error {
            None => prop_assert_eq!(whole, cut),
            Some(error) => {
                prop_assert!(matches!(error, FrameError::Truncated), "{}", error);
                prop_assert!(whole < cut);
            }
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_frame_and_never_a_panic(
        body in prop::collection::vec(any::<u8>(), 0..600),
        raw in any::<bool>(),
    ) {
        let stream = if raw { BytesMut::from(&body[..]) } else { framed(&body) };
        let (frames, error) = read(open_server(), &[&stream]);
        prop_assert!(raw || frames.len() == 1 || error.is_some());
        if let Some(error) = error {
            prop_assert!(code(error.code()).is_some());
            prop_assert_eq!(&Error::from(&error).code, error.code());
        }
        let (frames, error) = read(open_client(), &[&stream]);
        prop_assert!(raw || frames.len() == 1 || error.is_some());
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_frame(
        seed in any::<u64>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (_, up, _, down) = conversation(seed);
        for (mut stream, to_server) in [(up, true), (down, false)] {
            let at = at.index(stream.len());
            stream[at] ^= 1u8 << bit;
            if to_server {
                let (frames, _) = read(open_server(), &[&stream]);
                prop_assert!(frames.len() <= 6);
            } else {
                let (frames, _) = read(open_client(), &[&stream]);
                prop_assert!(frames.len() <= 6);
            }
        }
    }
}

#[test]
fn byte_by_byte_a_frame_comes_with_its_last_byte() {
    let (asked, up, _, _) = conversation(3);
    let (mut codec, mut buffer, mut frames) = (open_server(), BytesMut::new(), Vec::new());
    let mut ends = Vec::new();
    for (at, byte) in up.iter().enumerate() {
        buffer.put_u8(*byte);
        if let Some(frame) = codec.decode(&mut buffer).unwrap() {
            ends.push(at + 1);
            frames.push(frame);
        }
    }
    let lengths = asked.iter().map(|it| 4 + it.encoded_len());
    let expected: Vec<_> = lengths
        .scan(0, |end, length| {
            *end += length;
            Some(*end)
        })
        .collect();
    assert_eq!((frames, ends), (asked, expected));
}

#[test]
fn a_length_is_refused_before_anything_is_made_of_it() {
    let mut codec = ServerCodec::default();
    for bytes in [MAX_FIRST_FRAME + 1, MAX_FRAME, u32::MAX as usize] {
        let mut buffer = BytesMut::with_capacity(4);
        buffer.put_u32_le(u32::try_from(bytes).unwrap());
        let capacity = buffer.capacity();
        let error = codec.decode(&mut buffer).unwrap_err();
        assert!(
            matches!(error, FrameError::TooLarge { bytes: had, max: MAX_FIRST_FRAME } if had == bytes)
        );
        let told = Error::from(&error);
        assert_eq!((told.number("bytes"), told.number("max")), (bytes as u64, 4096));
        assert_eq!(buffer.capacity(), capacity);
    }
    // Nor is room made for one that is allowed and has not come.
    let mut buffer = BytesMut::with_capacity(4);
    buffer.put_u32_le(u32::try_from(MAX_FIRST_FRAME).unwrap());
    let capacity = buffer.capacity();
    assert!(codec.decode(&mut buffer).unwrap().is_none());
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn frames_are_short_until_the_limits_change() {
    let event = Bytes::from(vec![7; 5_000]);
    let frame = ask(publish([event]));
    let (mut server, mut client) = (ServerCodec::default(), ClientCodec::default());
    let mut stream = BytesMut::new();
    let error = client.encode(&frame, &mut stream).unwrap_err();
    assert_eq!(error.code(), "frame_too_large");
    assert!(stream.is_empty(), "nothing of it is written");

    client.set_limits(MAX_FRAME, MAX_FRAME);
    client.encode(&frame, &mut stream).unwrap();
    let mut again = stream.clone();
    assert_eq!(server.decode(&mut again).unwrap_err().code(), "frame_too_large");
    server.set_limits(MAX_FRAME, MAX_FRAME);
    assert_eq!(server.decode(&mut stream).unwrap(), Some(frame));
}

#[test]
fn event_bytes_are_a_part_of_the_frame() {
    let event = Bytes::from(vec![7; 1_000]);
    let mut stream = framed(&ask(publish([event.clone(), event.clone()])).encode_to_vec());
    let within = stream.as_ptr_range();
    let frame = open_server().decode(&mut stream).unwrap().unwrap();
    let Some(Request::Publish(publish)) = frame.request else { panic!("not a publish") };
    for it in publish.events {
        assert_eq!(it.event, event);
        assert!(within.contains(&it.event.as_ptr()), "it was copied");
    }
}

#[test]
fn only_requests_with_events_may_be_long() {
    let long = Bytes::from(vec![7; MAX_SMALL_FRAME]);
    let replacement = long.clone();
    let replace = Request::Resolve(Resolve { replacement, ..Resolve::default() });
    let step = Step {
        events: vec![NewEvent { topic: 1, due: 0, event: long.clone() }],
        ..Step::default()
    };
    for request in [publish([long]), Request::Step(step), replace] {
        assert_eq!(server_says(request.clone()).unwrap(), Some(ask(request)));
    }
    let name = "x".repeat(MAX_SMALL_FRAME);
    let acks = Ack { runs: vec![RunBits::default(); MAX_SMALL_FRAME], ..Ack::default() };
    for request in [Request::Hello(Hello { name, ..Hello::default() }), Request::Ack(acks)] {
        let error = refused(request);
        assert!(matches!(error, FrameError::TooLarge { max: MAX_SMALL_FRAME, .. }), "{error}");
    }
}

#[test]
fn a_long_frame_has_few_fields() {
    let batch = |events: usize| publish(vec![Bytes::from(vec![7; 100]); events]);
    assert!(server_says(batch(1_024)).unwrap().is_some());
    // Two bytes each on the way, fifty in memory.
    let error = refused(publish(vec![Bytes::new(); 1 << 20]));
    assert!(matches!(error, FrameError::TooComplex { max: MAX_FIELDS }), "{error}");
    assert_eq!(Error::from(&error).number("max"), 8192);
    let step = Step { cancel: vec![Timer::default(); 1 << 20], ..Step::default() };
    assert_eq!(refused(Request::Step(step)).code(), "frame_too_complex");
    // What is said several times in one frame adds up.
    let once = ask(batch(100)).encode_to_vec();
    let often = open_server().decode(&mut framed(&once.repeat(MAX_FIELDS / 100 + 1)));
    assert_eq!(often.expect_err("too much").code(), "frame_too_complex");
    // Nor does it help to be no protobuf.
    let mut body = vec![0; MAX_SMALL_FRAME + 1];
    body[..2].copy_from_slice(&[0x1a, 0xff]);
    assert_eq!(open_server().decode(&mut framed(&body)).unwrap_err().code(), "frame_malformed");
}

#[test]
fn what_a_later_release_says_is_passed_over() {
    let mut body = ToServer { id: 9, needs: 4, request: None }.encode_to_vec();
    // Request 1,000, which nobody knows, and an empty frame.
    prost::encoding::encode_key(1_000, prost::encoding::WireType::LengthDelimited, &mut body);
    body.put_slice(&[3, 1, 2, 3]);
    let mut stream = framed(&body);
    stream.extend_from_slice(&framed(&[]));
    let (frames, error) = read(open_server(), &[&stream]);
    let unknown = ToServer { id: 9, needs: 4, request: None };
    assert_eq!(frames, [unknown, ToServer::default()]);
    assert!(error.is_none());
}

#[test]
fn what_holds_itself_too_often_is_an_error() {
    // EventState.behind.state, again and again, within Explained.state.
    let mut body = Vec::new();
    for _ in 0..5_000 {
        let mut blocker = vec![0x12];
        prost::encoding::encode_varint(body.len() as u64, &mut blocker);
        blocker.extend(&body);
        body = vec![0x7a];
        prost::encoding::encode_varint(blocker.len() as u64, &mut body);
        body.extend(blocker);
    }
    let mut explained = vec![0x1a];
    prost::encoding::encode_varint(body.len() as u64, &mut explained);
    explained.extend(body);
    let mut frame = vec![0xb2, 0x03];
    prost::encoding::encode_varint(explained.len() as u64, &mut frame);
    frame.extend(explained);
    let error = open_client().decode(&mut framed(&frame)).unwrap_err();
    assert_eq!(error.code(), "frame_malformed", "{error}");
    assert!(error.to_string().contains("recursion"), "{error}");
}

/// The bytes that PROTOCOL.md shows, as somebody would read them who has nothing else.
#[test]
fn the_example_can_be_read() {
    let (mut server, mut client) = (ServerCodec::default(), ClientCodec::default());
    let mut said = Vec::new();
    for (from_client, bytes) in bytes_of_the_example() {
        let mut stream = BytesMut::from(&bytes[..]);
        said.push(match from_client {
            true => {
                let frame = server.decode(&mut stream).unwrap().unwrap();
                let request = frame.request.unwrap();
                (frame.id, quadrille_proto::actions::row(&request).name)
            }
            false => {
                let frame = client.decode(&mut stream).unwrap().unwrap();
                let word = match (&frame.reply, &frame.push) {
                    (Some(_), None) => "reply",
                    (None, Some(_)) => "push",
                    other => panic!("neither or both: {other:?}"),
                };
                (frame.id, word)
            }
        });
        assert!(!stream.has_remaining());
    }
    let expected = [
        (1, "Hello"),
        (1, "reply"),
        (2, "Join"),
        (2, "reply"),
        (3, "Publish"),
        (3, "reply"),
        (0, "push"),
        (4, "Ack"),
        (4, "reply"),
        (5, "Close"),
        (5, "reply"),
    ];
    assert_eq!(said, expected);
}

/// The frames on the page, and whether a client says them.
fn bytes_of_the_example() -> Vec<(bool, Vec<u8>)> {
    let page = page();
    let (_, example) = page.split_once("## An example").unwrap();
    let (_, lines) = example.split_once("```text\n").unwrap();
    let mut frames: Vec<(bool, Vec<u8>)> = Vec::new();
    for line in lines.lines().take_while(|line| *line != "```") {
        match line.strip_prefix("   ") {
            Some(digits) => {
                let bytes = digits.split(' ').map(|it| u8::from_str_radix(it, 16).unwrap());
                frames.last_mut().unwrap().1.extend(bytes);
            }
            None => frames.push((line.starts_with("C>"), Vec::new())),
        }
    }
    frames
}
