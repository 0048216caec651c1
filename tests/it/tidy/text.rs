//! What a Rust file says once comments and literals are out of the way. Just enough of a lexer for
//! the house rules; it looks at text only, never at the file system.

/// The text with comments and the insides of literals blanked; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    blank(text, |piece| piece == Piece::Code)
}

/// The text with the insides of literals blanked, comments kept.
pub(super) fn code_and_comments(text: &str) -> String {
    blank(text, |piece| piece != Piece::Literal)
}

/// For each line: does it belong to an item marked `#[cfg(test)]` at the left margin?
pub(super) fn test_lines(text: &str) -> Vec<bool> {
    let mut inside = Inside::Product;
    let code = code(text);
    let mut marks = Vec::new();
    for line in code.lines() {
        let line = line.trim_end();
        if inside == Inside::Product && line.starts_with("#[cfg(test)]") {
            inside = Inside::Attributes;
        }
        marks.push(inside != Inside::Product);
        inside = match inside {
            Inside::Attributes if line.starts_with("#[") => Inside::Attributes,
            Inside::Attributes if line.ends_with(';') || line.ends_with('}') => Inside::Product,
            Inside::Item if line == "}" => Inside::Product,
            Inside::Attributes | Inside::Item => Inside::Item,
            Inside::Product => Inside::Product,
        };
    }
    marks
}

/// The code of a file, its tests blanked.
pub(super) fn product_code(text: &str) -> String {
    code(text)
        .lines()
        .zip(test_lines(text))
        .map(|(line, test)| if test { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where `word` stands in `text` as a whole word (or as the end or the beginning of one, where the
/// pattern itself begins or ends with something that is no letter).
pub(super) fn find_word(text: &str, word: &str) -> Option<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).find(|&at| {
        let (before, rest) = text.split_at(at);
        let after = rest.strip_prefix(word).and_then(|rest| rest.chars().next());
        let joins = |edge: Option<char>, neighbour: Option<char>| {
            edge.is_some_and(part_of_word) && neighbour.is_some_and(part_of_word)
        };
        !joins(word.chars().next(), before.chars().next_back())
            && !joins(word.chars().next_back(), after)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Product,
    Attributes,
    Item,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Code,
    Comment,
    Literal,
}

fn blank(text: &str, keep: impl Fn(Piece) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = None;
    while !rest.is_empty() {
        let (len, piece) = next_piece(rest, previous);
        let (taken, after) = rest.split_at(len);
        if keep(piece) {
            out.push_str(taken);
        } else {
            out.extend(taken.chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        previous = taken.chars().next_back();
        rest = after;
    }
    out
}

/// The length in bytes and the nature of what comes next; code comes one character at a time.
fn next_piece(rest: &str, previous: Option<char>) -> (usize, Piece) {
    let starts_a_word = !previous.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), Piece::Comment)
    } else if rest.starts_with("/*") {
        (block_comment(rest), Piece::Comment)
    } else if let Some(len) = raw_string(rest).filter(|_| starts_a_word) {
        (len, Piece::Literal)
    } else if let Some(inside) = rest.strip_prefix('"') {
        (1 + until_unescaped(inside, '"'), Piece::Literal)
    } else if let Some(inside) = rest.strip_prefix('\'').filter(|it| is_char_literal(it)) {
        (1 + until_unescaped(inside, '\''), Piece::Literal)
    } else {
        (rest.chars().next().map_or(0, char::len_utf8), Piece::Code)
    }
}

/// A quote opens a character rather than a lifetime if the character after the next closes it.
fn is_char_literal(inside: &str) -> bool {
    inside.starts_with('\\') || inside.chars().nth(1) == Some('\'')
}

fn until_unescaped(inside: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == end && !escaped {
            return at + end.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after_prefix = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
    let inside = after_prefix.trim_start_matches('#').strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + len)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|it| !it.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "a /* b /* c */ d */ e // f\n\"g\\\"h\" i r#\"j\"k\"# l '\"' m 'n: b'o' br\"p\" q";
        let left = |text: String| text.split_whitespace().collect::<String>();
        assert_eq!(left(code(text)), "aeilm'n:bq");
        assert_eq!(left(code_and_comments(text)), "a/*b/*c*/d*/e//film'n:bq");
        assert_eq!(code(text).lines().count(), 2, "lines stay where they are");
    }

    #[test]
    fn a_test_module_ends_at_its_brace() {
        let text =
            "a\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod d;\ne";
        let marks = test_lines(text);
        let product: Vec<_> = text.lines().zip(marks).filter(|(_, t)| !t).map(|(l, _)| l).collect();
        assert_eq!(product, ["a", "c", "e"]);
        assert_eq!(product_code(text).split_whitespace().collect::<String>(), "ace");
    }

    #[test]
    fn a_word_is_found_whole_only() {
        assert_eq!(find_word("Instantly Instant", "Instant"), Some(10));
        assert_eq!(find_word("my_tokio", "tokio"), None);
        assert_eq!(find_word("fastrand::u8", "rand::"), None);
        assert_eq!(find_word("std::fs::read", "fs::"), Some(5));
    }
}
