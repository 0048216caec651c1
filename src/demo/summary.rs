//! What a run says at its end, to people and to programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::audit::Violation;

/// How many violations people are shown.
const SHOWN: usize = 20;

/// The end of a run. Retries, duplicates, superseded events and the speeds are of this start; the
/// other numbers are of the directory.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) orders: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) parked: u64,
    pub(crate) events: u64,
    pub(crate) retries: u64,
    pub(crate) duplicates: u64,
    pub(crate) superseded: u64,
    /// How many starts before this one ended without order.
    pub(crate) kills: u64,
    pub(crate) sagas_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    #[serde(serialize_with = "audit_as_json")]
    pub(crate) audit: Vec<Violation>,
}

fn audit_as_json<S: serde::Serializer>(
    audit: &[Violation],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    audit_json(audit).serialize(serializer)
}

/// `"ok"`, or the list of violations.
pub(crate) fn audit_json(audit: &[Violation]) -> Value {
    match audit {
        [] => json!("ok"),
        list => list.iter().map(ToString::to_string).collect(),
    }
}

/// The audit for people.
pub(crate) fn audit_text(audit: &[Violation]) -> String {
    if audit.is_empty() {
        return "audit: ok; goods, money, ends, undo steps and notifications add up".to_owned();
    }
    let mut text = format!("audit: {} violations", audit.len());
    for violation in audit.iter().take(SHOWN) {
        let _ = write!(text, "\n  {violation}");
    }
    if audit.len() > SHOWN {
        let _ = write!(text, "\n  and {} more; --json lists all", audit.len() - SHOWN);
    }
    text
}

impl Summary {
    /// Everything ended, nothing is parked, and the books balance.
    pub(crate) fn good(&self) -> bool {
        self.parked == 0 && self.audit.is_empty() && self.completed + self.cancelled == self.orders
    }

    pub(crate) fn text(&self) -> String {
        let Self { orders, completed, cancelled, parked, events, retries, .. } = self;
        let Self { duplicates, superseded, sagas_per_s, p50_ms, p99_ms, .. } = self;
        format!(
            "{orders} orders: {completed} completed, {cancelled} cancelled, {parked} events \
             parked\n{events} events in the log, {retries} retries, {duplicates} duplicates, \
             {superseded} superseded\n{sagas_per_s:.0} sagas/s, from order to end p50 {p50_ms:.1} \
             ms, p99 {p99_ms:.1} ms\n{}",
            audit_text(&self.audit)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(audit: Vec<Violation>) -> Summary {
        Summary {
            orders: 3,
            completed: 2,
            cancelled: 1,
            parked: 0,
            events: 19,
            retries: 1,
            duplicates: 0,
            superseded: 0,
            kills: 0,
            sagas_per_s: 100.0,
            p50_ms: 1.5,
            p99_ms: 2.0,
            audit,
        }
    }

    #[test]
    fn the_json_object_has_its_fields_in_their_order() {
        let text = serde_json::to_string(&summary(Vec::new())).unwrap();
        assert_eq!(
            text,
            r#"{"orders":3,"completed":2,"cancelled":1,"parked":0,"events":19,"retries":1,"duplicates":0,"superseded":0,"kills":0,"sagas_per_s":100.0,"p50_ms":1.5,"p99_ms":2.0,"audit":"ok"}"#
        );
    }

    #[test]
    fn violations_are_listed_and_make_a_run_bad() {
        let violation = Violation::new("money", "a cent is missing".to_owned());
        let bad = summary(vec![violation; 21]);
        assert!(!bad.good() && summary(Vec::new()).good());
        let json = serde_json::to_value(&bad).unwrap();
        assert_eq!(json["audit"][20], "money: a cent is missing");
        assert!(bad.text().ends_with("and 1 more; --json lists all"));
    }
}
