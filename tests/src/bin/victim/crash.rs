//! A consumer that one event kills: every event `bomb` aborts the process, all others are done.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use quadrille::{Bus, Event, OrderBy};

use crate::say;

/// Works until nothing has come for a while.
pub(crate) async fn run(dir: PathBuf) -> Result<(), Box<dyn Error>> {
    let bus = Bus::open(dir).await?;
    let group = bus.group("work").topics(["orders"]).order_by(OrderBy::Key).member("victim");
    let mut events = group.subscribe().await?;
    let patience = Duration::from_millis(400);
    while let Ok(Some(delivery)) = tokio::time::timeout(patience, events.next()).await {
        let id = delivery.id().to_owned();
        say(&format!("seen {id} {}", delivery.attempt()));
        if delivery.ty() == "bomb" {
            std::process::abort();
        }
        let done = Event::new("done").id(format!("{id}/done"));
        delivery.step().publish("done", done).commit().await?;
        say(&format!("done {id}"));
    }
    say("idle");
    Ok(())
}
