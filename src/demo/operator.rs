//! The operator of the shop: says what becomes of what the services could not decide. Of three that
//! are parked, one is replaced by a corrected event, one is skipped and its order given up, and one
//! is tried again after the cause is gone.

use std::time::Duration;

use quadrille::{Bus, DeadLetter, Event, TypedEvent};
use serde::Serialize;
use serde_json::Value;

use super::payment;
use super::report::{Parked, Resolved};
use super::shop::{SERVICES, Stores};
use crate::cli::Failure;

/// So long after an order is given up the services hear of it.
const NOTICE: Duration = Duration::from_millis(200);

/// An order is given up.
#[derive(Debug, Event, Serialize)]
#[event(type = "order.withdrawn", topic = "orders", undoes = "order.created")]
struct OrderWithdrawn {
    #[event(saga)]
    order: String,
    reason: String,
}

/// What waits for somebody, in the order of the log. `place` is how commands find the bus.
///
/// # Errors
/// The bus is not available.
pub(crate) async fn parked(bus: &Bus, place: &str) -> Result<Vec<Parked>, Failure> {
    let mut parked = Vec::new();
    for (_, letter) in letters(bus).await? {
        let timeline = bus.timeline(&letter.saga).await.map_err(Failure::run)?;
        let timeline = timeline.with_commands(place).to_string();
        parked.push(Parked { order: letter.saga, timeline });
    }
    Ok(parked)
}

/// Resolves all of it.
///
/// # Errors
/// The bus or a store is not available.
pub(crate) async fn resolve(bus: &Bus, stores: &Stores) -> Result<Vec<Resolved>, Failure> {
    let mut resolved = Vec::new();
    for (number, (group, letter)) in letters(bus).await?.into_iter().enumerate() {
        let (how, why) = match number % 3 {
            0 => ("replace", replace(bus, group, &letter).await?),
            1 => ("skip", skip(bus, group, &letter).await?),
            _ => ("retry", retry(bus, group, &letter, stores).await?),
        };
        let place = letter.position.to_string();
        let first = match how {
            "skip" => "publish order.withdrawn, ",
            "retry" => "payment: accept XTS, ",
            _ => "",
        };
        let how = format!("{first}dlq {how} {group} {}", place.trim_start_matches('#'));
        resolved.push(Resolved { order: letter.saga, how, why: why.to_owned() });
    }
    Ok(resolved)
}

async fn letters(bus: &Bus) -> Result<Vec<(&'static str, DeadLetter)>, Failure> {
    let mut all = Vec::new();
    for group in SERVICES {
        let letters = bus.dead_letters(group).await.map_err(Failure::run)?;
        let open = letters.into_iter().filter(|it| it.superseded_by.is_none());
        all.extend(open.map(|it| (group, it)));
    }
    Ok(all)
}

/// The same event, in a currency that is charged; for this group only.
async fn replace(bus: &Bus, group: &str, letter: &DeadLetter) -> Result<&'static str, Failure> {
    let mut found = bus.read(&letter.topic).from(letter.offset);
    let stored = found.next().await.ok_or_else(|| Failure::run("the parked event is gone"))?;
    let stored = stored.map_err(Failure::run)?;
    let event = stored.event();
    let mut data: Value = event.json().map_err(Failure::run)?;
    if let Some(currency) = data.get_mut("currency") {
        *currency = "EUR".into();
    }
    let corrected = Event::new(event.ty).json(&data).map_err(Failure::run)?;
    let resolve = bus.resolve(group, letter.position).by("operator");
    resolve.replace(corrected).await.map_err(Failure::run)?;
    Ok("it was a typing error: EUR")
}

/// Skipping lets the saga go on, but nothing would ever follow in it: so its order is given up. The
/// notice is armed first, so that a crash in between leaves no order without an end.
async fn skip(bus: &Bus, group: &str, letter: &DeadLetter) -> Result<&'static str, Failure> {
    let order = letter.saga.clone();
    let id = format!("withdrawn/{order}");
    let event = OrderWithdrawn { order, reason: "the customer has given up".to_owned() };
    let event = event.event().map_err(Failure::run)?.id(id).source("operator");
    let topic = bus.topic(OrderWithdrawn::TOPIC);
    topic.publish(event).after(NOTICE).await.map_err(Failure::run)?;
    let resolve = bus.resolve(group, letter.position).by("operator");
    resolve.skip().await.map_err(Failure::run)?;
    Ok("the customer has given up")
}

async fn retry(
    bus: &Bus,
    group: &str,
    letter: &DeadLetter,
    stores: &Stores,
) -> Result<&'static str, Failure> {
    payment::accept(&stores.payment, "XTS").await.map_err(Failure::run)?;
    let resolve = bus.resolve(group, letter.position).by("operator");
    resolve.retry().await.map_err(Failure::run)?;
    Ok("a new currency")
}
