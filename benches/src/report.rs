//! Tables of results, as plain text and as JSON. Knows nothing about what was measured.

use serde_json::{Map, Value, json};

/// Median and range of one number over the rounds of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle value (the upper one of an even count).
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// Spread of `values`; all zero if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Words.
    Text(String),
    /// One number.
    Number(f64),
    /// A number with its range.
    Spread(Spread),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
impl From<Spread> for Cell {
    fn from(spread: Spread) -> Self {
        Self::Spread(spread)
    }
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => short(*number),
            Self::Spread(s) => format!("{} [{}..{}]", short(s.median), short(s.min), short(s.max)),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Spread(s) => json!({ "median": s.median, "min": s.min, "max": s.max }),
        }
    }
}

/// About three digits.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

/// A table: a title, the names of its columns, its rows.
#[derive(Debug, Clone)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table. The title says what the numbers mean and their unit.
    #[must_use]
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not one cell per column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "a row of {:?}", self.title);
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let mut lines = vec![self.columns.clone()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(Cell::text).collect()));
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| lines.iter().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        lines.insert(1, rule);
        let mut text = format!("{}\n\n", self.title);
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            text.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
        }
        text
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Value {
            let cells = self.columns.iter().cloned().zip(row.iter().map(Cell::json));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(object).collect::<Vec<_>>() })
    }
}

/// What a program found: its name and its tables.
#[derive(Debug, Clone)]
pub struct Report {
    name: &'static str,
    tables: Vec<Table>,
}

impl Report {
    /// A report of `tables` by the program `name`.
    #[must_use]
    pub fn new(name: &'static str, tables: Vec<Table>) -> Self {
        Self { name, tables }
    }

    /// The text to print: tables (which are Markdown), or one JSON object.
    #[must_use]
    pub fn render(&self, json: bool) -> String {
        if json {
            let tables: Vec<Value> = self.tables.iter().map(Table::json).collect();
            return json!({ "program": self.name, "tables": tables }).to_string();
        }
        let tables: Vec<String> = self.tables.iter().map(Table::text).collect();
        format!("## {}\n\n{}", self.name, tables.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_range() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(Vec::new()).max, 0.0);
    }

    #[test]
    fn a_report_prints_tables_or_one_json_object() {
        let mut table = Table::new("times, µs", &["what", "p50"]);
        table.row(vec!["grown".into(), Spread::of(vec![123.4]).into()]);
        let report = Report::new("x", vec![table]);
        assert!(report.render(false).contains("| grown | 123 [123..123] |"));
        let json: Value = serde_json::from_str(&report.render(true)).unwrap();
        assert_eq!(json["tables"][0]["rows"][0]["p50"]["median"], 123.4);
    }
}
