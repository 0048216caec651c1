//! `quadrille dlq replace`: other data for an event that a group could not process. Everything
//! else of the event stays as it is.

use std::fs::File;
use std::io::{self, Read};

use quadrille::Event;
use quadrille_broker::limits::Limits;
use serde_json::json;

use super::find;
use super::resolve::{How, check_overtaken};
use super::show::says_json;
use super::{ReplaceArgs, Row};
use crate::at::Session;
use crate::cli::Failure;
use crate::out::{plain, say, say_json};

/// Replaces it with these data.
pub(super) async fn replace(
    session: &Session,
    args: &ReplaceArgs,
    data: Vec<u8>,
) -> Result<(), Failure> {
    let mut found = find::at(session, &args.group, &[args.place]).await?;
    let Some(letter) = found.first_mut() else { return Ok(()) };
    check_overtaken(letter, How::Retry, &args.record)?;
    let stored = letter.event(session).await?;
    let not_json = serde_json::from_slice::<serde::de::IgnoredAny>(&data).err();
    let wants_json = args.json_data.is_some() || says_json(&stored.event());
    if let Some(why) = not_json.filter(|_| wants_json) {
        let text = format!("the data are not JSON ({why}), and the event's are; nothing was done");
        return Err(Failure::Coded { code: "not_json", exit: 2, text });
    }
    letter.count_behind(session).await?;
    let event = Event::from(stored.event()).data(data);
    let resolve = args.record.on(session, letter);
    resolve.replace(event).await.map_err(|e| session.failure(e))?;
    if args.at.json {
        let dead_letter = Row::from(&*letter);
        return say_json(&json!({ "how": "replace", "dead_letter": dead_letter }));
    }
    say(format!(
        "{} {} {} replaced: handed out with the new data, with all attempts, to the next member of {0}",
        letter.group,
        letter.place(),
        plain(&letter.dead.ty)
    ))
}

/// The data that are given, no more than an event has room for. Read before the bus is opened: they
/// may be long in coming.
pub(super) fn data(args: &ReplaceArgs) -> Result<Vec<u8>, Failure> {
    let unread = |name: &str, e: io::Error| Failure::Coded {
        code: "data_unreadable",
        exit: 2,
        text: format!("cannot read the data from {name}: {e}"),
    };
    let most = Limits::default().event_bytes;
    let bounded = |from: &mut dyn Read| {
        let mut data = Vec::new();
        from.take(most as u64 + 1).read_to_end(&mut data).map(|_| data)
    };
    let data = match (args.data_file.as_deref(), &args.json_data) {
        (Some("-"), _) => {
            bounded(&mut io::stdin().lock()).map_err(|e| unread("standard input", e))?
        }
        (Some(file), _) => {
            File::open(file).and_then(|mut it| bounded(&mut it)).map_err(|e| unread(file, e))?
        }
        (None, Some(json)) => json.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    if data.len() > most {
        let text =
            format!("the data have more than {most} bytes, which no event may; nothing was done");
        return Err(Failure::Coded { code: "event_too_large", exit: 2, text });
    }
    Ok(data)
}
