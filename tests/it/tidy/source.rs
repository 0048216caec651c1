//! Rules about source text: purity of core, openings, sizes, what may not be written. A rule takes
//! a file and answers with a sentence per fault; reading files is not done here.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::File;
use super::text::{code, code_and_comments, find_word, product_code, test_lines};

const MAX_LINES: usize = 500;

/// Core knows no time, disk, network, thread or runtime, and no randomness but what it is given.
pub(super) fn impure(file: &File) -> Vec<String> {
    let banned = [
        "tokio",
        "fs::",
        "net::",
        "thread::",
        "std::fs",
        "std::net",
        "std::thread",
        "Instant",
        "SystemTime",
        "async fn",
        "async move",
        ".await",
        "rand::",
        "Rng::new",
        "RandomState",
    ];
    let mut found = words(file, &product_code(&file.text), &banned, "core is pure");
    let calls = product_code(&file.text);
    for (number, line) in numbered(&calls) {
        let global = line.match_indices("fastrand::").any(|(at, it)| {
            line.get(at + it.len()..).is_some_and(|rest| rest.starts_with(char::is_lowercase))
        });
        if global {
            found.push(at(file, number, "core draws from the generator it is given"));
        }
    }
    found
}

/// Every file opens with `//!`: what lives there and what must not.
pub(super) fn no_opening(file: &File) -> Option<String> {
    let opens = file.text.starts_with("//! ");
    (!opens).then(|| at(file, 1, "opens with `//!`: what lives here and what must not"))
}

/// 500 lines at most, tests apart.
pub(super) fn too_long(file: &File) -> Option<String> {
    let lines = product_lines(&file.text);
    (lines > MAX_LINES).then(|| at(file, MAX_LINES, &format!("{lines} lines, {MAX_LINES} at most")))
}

/// The paths of the modules that are declared for tests only (`#[cfg(test)]`, `#[cfg(any(test, ..))]`).
pub(super) fn test_files(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|it| it.is_rust()) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            other => format!("{folder}/{}", other.trim_end_matches(".rs")),
        };
        let code = code(&file.text);
        for (above, line) in code.lines().zip(code.lines().skip(1)) {
            let marked = above.starts_with("#[cfg(test)]") || above.starts_with("#[cfg(any(test");
            if let Some(module) = line.strip_suffix(';').filter(|_| marked)
                && let Some((_, module)) = module.split_once("mod ")
            {
                found.insert(format!("{folder}/{module}.rs"));
                found.insert(format!("{folder}/{module}/"));
            }
        }
    }
    found
}

/// Is this file test code as a whole?
pub(super) fn is_test(path: &str, test_files: &BTreeSet<String>) -> bool {
    let declared = |it: &String| path == it || (it.ends_with('/') && path.starts_with(it.as_str()));
    path.starts_with("tests/") || path.contains("/tests/") || test_files.iter().any(declared)
}

/// Lines of product code below `folder`, against what it may have. Comments and blank lines are free:
/// the budget bounds what must be maintained, and must not make it pay to leave out the why.
pub(super) fn over_budget(
    files: &[File],
    tests: &BTreeSet<String>,
    folder: &str,
    most: usize,
) -> Option<String> {
    let counted = files.iter().filter(|it| it.is_rust() && it.is_in(folder));
    let counted = counted.filter(|it| !is_test(&it.path, tests));
    let lines: usize = counted.map(|it| code_lines(&it.text)).sum();
    let fault = format!("{folder}: {lines} lines of product code, the budget is {most}");
    (lines > most).then_some(fault)
}

/// Tests fail or pass, lints hold or carry a reason.
pub(super) fn silenced(file: &File) -> Vec<String> {
    let banned = ["#[ignore", "#[should_panic", "#[allow(", "#![allow(", "todo!", "unimplemented!"];
    words(file, &code(&file.text), &banned, "not in this house")
}

