//! Rows of the table of targets: what was to be reached, what was, and whether that is enough.

use crate::{Cell, Spread, Table};

/// What is enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Needs {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Needs {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::AtMost(limit) => format!("<= {limit}"),
        }
    }
}

/// One target.
#[derive(Debug, Clone)]
pub struct Goal {
    /// What is measured, with its unit.
    pub what: String,
    /// Durability, batch, payload, dedup, and what else must be known to read the number.
    pub how: String,
    /// What is enough, for the median.
    pub needs: Needs,
}

/// A target and what was measured for it: one value per round.
#[derive(Debug, Clone)]
pub struct Line {
    /// The target.
    pub goal: Goal,
    /// One value per round.
    pub values: Vec<f64>,
    /// Other numbers of the same run, such as both sides of a ratio.
    pub also: String,
}

/// Lines as a table.
#[derive(Debug, Clone, Default)]
pub struct Goals(pub Vec<Line>);

impl Goals {
    /// The table, one row per line.
    #[must_use]
    pub fn table(self) -> Table {
        let title = "targets: median [min..max] over interleaved rounds, ratios within a round";
        let columns = ["what", "how", "target", "reached", "met", "also"];
        let mut table = Table::new(title, &columns);
        for Line { goal, values, also } in self.0 {
            let spread = Spread::of(values);
            let met = if goal.needs.met_by(spread.median) { "yes" } else { "NO" };
            table.row(vec![
                goal.what.into(),
                goal.how.into(),
                Cell::Text(goal.needs.text()),
                spread.into(),
                met.into(),
                also.into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Report;

    #[test]
    fn the_median_decides_whether_a_target_is_met() {
        let goal = |needs| Goal { what: "x".into(), how: String::new(), needs };
        let line =
            |needs| Line { goal: goal(needs), values: vec![1.0, 3.0, 2.0], also: "-".into() };
        let wanted = [Needs::AtLeast(2.0), Needs::AtLeast(2.1), Needs::AtMost(1.9)];
        let table = Goals(wanted.map(line).to_vec()).table();
        let text = Report::new("t", vec![table]).render(false);
        let met: Vec<bool> = text.lines().skip(6).map(|line| line.contains("| yes |")).collect();
        assert_eq!(met, [true, false, false], "{text}");
    }
}
