//! Orders: reading them from JSON lines, checking every line, and the ids of a run's orders.
//! No store and no bus.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::cli::Failure;

/// The orders that ship with the demo.
const SAMPLE: &str = include_str!("orders.jsonl");

/// What a line looks like, for messages.
const SHAPE: &str = r#"{"customerId": "c-17", "items": [{"productId": "mug", "quantity": 2}], "totalAmount": 19.90}"#;

/// What a customer wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) customer_id: String,
    pub(crate) items: Vec<Item>,
    pub(crate) total_amount: Money,
}

/// So many of one product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
}

/// An amount of money: exact cents inside, a number with at most two decimals outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Money(u64);

impl Money {
    pub(crate) const fn cents(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let hundredths = match part.len() {
            0 => 0,
            1 => part.parse::<u64>().ok()? * 10,
            2 => part.parse().ok()?,
            _ => return None,
        };
        let whole: u32 = whole.parse().ok()?;
        Some(Self(u64::from(whole) * 100 + hundredths))
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 100.0)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        Self::parse(&number.to_string()).ok_or_else(|| {
            de::Error::custom(format!(
                "{number} is not an amount from 0 to {} with at most two decimals",
                u32::MAX
            ))
        })
    }
}

/// The orders of `file`, or the sample's.
///
/// # Errors
/// The file cannot be read, holds no order, or has a line that is none: named with its number.
pub(crate) fn load(file: Option<&Path>) -> Result<Vec<Order>, Failure> {
    let Some(path) = file else {
        return parse(SAMPLE, "the sample");
    };
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::input(format!(
            "cannot read the orders in {}: {e}; give a file of JSON lines to --orders, or leave \
             it out to use the sample",
            path.display()
        ))
    })?;
    parse(&text, &path.display().to_string())
}

/// The id of the order at `index` of a run. It follows from the seed, the index and what is
/// ordered, so a second start publishes the same ids, and other orders never take them.
pub(crate) fn order_id(seed: u64, index: u64, order: &Order) -> String {
    let mut text = order.customer_id.clone();
    for item in &order.items {
        text.push_str(&format!("/{}*{}", item.product_id, item.quantity));
    }
    let digest = fnv(&[&text, &order.total_amount.to_string()]) & 0xffff;
    format!("order-{seed}-{index:04}-{digest:04x}")
}

/// A small stable hash (FNV-1a, 64 bit) of some texts.
pub(crate) fn fnv(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn parse(text: &str, name: &str) -> Result<Vec<Order>, Failure> {
    let mut orders = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let checked = serde_json::from_str(line).map_err(|e| e.to_string()).and_then(check);
        orders.push(checked.map_err(|why| {
            // serde_json counts lines of its own text, which is always this one line.
            let why = why.replace(" at line 1 column", " at column");
            Failure::input(format!(
                "line {number} of {name} is not an order: {why}; a line looks like {SHAPE}"
            ))
        })?);
    }
    if orders.is_empty() {
        return Err(Failure::input(format!("{name} holds no orders; a line looks like {SHAPE}")));
    }
    Ok(orders)
}

fn check(order: Order) -> Result<Order, String> {
    if order.customer_id.is_empty() {
        return Err("customerId is empty".into());
    }
    if order.items.is_empty() {
        return Err("items is empty".into());
    }
    for item in &order.items {
        if item.product_id.is_empty() {
            return Err("an item's productId is empty".into());
        }
        if item.quantity == 0 {
            return Err(format!("the quantity of {} is 0", item.product_id));
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let good = r#"{"customerId":"c","items":[{"productId":"p","quantity":1}],"totalAmount":1}"#;
        match parse(&format!("{good}\n\n{line}\n"), "orders.jsonl") {
            Err(Failure::Input(text)) => text,
            other => panic!("accepted: {other:?}"),
        }
    }

    #[test]
    fn the_sample_holds_three_hundred_orders() {
        let orders = load(None).unwrap();
        assert_eq!(orders.len(), 300);
        assert!(orders.iter().any(|order| order.items.len() > 2));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_what_is_wrong() {
        let cases = [
            ("{\"customerId\":", "EOF"),
            (r#"{"items":[],"totalAmount":1}"#, "missing field `customerId`"),
            (r#"{"customerId":"","items":[],"totalAmount":1}"#, "customerId is empty"),
            (r#"{"customerId":"c","items":[],"totalAmount":1}"#, "items is empty"),
            (
                r#"{"customerId":"c","items":[{"productId":"p","quantity":0}],"totalAmount":1}"#,
                "the quantity of p is 0",
            ),
            (
                r#"{"customerId":"c","items":[{"productId":"p","quantity":1}],"totalAmount":-3}"#,
                "-3 is not an amount",
            ),
            (
                r#"{"customerId":"c","items":[{"productId":"p","quantity":1}],"totalAmount":1.234}"#,
                "1.234 is not an amount",
            ),
        ];
        for (line, why) in cases {
            let text = refusal(line);
            assert!(text.starts_with("line 3 of orders.jsonl is not an order: "), "{text}");
            assert!(text.contains(why) && text.contains("a line looks like"), "{text}");
        }
    }

    #[test]
    fn a_file_without_orders_or_without_itself_is_refused() {
        assert!(
            matches!(parse("\n \n", "x"), Err(Failure::Input(text)) if text.contains("no orders"))
        );
        let missing = load(Some(Path::new("/nowhere/orders.jsonl"))).unwrap_err();
        assert!(matches!(missing, Failure::Input(text) if text.contains("/nowhere/orders.jsonl")));
    }

    #[test]
    fn amounts_are_exact() {
        for (text, cents) in
            [("0", 0), ("19.9", 1990), ("0.07", 7), ("4294967295.99", 429_496_729_599)]
        {
            assert_eq!(Money::parse(text).map(Money::cents), Some(cents), "{text}");
        }
        for text in ["", "-1", "1e21", "4294967296", "1.234"] {
            assert_eq!(Money::parse(text), None, "{text}");
        }
        assert_eq!(Money(1905).to_string(), "19.05");
    }

    #[test]
    fn ids_follow_from_seed_index_and_content() {
        let orders = load(None).unwrap();
        let id = order_id(1, 7, &orders[7]);
        assert_eq!(id, order_id(1, 7, &orders[7]));
        for other in
            [order_id(2, 7, &orders[7]), order_id(1, 8, &orders[7]), order_id(1, 7, &orders[8])]
        {
            assert_ne!(id, other);
        }
    }
}
