//! What the macros make of right code. What is said of wrong code is in `messages.rs`.

use quadrille::{
    Ctx, Emits, Emitter, Event, Extract, Failure, Handling, Outputs, Participant, State,
    TypedEvent, handler,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.processed", topic = "payments")]
struct Processed {
    #[event(saga)]
    order: u64,
    #[event(key)]
    r#type: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.refunded", topic = "payments")]
#[event(schema = 3, undoes = Processed)]
struct Refunded(#[event(key, saga)] u64, u8);

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.cancelled", topic = "orders", undoes = ["order.created", Processed,])]
struct Cancelled;

#[derive(Event)]
#[event(type = "order.closed", topic = "orders", undoes = "order.created")]
struct Closed<K, const N: usize> {
    #[event(key)]
    by: K,
}

#[derive(Outputs)]
enum Answer<O> {
    Refund(Refunded),
    Other(O),
    Two((Processed, Option<Processed>)),
    Nothing,
}

#[derive(Outputs)]
struct Wrapped(Vec<Processed>);

#[derive(Outputs)]
enum Never {}

// What a macro writes has names of its own, which must not keep the derived code from its own.
macro_rules! written_by_a_macro {
    ($event:ident, $outputs:ident, $handler:ident) => {
        #[derive(Event, Serialize, Deserialize)]
        #[event(type = "a.b", topic = "a")]
        struct $event {
            #[event(key)]
            key: String,
        }

        #[derive(Outputs)]
        enum $outputs {
            One($event),
            None,
        }

        #[handler]
        async fn $handler(event: $event, future: Ctx) -> Result<$outputs, Failure> {
            Ok(if future.attempt() == 1 { $outputs::One(event) } else { $outputs::None })
        }
    };
}

written_by_a_macro!(Written, Writes, write);

struct Ledger;

/// Of one state only.
struct Balance;

impl Extract<Ledger> for Balance {
    fn extract(_: &Handling<Ledger>) -> Result<Self, Failure> {
        Ok(Self)
    }
}

#[handler]
async fn refund(
    Cancelled: Cancelled,
    _balance: Balance,
    State(_): State<Ledger>,
    ctx: Ctx,
) -> Result<impl Outputs, Failure> {
    Ok((ctx.attempt() == 1).then_some(Refunded(7, 0)))
}

#[handler(state = Ledger)]
async fn ask(_: Processed, _: Balance) -> Result<Answer<()>, Failure> {
    Ok(Answer::Nothing)
}

#[handler]
async fn any<E: TypedEvent + DeserializeOwned>(_: E) -> Result<(), Failure> {
    Ok(())
}

#[handler]
#[cfg(any())]
async fn not_compiled(_: Nothing) {}

#[test]
fn a_derived_event_says_what_its_attributes_say() {
    let processed = Processed { order: 17, r#type: "card".into() };
    assert_eq!((Processed::TYPE, Processed::TOPIC), ("payment.processed", "payments"));
    assert_eq!((Processed::SCHEMA, Processed::UNDOES), (1, [].as_slice()));
    assert_eq!((processed.saga(), processed.key()), ("17".to_owned(), "card".to_owned()));

    let refunded = Refunded(17, 0);
    assert_eq!((Refunded::SCHEMA, Refunded::UNDOES), (3, ["payment.processed"].as_slice()));
    assert_eq!((refunded.saga(), refunded.key()), ("17".to_owned(), "17".to_owned()));

    assert_eq!(Cancelled::UNDOES, ["order.created", "payment.processed"]);
    assert_eq!(Cancelled.key(), "", "no field has it");

    assert_eq!(Closed::<u8, 2> { by: 5 }.key(), "5");
    assert_eq!(Closed::<u8, 2>::UNDOES, ["order.created"]);
}

#[test]
fn derived_outputs_hand_on_what_their_variant_holds() {
    assert_eq!(
        contracts::<Answer<Cancelled>>(),
        ["payment.refunded", "order.cancelled", "payment.processed", "payment.processed",]
    );
    assert_eq!(contracts::<Wrapped>(), ["payment.processed"]);
    assert_eq!(contracts::<Never>(), [""; 0]);

    let processed = |order| Processed { order, r#type: String::new() };
    assert_eq!(emitted(Answer::<()>::Refund(Refunded(1, 0))), ["payment.refunded"]);
    assert_eq!(emitted(Answer::Other(vec![processed(1)])), ["payment.processed"]);
    assert_eq!(emitted(Answer::<()>::Two((processed(1), None))), ["payment.processed"]);
    assert_eq!(emitted(Answer::<()>::Nothing), [""; 0]);
    assert_eq!(emitted(Wrapped(vec![processed(1), processed(2)])).len(), 2);
}

#[test]
fn a_checked_handler_is_a_handler() {
    let participant = Participant::new("refunds", Ledger).on(ask).compensate(refund).on(write);
    let contract = participant.on(any::<Refunded>).contract();
    let reads: Vec<_> = contract.reads.iter().map(|it| it.ty).collect();
    assert_eq!(reads, ["payment.processed", "order.cancelled", "a.b", "payment.refunded"]);
}

fn contracts<O: Outputs>() -> Vec<&'static str> {
    let mut all: Vec<Emits> = Vec::new();
    O::contracts(&mut all);
    all.iter().map(|it| it.ty).collect()
}

fn emitted(outputs: impl Outputs) -> Vec<String> {
    let mut emitter = Emitter::default();
    outputs.emit(&mut emitter).unwrap();
    emitter.events().map(|(ty, _, _)| ty.to_owned()).collect()
}
