//! Rules about the documents: what they name exists. Whether it does is asked of the caller.

use super::File;

/// Paths that a document names, in code spans and links, and that do not exist. What belongs to a
/// user and not to the workspace is written `./data`, `DIR/log` or as a URL.
pub(super) fn missing_paths(document: &File, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut fenced, mut missing) = (false, Vec::new());
    for (number, line) in (1..).zip(document.text.lines()) {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2).filter(|it| is_path(it));
        let links = line.split("](").skip(1).filter_map(|it| it.split([')', '#']).next());
        let links = links.filter(|it| !it.is_empty() && !it.contains(':'));
        let gone = spans.chain(links).filter(|it| !exists(it.trim_end_matches('/')));
        missing.extend(gone.map(|it| format!("{}:{number}: {it} does not exist", document.path)));
    }
    missing
}

fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let file =
        [".rs", ".md", ".toml", ".proto", ".lock", ".jsonl"].iter().any(|it| span.ends_with(it));
    let ours = !["./", "/", "-", "DIR/"].iter().any(|it| span.starts_with(it));
    span.chars().all(plain) && ours && (file || span.contains('/'))
}

/// The words of every `quadrille` command in a document's fenced blocks.
pub(super) fn commands(document: &str) -> Vec<Vec<&str>> {
    let (mut fenced, mut found) = (false, Vec::new());
    for line in document.lines() {
        fenced ^= line.starts_with("```");
        let line = line.trim_start_matches("$ ");
        let line = line.split(" #").next().unwrap_or_default();
        let command = line.strip_prefix("cargo run --release -- ");
        let command = command.or_else(|| line.strip_prefix("quadrille "));
        // In a manifest it is a dependency.
        let command = command.filter(|it| !it.starts_with("= "));
        if let Some(command) = command.filter(|_| fenced) {
            found.push(command.split_whitespace().collect());
        }
    }
    found
}

/// The subcommands and options of a command that the help of that command does not name.
pub(super) fn unknown_words(words: &[&str], help: impl Fn(&[&str]) -> String) -> Vec<String> {
    let mut path = Vec::new();
    let mut text = help(&path);
    let mut unknown = Vec::new();
    let mut is_value = false;
    for word in words {
        let option = word.split('=').next().unwrap_or(word);
        let is_option = option.starts_with('-');
        let listed = text.lines().any(|line| line.split_whitespace().next() == Some(word));
        let named = |option| text.split([' ', ',', '\n', '[', ']']).any(|it| it == option);
        let fault = || format!("`quadrille {}`: no {word}", words.join(" "));
        if is_option && !named(option) {
            unknown.push(fault());
        } else if !is_option && listed {
            path.push(*word);
            text = help(&path);
        } else if !is_option && !is_value && (path.is_empty() || text.contains("Commands:")) {
            unknown.push(fault());
            break;
        }
        is_value = is_option;
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_gone_is_found() {
        let text = "`a/b.rs` `./data` `DIR/log` `x::y` `quadrille demo` [l](gone.md#x) [w](https://x.org)\n\
                    `kept.rs` `a/`\n```\n`in/a/fence`\n```\n";
        let found = missing_paths(&File::new("R", text), |it| ["kept.rs", "a"].contains(&it));
        assert_eq!(found, ["R:1: a/b.rs does not exist", "R:1: gone.md does not exist"]);
    }

    #[test]
    fn commands_are_read_from_fences() {
        let text = "quadrille prose\n```sh\ncargo run --release -- demo --json  # twice\nls\n\
                    quadrille demo audit ./d\n```\n";
        let expected = [vec!["demo", "--json"], vec!["demo", "audit", "./d"]];
        assert_eq!(commands(text), expected);
    }

    #[test]
    fn a_program_without_commands_has_none() {
        assert_eq!(unknown_words(&["demo"], |_| String::new()), ["`quadrille demo`: no demo"]);
    }

    #[test]
    fn a_command_that_is_gone_is_found() {
        let help = |path: &[&str]| match path {
            [] => "Commands:\n  demo  Dances\n".to_owned(),
            ["demo"] => "Commands:\n  audit  Checks\nOptions:\n  -n, --count <N>\n".to_owned(),
            _ => "Options:\n  -h, --help\n".to_owned(),
        };
        for bad in [
            &["serve"][..],
            &["demo", "--json"],
            &["demo", "adit", "./d"],
            &["demo", "audit", "--count", "1"],
            &["--json"],
        ] {
            assert_eq!(unknown_words(bad, help).len(), 1, "{bad:?}");
        }
        for good in [
            &["demo"][..],
            &["demo", "--count", "20"],
            &["demo", "--count=20"],
            &["demo", "audit", "./d"],
        ] {
            assert_eq!(unknown_words(good, help), [""; 0], "{good:?}");
        }
    }
}
