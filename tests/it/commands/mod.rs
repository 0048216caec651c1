//! The commands of the command line on a data directory, each as people and as programs see it:
//! the same directory every time, beside which they run, so that what they print is always the same.

mod dlq;
mod errors;
mod printed;
mod sagas;
mod shop;

use std::path::Path;
use std::process::{Command, Stdio};

use quadrille::Position;
use quadrille_tests::{Alone, alone, quadrille};
use tempfile::TempDir;

use self::shop::Shop;

/// A folder with a `demo-data` in it.
struct Desk {
    shop: Shop,
    folder: TempDir,
    _alone: Option<Alone>,
}

/// What a command has said.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    async fn new() -> Self {
        let (folder, alone) = (tempfile::tempdir().unwrap(), alone());
        let shop = shop::open(&folder.path().join("demo-data")).await;
        Self { shop, folder, _alone: Some(alone) }
    }

    /// Another one, while the first is there.
    async fn new_beside(_first: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shop = shop::open(&folder.path().join("demo-data")).await;
        Self { shop, folder, _alone: None }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a line as a shell does, with `N` instead of the place of the parked event, on
    /// `demo-data`.
    fn run(&self, line: &str) -> Said {
        let line = line.replace(" N", &format!(" {}", number(self.shop.parked)));
        self.shell(&format!("quadrille {line} --data demo-data"))
    }

    fn shell(&self, line: &str) -> Said {
        let bin = quadrille().parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let ran = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.path())
            .env("PATH", format!("{bin}:{path}"))
            .env("USER", "operator")
            .env_remove("QUADRILLE_DATA")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: ran.status.code().unwrap(),
            out: String::from_utf8(ran.stdout).unwrap(),
            err: String::from_utf8(ran.stderr).unwrap(),
        }
    }
}

impl Said {
    /// What was said by a command that succeeded and complained of nothing.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    /// What was said by a command that failed with this code and answered nothing.
    #[track_caller]
    fn bad(self, code: i32) -> String {
        assert_eq!((self.code, &*self.out), (code, ""), "{}", self.err);
        self.err
    }
}

/// As it is written in commands.
fn number(at: Position) -> String {
    at.to_string().trim_start_matches('#').to_owned()
}

/// Without what is never the same: moments, and how long ago they are.
fn steady(text: &str) -> String {
    let is_age = |it: &str| it.strip_suffix('s').is_some_and(|it| it.parse::<u32>().is_ok());
    let word = |word: &str| match word.trim_start_matches('(') {
        age if is_age(age) && age == word => format!("{:>1$}", "0s", age.len()),
        age if is_age(age) => "(0s".to_owned(),
        day if day.len() == 10 && day.matches('-').count() == 2 => "DAY".to_owned(),
        time if time.len() == 8 && time.matches(':').count() == 2 => "TIME".to_owned(),
        _ => without_moments(word),
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// With 0 for each number that is one of milliseconds since 1970.
fn without_moments(word: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let pieces = word.split_inclusive(|c| !is_digit(c)).map(|piece| {
        let rest = piece.trim_start_matches(is_digit);
        if piece.len() - rest.len() == 13 { format!("0{rest}") } else { piece.to_owned() }
    });
    pieces.collect()
}
