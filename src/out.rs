//! How answers are told: lines, tables, ages, colours, words that a shell takes as they are. What
//! is told is the commands'.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use anstyle::{AnsiColor, Effects, Style};
use serde::Serialize;

use crate::cli::Failure;

/// How many columns a line has where nobody says.
const WIDTH: usize = 80;

/// How what is told looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    colour: bool,
    /// Columns of the terminal; elsewhere nothing is cut.
    width: Option<usize>,
}

impl Look {
    /// As it suits where standard output goes.
    pub(crate) fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let columns = || terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0.into());
        Self { colour: terminal && !plain, width: terminal.then(columns) }
    }

    /// What is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(text, Style::new().fg_color(Some(AnsiColor::Red.into())))
    }

    /// What can be typed.
    pub(crate) fn typed(self, text: &str) -> String {
        self.paint(text, Style::new().fg_color(Some(AnsiColor::Cyan.into())))
    }

    /// What stands above others.
    pub(crate) fn head(self, text: &str) -> String {
        self.paint(text, Style::new().effects(Effects::BOLD))
    }

    /// One line, no longer than there is room behind `before` columns.
    pub(crate) fn fitted(self, text: &str, before: usize) -> String {
        let text = plain(text);
        let room = self.width.map_or(usize::MAX, |it| it.saturating_sub(before).max(20));
        if text.chars().count() <= room {
            return text;
        }
        text.chars().take(room - 1).chain(['…']).collect()
    }

    fn paint(self, text: &str, style: Style) -> String {
        let style = if self.colour { style } else { Style::new() };
        format!("{style}{text}{style:#}")
    }
}

/// Says a line on standard output. Who no longer listens needs no more.
pub(crate) fn say(line: impl AsRef<str>) -> Result<(), Failure> {
    said(writeln!(io::stdout(), "{}", line.as_ref()))
}

/// Says bytes as they are.
pub(crate) fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    said(io::stdout().write_all(bytes))
}

/// Says one JSON object.
pub(crate) fn say_json(answer: &impl Serialize) -> Result<(), Failure> {
    say(serde_json::to_string(answer).map_err(Failure::run)?)
}

fn said(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::run),
    }
}

/// Columns as wide as what is in them, the first line above the others; `right` are those of
/// numbers.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|it| it.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match right
            .contains(&column)
        {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// So many of something.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// How long ago something was: `3m12s`.
pub(crate) fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A moment: `2026-01-31 12:00:00 UTC`.
pub(crate) fn date(unix_ms: u64) -> String {
    let moment = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(moment).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// Text of strangers, harmless to a terminal and on one line.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => vec![' '],
        c if c.is_control() => c.escape_unicode().collect(),
        c => vec![c],
    };
    text.trim_end().chars().flat_map(shown).collect()
}

/// A word that a shell takes as it is. What a terminal would obey is spelled out for `printf`; only
/// a newline at the very end is lost by that.
pub(crate) fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    match () {
        () if !word.is_empty() && word.chars().all(safe) => word.to_owned(),
        () if word.contains(char::is_control) => {
            let spelled = |byte: u8| match char::from(byte) {
                c if safe(c) && c != '%' || c == ' ' => c.to_string(),
                _ => format!(r"\{byte:03o}"),
            };
            // After its options: the word may begin with a dash.
            format!("\"$(printf -- '{}')\"", word.bytes().map(spelled).collect::<String>())
        }
        () => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// JSON text on lines of its own. Its numbers and the order of its fields stay as they are written.
/// `None` if it is not JSON.
pub(crate) fn pretty(json: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(json).ok()?;
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let turn = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = chars.next_if(|it| matches!(it, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    turn(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                turn(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                turn(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["NAME", "N", "SAGA"]), row(["é", "12", "x"])];
        assert_eq!(table(&rows, &[1]), ["NAME   N  SAGA", "é     12  x"]);
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let of = [999, 59_000, 192_000, 3_600_000, 90_000_000].map(age);
        assert_eq!(of, ["0s", "59s", "3m12s", "1h00m", "1d01h"]);
    }

    #[test]
    fn a_word_comes_out_of_a_shell_as_it_went_in() {
        for word in [
            "plain",
            "a b",
            "it's",
            "",
            "#3310",
            "$HOME",
            "a\nb",
            "*",
            "~/x",
            "ü",
            "-\u{1b}[31m%s'\\é\u{9b}",
        ] {
            assert!(!quoted(word).contains(char::is_control), "{word:?}");
            let echoed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(echoed.stdout, word.as_bytes(), "{}", quoted(word));
        }
        assert_eq!(quoted("demo-data/a.b"), "demo-data/a.b");
    }

    #[test]
    fn text_of_strangers_does_not_reach_the_terminal_raw() {
        assert_eq!(plain("a\u{1b}[31mb\nc\n"), "a\\u{1b}[31mb c");
        let look = Look { colour: false, width: Some(30) };
        assert_eq!(look.fitted("123456789012345678901234567890", 8), "123456789012345678901…");
        assert_eq!(look.fitted("short", 8), "short");
    }

    #[test]
    fn json_is_laid_out_without_touching_what_it_says() {
        let json = r#"{"b":[1.10, {} ,[ ]],"a":"x, \"{y}\": \\" , "big":12345678901234567890123}"#;
        assert_eq!(
            pretty(json).unwrap(),
            "{\n  \"b\": [\n    1.10,\n    {},\n    []\n  ],\n  \"a\": \"x, \\\"{y}\\\": \\\\\",\n  \"big\": 12345678901234567890123\n}"
        );
        assert_eq!(pretty("{"), None);
        assert_eq!(pretty("1 2"), None);
    }
}
