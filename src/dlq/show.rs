//! `quadrille dlq show`: one dead letter with its whole story, and what can be done about it.

use quadrille::{EventView, StoredEvent};
use serde_json::{Value, json};

use super::find::{self, Letter};
use super::{Row, ShowArgs};
use crate::at::Session;
use crate::cli::Failure;
use crate::out::{Look, age, count, date, plain, pretty, say, say_bytes, say_json, table};

/// Data up to so long is put into the command that replaces it.
const SHORT: usize = 300;

/// Shows one.
pub(super) async fn show(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    let mut found = find::at(session, &args.group, &[args.place]).await?;
    let Some(letter) = found.first_mut() else { return Ok(()) };
    let stored = letter.event(session).await?;
    if args.payload {
        return say_bytes(stored.event().data);
    }
    letter.count_behind(session).await?;
    if args.at.json {
        let dead_letter = Row::from(&*letter);
        return say_json(&json!({ "dead_letter": dead_letter, "event": as_json(&stored) }));
    }
    let look = Look::of_stdout();
    let event = stored.event();
    say(look.head(&format!("{} {}", letter.group, letter.dead.position)))?;
    say(format!("  {}", look.bad(&plain(&letter.dead.reason))))?;
    lines(&story(session, letter))?;
    say(look.head("event"))?;
    lines(&fields(session, &stored, &event))?;
    data(look, &event)?;
    commands(session, look, letter, &event)
}

/// Whether its data says that it is JSON; nothing said means so too.
pub(super) fn says_json(event: &EventView<'_>) -> bool {
    event.content_type.is_empty() || event.content_type.contains("json")
}

/// An event as programs read it. Data that are no text are in `data_hex`, byte by byte.
fn as_json(stored: &StoredEvent) -> Value {
    let event = stored.event();
    let text = std::str::from_utf8(event.data).ok();
    let json = serde_json::from_slice(event.data).ok().filter(|_| says_json(&event));
    let hex = || event.data.iter().map(|it| format!("{it:02x}")).collect::<String>();
    let header = |(name, value): (&str, &[u8])| json!([name, String::from_utf8_lossy(value)]);
    json!({
        "id": event.id, "type": event.ty, "source": event.source, "saga": event.saga_or_id(),
        "key": event.key, "subject": event.subject, "cause": event.cause, "schema": event.schema,
        "turn": stored.turn, "time": event.time, "published_at": stored.time,
        "content_type": event.content_type, "traceparent": event.traceparent,
        "headers": event.headers().map(header).collect::<Value>(),
        "data": json.or_else(|| text.map(Value::from)),
        "data_hex": text.is_none().then(hex),
    })
}

/// Names and values below each other; what is empty is left out.
fn lines(of: &[(&str, String)]) -> Result<(), Failure> {
    let of = of.iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<_> = of.map(|(name, value)| vec![format!("  {name}"), plain(value)]).collect();
    table(&rows, &[]).iter().try_for_each(say)
}

fn story(session: &Session, letter: &Letter) -> Vec<(&'static str, String)> {
    let dead = &letter.dead;
    let behind = match letter.behind {
        None if letter.is_overtaken() => String::new(),
        None => "has gone on".to_owned(),
        Some(it) => format!("waits for it; behind it: {}", it.events()),
    };
    let overtaken = dead.superseded_by.map_or_else(String::new, |by| {
        format!("by the compensation {by}: its effects may be undone, and nothing is left to do")
    });
    vec![
        ("attempts", dead.attempts.to_string()),
        ("parked", moment(session, dead.time)),
        ("member", dead.member.clone()),
        ("lane", behind),
        ("overtaken", overtaken),
    ]
}

fn fields(
    session: &Session,
    stored: &StoredEvent,
    event: &EventView<'_>,
) -> Vec<(&'static str, String)> {
    let number = |n: u32| if n == 0 { String::new() } else { n.to_string() };
    let mut fields = vec![
        ("type", event.ty.to_owned()),
        ("topic", format!("{}, offset {}", stored.topic, stored.offset)),
        ("id", event.id.to_owned()),
        ("source", event.source.to_owned()),
        ("saga", event.saga_or_id().to_owned()),
        ("key", event.key.to_owned()),
        ("subject", event.subject.to_owned()),
        ("cause", event.cause.to_owned()),
        ("schema", number(event.schema)),
        ("turn", number(stored.turn)),
        ("published", moment(session, stored.time)),
        ("traceparent", event.traceparent.to_owned()),
    ];
    let header = |(name, value): (&str, &[u8])| {
        ("header", format!("{name}: {}", String::from_utf8_lossy(value)))
    };
    fields.extend(event.headers().map(header));
    fields
}

fn moment(session: &Session, ms: u64) -> String {
    format!("{} ({} ago)", date(ms), age(session.now.saturating_sub(ms)))
}

fn data(look: Look, event: &EventView<'_>) -> Result<(), Failure> {
    let said = match event.content_type {
        "" => String::new(),
        some => format!("{}, ", plain(some)),
    };
    let size = count(event.data.len() as u64, "byte", "bytes");
    say(look.head(&format!("data ({said}{size})")))?;
    let Ok(text) = std::str::from_utf8(event.data) else {
        return say("  not text; --payload prints it as it is");
    };
    let text = pretty(text).unwrap_or_else(|| text.to_owned());
    text.lines().try_for_each(|line| say(format!("  {}", plain(line))))
}

fn commands(
    session: &Session,
    look: Look,
    letter: &Letter,
    event: &EventView<'_>,
) -> Result<(), Failure> {
    let retry: &[&str] = if letter.is_overtaken() { &["--override"] } else { &[] };
    let skip = match letter.is_overtaken() {
        true => "take it off the list",
        false => "give it up; what follows in its lane goes on without it",
    };
    let file = format!("event-{}.data", letter.place());
    let text = std::str::from_utf8(event.data).ok();
    let line =
        |it: &&str| it.len() <= SHORT && !it.contains(char::is_control) && pretty(it).is_some();
    let replace = match text.filter(line) {
        Some(json) => {
            vec![letter.command(session, "replace", &[&["--json-data", json], retry].concat())]
        }
        None => vec![
            format!("{} > {file}", letter.command(session, "show", &["--payload"])),
            letter.command(session, "replace", &[&["--data-file", &file], retry].concat()),
        ],
    };
    for (what, commands) in [
        ("hand it out again, with all its attempts", vec![letter.command(session, "retry", retry)]),
        (skip, vec![letter.command(session, "skip", &[])]),
        ("hand out other data in its place: change them here first", replace),
    ] {
        say(look.head(what))?;
        commands.iter().try_for_each(|it| say(format!("  {}", look.typed(it))))?;
    }
    Ok(())
}
