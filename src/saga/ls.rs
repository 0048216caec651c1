//! `quadrille saga ls`: which sagas there are, and what to type next.

use quadrille::SagaRow;
use serde_json::{Value, json};

use super::LsArgs;
use super::json::status;
use crate::at::{Session, place};
use crate::cli::Failure;
use crate::out::{Look, age, count, plain, say, say_json, table};

/// Lists those that are asked for.
pub(super) async fn ls(session: &Session, args: &LsArgs) -> Result<(), Failure> {
    // One more tells whether there are more.
    let mut query = session.bus.sagas().limit(args.limit.saturating_add(1));
    if args.needs_attention {
        query = query.needs_attention();
    } else if args.open {
        query = query.open();
    }
    if args.stalest {
        query = query.oldest();
    }
    let mut list = query.await.map_err(|e| session.failure(e))?;
    let more = list.rows.len() > args.limit;
    list.rows.truncate(args.limit);
    if args.at.json {
        return say_json(&json!({
            "sagas": list.rows.iter().map(as_json).collect::<Value>(),
            "cut": list.cut,
            "exact_to": place(list.exact_to),
        }));
    }
    let look = Look::of_stdout();
    rows(session, look, &list.rows)?;
    say(summary(args, list.rows.len(), more, list.cut))?;
    let first = list.rows.first().map(|it| session.command(&["saga", "show", &it.saga]));
    first.map_or(Ok(()), |it| say(look.typed(&it)))
}

fn as_json(it: &SagaRow) -> Value {
    json!({
        "saga": it.saga, "status": status(it.status), "events": it.count, "turn": it.turn,
        "first": { "place": place(it.first.0), "published_at": it.first.1 },
        "last": { "place": place(it.last.0), "published_at": it.last.1 },
        "services": it.services, "groups": it.groups,
        "trouble": it.trouble.as_ref().map(|(group, at, reason)| {
            json!({ "group": group, "place": place(*at), "reason": reason })
        }),
    })
}

/// A line each, and one more for the reason of what is parked.
fn rows(session: &Session, look: Look, sagas: &[SagaRow]) -> Result<(), Failure> {
    let ago = |ms: u64| age(session.now.saturating_sub(ms));
    let row = |it: &SagaRow| {
        vec![
            plain(&it.saga),
            it.status.to_string(),
            it.count.to_string(),
            ago(it.first.1),
            ago(it.last.1),
            it.groups.join(", "),
        ]
    };
    if sagas.is_empty() {
        return Ok(());
    }
    let head = ["SAGA", "STATUS", "EVENTS", "BEGAN", "LAST", "WAITS AT"].map(str::to_owned);
    let all: Vec<_> = [head.to_vec()].into_iter().chain(sagas.iter().map(row)).collect();
    let lines = table(&all, &[2, 3, 4]);
    let mut lines = lines.iter();
    lines.next().map_or(Ok(()), |head| say(look.head(head)))?;
    for (line, saga) in lines.zip(sagas) {
        say(line)?;
        if let Some((group, at, reason)) = &saga.trouble {
            let where_to = format!("  {group} {}: ", place(*at));
            say(format!("{where_to}{}", look.bad(&look.fitted(reason, where_to.len()))))?;
        }
    }
    say("")
}

fn summary(args: &LsArgs, shown: usize, more: bool, cut: bool) -> String {
    let (one, many) = match (args.needs_attention, args.open) {
        (true, _) => ("saga needs attention", "sagas need attention"),
        (_, true) => ("saga is open", "sagas are open"),
        _ => ("saga", "sagas"),
    };
    match (shown, cut) {
        _ if more => format!("{shown} shown; --limit N shows more"),
        (0, false) => format!("no {one}"),
        (_, true) => format!(
            "{}; there may be more, the log is too long to look further",
            count(shown as u64, one, many)
        ),
        (_, false) => count(shown as u64, one, many),
    }
}
