//! What `#[event(..)]` may say, and how often.

use quadrille::Event;

#[derive(Event)]
struct SaysNothing;

#[derive(Event)]
#[event(type = "order.created")]
struct NoTopic;

#[derive(Event)]
#[event(typ = "order.created", topic = "orders")]
struct Misspelt;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", saga)]
struct OfAField;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", topic = "payments")]
struct SaidTwice;

#[derive(Event)]
#[event(type = 7, topic = "orders")]
struct TypeIsANumber;

#[derive(Event)]
#[event(type = "order.created", topic)]
struct TopicWithoutValue;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", schema = 0)]
struct SchemaNought;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", schema = "1")]
struct SchemaIsText;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", undoes = 5)]
struct UndoesANumber;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", undoes = ["order.placed", 5])]
struct UndoesAListWithANumber;

fn main() {}
