//! PROTOCOL.md says what is so: every message, request and code, and an example byte for byte.
//! `QUADRILLE_REGENERATE_FIXTURES=1` writes the example anew; a difference in one that was released
//! is a change of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quadrille_proto::actions::{self, Action, REQUESTS, Scope};
use quadrille_proto::codes::{CODES, Type, code};
use quadrille_proto::record::{GroupConfig, Lane, OrderBy};
use quadrille_proto::wire::to_client::{Push, Reply};
use quadrille_proto::wire::to_server::Request;
use quadrille_proto::wire::*;
use quadrille_proto::{Event, limits};

use crate::schema::Schema;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn page() -> String {
    std::fs::read_to_string(path("PROTOCOL.md")).expect("the page of the protocol")
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of all tables with so many columns.
fn rows(page: &str, columns: usize) -> impl Iterator<Item = Vec<&str>> {
    let cells = page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = cells.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(move |cells| cells.len() == columns)
}

#[test]
fn the_page_names_every_message() {
    let (page, schema) = (page(), Schema::read());
    let words: BTreeSet<_> =
        quoted(&page).flat_map(|it| it.split(|c: char| !c.is_alphanumeric())).collect();
    let missing: Vec<_> = schema.names().into_iter().filter(|it| !words.contains(it)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_request_has_a_row_in_the_code_and_on_the_page() {
    let schema = Schema::read();
    let defined: Vec<_> = schema.choices("ToServer", 0);
    let coded: Vec<_> = REQUESTS.iter().map(|row| (row.number, row.name)).collect();
    assert_eq!(coded, defined);
    for row in REQUESTS {
        // An empty one of each.
        let mut bytes = Vec::new();
        prost::encoding::encode_key(
            row.number,
            prost::encoding::WireType::LengthDelimited,
            &mut bytes,
        );
        bytes.push(0);
        let request = ToServer::decode(&bytes[..]).unwrap().request.unwrap();
        assert_eq!(actions::row(&request), row);
        let connects = row.takes == [(Action::Connect, Scope::Bus)];
        assert_eq!(
            connects,
            ["Hello", "Ping", "Flush", "Close"].contains(&row.name),
            "{}",
            row.name
        );
    }

    let page = page();
    let replies: BTreeSet<_> = schema.choices("ToClient", 0).into_iter().map(|it| it.1).collect();
    let mut answers: BTreeSet<_> = BTreeSet::from(["Error"]);
    let mut documented = BTreeMap::new();
    for cells in rows(&page, 5) {
        let Ok(number) = cells[0].parse::<u32>() else { continue };
        answers.insert(cells[2].trim_matches('`'));
        documented.insert(number, (cells[1].trim_matches('`'), cells[3].to_owned()));
    }
    let takes = |row: &actions::Row| {
        let words = row.takes.iter().map(|it| format!("{:?} {:?}", it.0, it.1).to_lowercase());
        words.collect::<Vec<_>>().join(", ")
    };
    let coded: BTreeMap<_, _> =
        REQUESTS.iter().map(|row| (row.number, (row.name, takes(row)))).collect();
    assert_eq!(documented, coded);
    assert_eq!(answers, replies, "every answer is one to some request");
}

#[test]
fn the_page_lists_every_code_with_its_kind_and_facts() {
    let page = page();
    let documented: BTreeMap<_, _> = rows(&page, 4)
        .filter_map(|cells| {
            let name = cells[0].strip_prefix('`')?.strip_suffix('`')?;
            let facts: Vec<_> = quoted(cells[2]).map(str::to_owned).collect();
            Some((name, (cells[1].replace(' ', ""), facts)))
        })
        .collect();
    let fact = |(name, ty): &(&str, Type)| match ty {
        Type::Text => (*name).to_owned(),
        Type::Number => format!("{name}#"),
    };
    let coded: BTreeMap<_, _> = CODES
        .iter()
        .map(|it| {
            let kind = format!("{:?}", it.kind).to_lowercase();
            (it.name, (kind, it.facts.iter().map(fact).collect()))
        })
        .collect();
    assert_eq!(documented, coded);
    assert_eq!(coded.len(), CODES.len(), "no code twice");
}

/// The words behind `=>` of the lines that hold this.
fn codes_in(file: &str, before: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let lines = text.lines().filter(|line| line.contains(before));
    let words = lines.filter_map(|line| line.split_once("=> \"")?.1.split_once('"'));
    words.map(|(word, _)| word.to_owned()).collect()
}

/// Whatever the broker or an event's reader may say has a code that others can hear.
#[test]
fn every_refusal_can_be_said() {
    let refusals = codes_in("../broker/src/core/refusal.rs", "Self::");
    let events = codes_in("src/error.rs", "Self::");
    let broker = codes_in("../broker/src/error.rs", "Self::Unavailable");
    assert!(refusals.len() > 25 && events.len() == 8 && broker.len() == 1, "read wrongly");
    let all = refusals.iter().chain(&events).chain(&broker);
    let unknown: Vec<_> = all.filter(|it| code(it).is_none()).collect();
    assert!(unknown.is_empty(), "no row in src/codes.rs: {unknown:?}");
}

#[test]
fn an_error_says_what_was_put_in() {
    let error = Error::new("id_reused", "used before").with_text("topic", "orders");
    let error = error.with_number("offset", 7);
    assert_eq!((error.code.as_str(), error.kind()), ("id_reused", ErrorKind::Conflict));
    assert_eq!((error.text("topic"), error.number("offset")), ("orders", 7));
    // What is not there, or is something else, says nothing.
    assert_eq!((error.text("offset"), error.number("topic"), error.text("id")), ("", 0, ""));
    assert_eq!(Error::new("of_a_later_release", "").kind(), ErrorKind::Input);
}

fn ask(id: u64, request: Request) -> Vec<u8> {
    ToServer { id, needs: 0, request: Some(request) }.encode_to_vec()
}

fn answer(id: u64, reply: Reply) -> Vec<u8> {
    ToClient { id, reply: Some(reply), push: None }.encode_to_vec()
}

fn event() -> Bytes {
    let event = Event::new("order.created").id("1").source("shop").key("order-17").data("{}");
    let mut bytes = BytesMut::new();
    event.encode(&mut bytes);
    bytes.freeze()
}

/// The example: what is said, in words and in bytes.
fn example() -> Vec<(&'static str, Vec<u8>)> {
    [greeting(), joining(), working(), ending()].concat()
}

fn greeting() -> Vec<(&'static str, Vec<u8>)> {
    let hello = Hello {
        min_version: 1,
        max_version: limits::VERSION,
        name: "example".to_owned(),
        session_hi: 1,
        session_lo: 2,
        ..Hello::default()
    };
    let limits = Limits {
        max_frame: 8 << 20,
        unanswered: 4096,
        session_unanswered: 1024,
        keep_alive_ms: 10_000,
        linger_ms: 10_000,
        session_ms: 600_000,
        event_bytes: 1 << 20,
        command_events: 1024,
        command_bytes: 4 << 20,
        step_events: 256,
        credit: 4096,
    };
    let welcome = Welcome {
        version: limits::VERSION,
        log_hi: 3,
        log_lo: 4,
        epoch: 5,
        time: 1_700_000_000_000,
        server: "quadrille 0.1.0".to_owned(),
        limits: Some(limits),
        ..Welcome::default()
    };
    vec![
        (
            "C> 1 Hello { versions: 1 to 1, name: \"example\", session: 1 << 64 | 2 }",
            ask(1, Request::Hello(hello)),
        ),
        (
            "S> 1 Welcome { version: 1, log: 3 << 64 | 4, epoch: 5, time, server, limits }",
            answer(1, Reply::Welcome(Box::new(welcome))),
        ),
    ]
}

fn joining() -> Vec<(&'static str, Vec<u8>)> {
    let config = GroupConfig {
        topics: vec!["orders".to_owned()],
        order_by: OrderBy::Key.into(),
        ..GroupConfig::default()
    };
    let join = Join {
        group: "billing".to_owned(),
        member: "b1".to_owned(),
        credit: 16,
        config: Some(config.clone()),
        ..Join::default()
    };
    let topics = vec![Named { number: 1, name: "orders".to_owned() }];
    let joined = Joined { member: 6, group: 2, credit: 16, config: Some(config), topics };
    vec![
        (
            "C> 2 Join { group: \"billing\", member: \"b1\", credit: 16, config: { orders, by key } }",
            ask(2, Request::Join(Box::new(join))),
        ),
        (
            "S> 2 Joined { member: 6, group: 2, credit: 16, config, topics: 1 is orders }",
            answer(2, Reply::Joined(Box::new(joined))),
        ),
    ]
}

fn working() -> Vec<(&'static str, Vec<u8>)> {
    let events = vec![NewEvent { topic: 1, due: 0, event: event() }];
    let receipt = ReceiptRange {
        kind: ReceiptKind::Synced.into(),
        count: 1,
        topic: 1,
        offset: 0,
        entry: 9,
        ..ReceiptRange::default()
    };
    let delivery = Delivery {
        topic: 1,
        entry: 9,
        time: 1_700_000_000_001,
        event: event(),
        ..Delivery::default()
    };
    let run = Run {
        member: 6,
        run: 7,
        ordered: true,
        lane: Some(Lane { hi: 8, lo: 9 }),
        events: vec![delivery],
        ..Run::default()
    };
    let runs = vec![RunBits { run: 7, bits: 1 }];
    vec![
        (
            "C> 3 Publish { sequence: 1, events: [topic 1, order.created] }",
            ask(3, Request::Publish(Publish { sequence: 1, confirmed: 0, events })),
        ),
        (
            "S> 3 Published { [1 synced, in topic 1 from offset 0 on, at #9] }",
            answer(3, Reply::Published(Published { receipts: vec![receipt] })),
        ),
        (
            "S> Run { member: 6, run: 7, ordered, lane: 8 << 64 | 9, [topic 1, offset 0, #9, time, event] }",
            ToClient { id: 0, reply: None, push: Some(Push::Run(run)) }.encode_to_vec(),
        ),
        (
            "C> 4 Ack { member: 6, runs: [{ run: 7, bits: 1 }] }",
            ask(4, Request::Ack(Ack { member: 6, runs, tokens: Vec::new() })),
        ),
        ("S> 4 Acked {}", answer(4, Reply::Acked(Acked::default()))),
    ]
}

fn ending() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("C> 5 Close { end_session }", ask(5, Request::Close(Close { end_session: true }))),
        ("S> 5 Done {}", answer(5, Reply::Done(Done {}))),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("   {}\n", digits.join(" "))
    });
    lines.collect()
}

#[test]
fn the_example_is_what_the_messages_say() {
    let said = example().into_iter().map(|(words, body)| {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        format!("{words}\n{}{}", hex(&length), hex(&body))
    });
    let said: String = said.collect();
    let mut page = page();
    let (head, rest) = page.split_once("## An example").expect("the example");
    let (intro, _) = rest.split_once("```text\n").expect("its bytes");
    let today = format!("{head}## An example{intro}```text\n{said}```\n");
    if std::env::var_os("QUADRILLE_REGENERATE_FIXTURES").is_some() {
        std::fs::write(path("PROTOCOL.md"), &today).expect("a writable source tree");
        page.clone_from(&today);
    }
    assert!(today == page, "the example on the page is not what the messages say:\n{said}");
}