/// Nothing is left for later.
pub(super) fn undone(file: &File) -> Vec<String> {
    let text = if file.is_rust() { code_and_comments(&file.text) } else { file.text.clone() };
    let banned = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    words(file, &text, &banned, "finish it or cut it")
}

/// Time comes from `broker/src/time.rs`; tokio's clock, which tests can hold, is named in full.
pub(super) fn reads_the_clock(file: &File) -> Vec<String> {
    let code = code(&file.text).replace("tokio::time::Instant::now", "");
    let banned = ["Instant::now", "SystemTime::now", "thread::sleep", "std::time::Instant"];
    words(file, &code, &banned, "time is a parameter; only broker/src/time.rs reads the clock")
}

/// One file stands between us and a dependency.
pub(super) fn more_than_one_mentions(files: &[File], name: &str) -> Option<String> {
    let mentions = |file: &&File| find_word(&code(&file.text), name).is_some();
    let paths: Vec<_> = files.iter().filter(|it| it.is_rust()).filter(mentions).collect();
    let paths: Vec<_> = paths.iter().map(|it| it.path.as_str()).collect();
    (paths.len() > 1).then(|| format!("{name} is used in more than one file: {paths:?}"))
}

/// No folder of somebody's machine, no private host, no registry but the public one.
pub(super) fn names_a_machine(file: &File) -> Vec<String> {
    let folders = ["work", "root", "home", "Users"].map(|it| format!("/{it}/"));
    let mut found = Vec::new();
    for (number, line) in numbered(&file.text) {
        let folder = folders.iter().any(|folder| {
            line.match_indices(folder.as_str()).any(|(at, _)| {
                let before = line.get(..at).and_then(|it| it.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
            })
        });
        let private = line.split("://").zip(line.split("://").skip(1)).any(|(scheme, rest)| {
            let host = rest.split(['/', '"', ')', '>', ' ', '`', '\'', ':']).next();
            scheme.ends_with("http") | scheme.ends_with("https") && host.is_some_and(is_private)
        });
        let lock = file.path == "Cargo.lock" && line.starts_with("source = ");
        let elsewhere = lock && !line.contains("github.com/rust-lang/crates.io-index");
        if folder || private || elsewhere || line.starts_with("replace-with") {
            found.push(at(file, number, "names a machine"));
        }
    }
    found
}

fn is_private(host: &str) -> bool {
    let inside = [".internal", ".local", ".lan", ".corp", ".intranet"];
    let address = host.parse::<Ipv4Addr>().is_ok_and(|it| !it.is_loopback());
    let bare = !host.contains('.') && host != "localhost";
    address || bare || inside.iter().any(|it| host.ends_with(it))
}

fn product_lines(text: &str) -> usize {
    test_lines(text).iter().filter(|test| !**test).count()
}

/// Lines that hold code which is not a test's.
fn code_lines(text: &str) -> usize {
    product_code(text).lines().filter(|line| !line.trim().is_empty()).count()
}

fn words(file: &File, text: &str, banned: &[&str], why: &str) -> Vec<String> {
    let found = numbered(text).flat_map(|(number, line)| {
        let here = banned.iter().filter(move |it| find_word(line, it).is_some());
        here.map(move |it| at(file, number, &format!("`{it}`: {why}")))
    });
    found.collect()
}

pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

pub(super) fn at(file: &File, line: usize, fault: &str) -> String {
    format!("{}:{line}: {fault}", file.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(text: &str) -> File {
        File::new("broker/src/core/sample.rs", text)
    }

    #[test]
    fn impurity_is_found_in_code_only() {
        for bad in [
            "use tokio::sync::Mutex;",
            "use std::{fs::File, io};",
            "let t = Instant::now();",
            "fn f(at: SystemTime) {}",
            "async fn f() {}",
            "let x = fastrand::u64(..);",
            "let x = rand::random();",
            "std::thread::spawn(f);",
        ] {
            assert!(!impure(&core(bad)).is_empty(), "{bad}");
        }
        let good = "// knows no tokio\nlet rng = fastrand::Rng::with_seed(7); let s = \"Instant\";";
        assert_eq!(impure(&core(good)), [""; 0]);
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        assert!(no_opening(&core("use std::io;\n//! late")).is_some());
        assert!(no_opening(&core("//! What lives here.")).is_none());
    }

    #[test]
    fn length_counts_everything_but_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    x\n".repeat(600));
        assert!(too_long(&core(&format!("{}{tests}", "x\n".repeat(500)))).is_none());
        assert!(too_long(&core(&format!("{}{tests}", "x\n".repeat(501)))).is_some());
        assert!(too_long(&core(&format!("{tests}{}", "x\n".repeat(501)))).is_some());
    }

    #[test]
    fn a_budget_counts_product_files_below_its_folder() {
        let files = [
            File::new(
                "broker/src/disk/mod.rs",
                "#[cfg(any(test, feature = \"sim\"))]\npub mod sim;",
            ),
            File::new("broker/src/disk/sim.rs", "1\n2\n3\n4"),
            File::new("broker/src/lib.rs", "// why\n\n1\n2 // because"),
            File::new("client/src/lib.rs", "1\n2\n3"),
        ];
        let tests = test_files(&files);
        assert!(is_test("broker/src/disk/sim.rs", &tests));
        assert!(!is_test("broker/src/disk/mod.rs", &tests));
        assert_eq!(over_budget(&files, &tests, "broker/src/", 4), None);
        assert!(over_budget(&files, &tests, "broker/src/", 3).is_some());
    }

    #[test]
    fn silenced_and_unfinished_code_is_found() {
        for bad in [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[should_panic(expected = \"x\")]",
            "#[allow(dead_code)]",
            "#![allow(unused)]",
            "todo!()",
            "unimplemented!()",
        ] {
            assert_eq!(silenced(&core(bad)).len(), 1, "{bad}");
        }
        assert_eq!(silenced(&core("#[expect(x, reason = \"#[allow(\")]")), [""; 0]);
        let bad = concat!("// TO", "DO: later");
        assert_eq!(undone(&core(bad)).len(), 1);
        assert_eq!(undone(&File::new("README.md", bad)).len(), 1);
        assert_eq!(undone(&core("let s = \"to be done\";")), [""; 0]);
    }

    #[test]
    fn a_second_clock_is_found() {
        for bad in ["Instant::now()", "std::time::SystemTime::now()", "thread::sleep(d)"] {
            assert!(!reads_the_clock(&core(bad)).is_empty(), "{bad}");
        }
        assert_eq!(reads_the_clock(&core("tokio::time::Instant::now()")), [""; 0]);
    }

    #[test]
    fn a_second_user_of_sled_is_found() {
        let user = |path| File::new(path, "use sled::Db;");
        let other = File::new("c.rs", "// sled\nfn sledge() {}");
        assert!(more_than_one_mentions(&[user("a.rs"), user("b.rs")], "sled").is_some());
        assert!(more_than_one_mentions(&[user("a.rs"), other], "sled").is_none());
    }

    #[test]
    fn machines_are_found() {
        for bad in [
            concat!("see /wo", "rk/notes"),
            concat!("open(\"/ho", "me/me/x\")"),
            concat!("http", "://10.0.0.7:80/index"),
            concat!("https", "://crates.corp.internal/"),
            concat!("http", "://builder/"),
        ] {
            assert_eq!(names_a_machine(&core(bad)).len(), 1, "{bad}");
        }
        let lock = File::new("Cargo.lock", "source = \"registry+https://index.example.org/\"");
        assert_eq!(names_a_machine(&lock).len(), 1);
        for good in ["https://docs.rs/x", "http://127.0.0.1:8080/", "src/home/x", "$DIR/work/x"] {
            assert_eq!(names_a_machine(&core(good)), [""; 0], "{good}");
        }
    }
}
