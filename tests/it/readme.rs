//! The README's first screen is true: its code stands in an example that is built and tested, and the
//! tests that it names exist.

use std::fs;

use quadrille_tests::root;

/// Of each block of code: where it stands, word for word.
const EXAMPLE: &str = "client/examples/payment.rs";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Without comments, breaks and what rustfmt adds when it breaks a line.
fn squeezed(code: &str) -> String {
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text: String = lines.flat_map(str::chars).filter(|it| !it.is_whitespace()).collect();
    text.replace(",}", "}").replace(",)", ")")
}

/// Fenced blocks of a language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let after = document.split(opening.as_str()).skip(1);
    after.filter_map(|it| it.split("\n```").next()).collect()
}

#[test]
fn the_code_of_the_readme_stands_in_an_example_that_is_tested() {
    let (readme, example) = (read("README.md"), squeezed(&read(EXAMPLE)));
    let found = blocks(&readme, "rust");
    let lines: Vec<usize> = found.iter().map(|it| it.lines().count()).collect();
    assert_eq!(lines, [14, 8], "a service in 14 lines, its test in 8");
    for piece in found.iter().flat_map(|block| block.split("\n\n")) {
        assert!(example.contains(&squeezed(piece)), "not in {EXAMPLE}:\n{piece}");
    }
}

#[test]
fn the_tests_that_the_readme_names_are_where_it_says() {
    let readme = read("README.md");
    let links: Vec<_> = readme
        .split("[`")
        .skip(1)
        .filter_map(|it| {
            let (name, rest) = it.split_once("`](")?;
            Some((name, rest.split([')', '#']).next()?))
        })
        .collect();
    assert!(links.len() >= 5, "{links:?}");
    for (name, path) in links {
        assert!(read(path).contains(&format!("fn {name}(")), "{path} has no {name}");
    }
}
