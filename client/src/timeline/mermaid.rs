//! A timeline as a flowchart for Mermaid.

use std::fmt::Write as _;

use super::text::plain;
use super::tree::{Node, hang};
use super::{EventState, Timeline};

/// Draws it. Labels are quoted, and what would end a quote or be taken for markup is written as an
/// entity.
pub(super) fn draw(timeline: &Timeline) -> String {
    let mut out = String::from("flowchart TD\n");
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  saga([\"{} · {}\"])", label(&timeline.saga), timeline.status);
    // The newest node of every level.
    let mut path: Vec<String> = vec!["saga".to_owned()];
    for (number, it) in hang(timeline).iter().enumerate() {
        let name = format!("n{number}");
        let (text, arrow) = match it.node {
            Node::Event(event) => {
                let attempt = match event.attempt {
                    Some(attempt @ 2..) => format!("<br>done at attempt {attempt}"),
                    _ => String::new(),
                };
                let (ty, source) = (label(&event.ty), label(&event.source));
                (format!("[\"{ty}<br>{source} {}{attempt}\"]", event.position), "-->")
            }
            Node::Group(_, group) => {
                let class = match group.state {
                    EventState::Parked { .. } => ":::parked",
                    EventState::Held { .. } => ":::held",
                    _ => "",
                };
                let state = label(&group.state.to_string());
                (format!("{{{{\"{}<br>{state}\"}}}}{class}", label(&group.group)), "-.->")
            }
        };
        path.truncate(it.follows.len());
        let above = path.last().map(String::as_str).unwrap_or_default();
        let _ = writeln!(out, "  {above} {arrow} {name}{text}");
        path.push(name);
    }
    out.push_str("  classDef parked fill:#f99\n  classDef held fill:#fd8\n");
    out
}

fn label(text: &str) -> String {
    let mut out = String::new();
    for c in plain(text).chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            c => out.push(c),
        }
    }
    out
}
