//! The four services of the saga on raw subscriptions.

use std::sync::Arc;

use bytes::Bytes;
use quadrille::{Closed, Delivery, Event, OrderBy};
use tokio::sync::Semaphore;

use crate::saga::{IN_FLIGHT, TOPICS, TYPES, Took, round};
use crate::{Failure, Stage};

/// Who knows that a saga has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The last service, when its step is durable.
    LastStep,
    /// A fifth subscription, which reads what the last service publishes.
    Observer,
}

/// A round of so many sagas on raw subscriptions, with data of 256 random bytes.
///
/// # Errors
/// As of [`round`].
pub async fn raw_round(stage: &Stage, sagas: u32, ends: Ends) -> Result<Took, Failure> {
    let data: Bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(256).collect();
    let first = || Event::new("order.created").source("shop").data(data.clone());
    let serve = async |services: &mut tokio::task::JoinSet<()>, room: Arc<Semaphore>| {
        let steps = TOPICS.iter().zip(TOPICS.iter().skip(1)).zip(TYPES.iter().skip(1));
        for ((&from, &to), &ty) in steps {
            let counts = ends == Ends::LastStep && Some(&to) == TOPICS.last();
            let ended = counts.then(|| Arc::clone(&room));
            let service = service(stage, from, to, ty, data.clone(), ended).await?;
            services.spawn(async move {
                let _closed = service.await;
            });
        }
        if ends == Ends::Observer {
            observe(stage, services, room).await?;
        }
        Ok(())
    };
    round(stage, sagas, serve, first).await
}

/// Adds a subscription that gives back a permit for each event of the last topic.
///
/// # Errors
/// It cannot be made.
pub async fn observe(
    stage: &Stage,
    services: &mut tokio::task::JoinSet<()>,
    room: Arc<Semaphore>,
) -> Result<(), Failure> {
    let last = TOPICS.last().copied().ok_or("no topics")?;
    let group = stage.bus.group("observer").topics([last]).order_by(OrderBy::Saga);
    let member = group.credit(u32::try_from(IN_FLIGHT)?).subscribe().await?;
    services.spawn(async move {
        let count = |delivery: Delivery| {
            room.add_permits(1);
            drop(delivery.ack());
            std::future::ready(())
        };
        let _closed = member.for_each_concurrent(IN_FLIGHT, count).await;
    });
    Ok(())
}

/// Joins as a service: one step for each event.
async fn service(
    stage: &Stage,
    from: &'static str,
    to: &'static str,
    ty: &'static str,
    data: Bytes,
    ended: Option<Arc<Semaphore>>,
) -> Result<impl Future<Output = Closed> + use<>, Failure> {
    let group = stage.bus.group(from).topics([from]).order_by(OrderBy::Saga);
    let member = group.credit(u32::try_from(IN_FLIGHT)?).subscribe().await?;
    let handle = move |delivery: Delivery| {
        let next = Event::new(ty).source(from).data(data.clone());
        let step = delivery.step().publish(to, next).commit();
        let ended = ended.clone();
        async move {
            step.await.expect("a step of a bus that works");
            if let Some(room) = ended {
                room.add_permits(1);
            }
        }
    };
    Ok(member.for_each_concurrent(IN_FLIGHT, handle))
}
