//! What a run says at its end, to people and to programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::audit::{Sum, Violation};

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

/// The audit for people: its sums, and what does not add up.
pub(crate) fn audit_text(sums: &[Sum], audit: &[Violation]) -> String {
    let mut text = String::new();
    for Sum { subject, text: sum, good } in sums {
        let check = if *good { "✔" } else { "✘" };
        let _ = writeln!(text, "{check} {subject:<7}{sum}");
    }
    for violation in audit.iter().take(SHOWN) {
        let _ = writeln!(text, "  {violation}");
    }
    if audit.len() > SHOWN {
        let _ = writeln!(text, "  and {} more; --json lists all", audit.len() - SHOWN);
    }
    text
}

impl Summary {
    /// Everything ended, nothing is parked, and the books balance.
    pub(crate) fn good(&self) -> bool {
        self.parked == 0 && self.audit.is_empty() && self.completed + self.cancelled == self.orders
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
        let text = audit_text(&[], &bad.audit);
        assert!(text.ends_with("and 1 more; --json lists all\n"), "{text}");
    }
}
