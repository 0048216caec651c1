//! The rule for names of topics, groups and participants. A name is never a path on disk.

use crate::limits::MAX_NAME;

/// Names that begin so belong to the bus; see [`is_reserved`].
pub const RESERVED_PREFIX: &str = "quadrille.";

/// Why a name is not one. [`NameError::code`] is stable; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("a name has at most {MAX_NAME} characters, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A name such as `.hidden` or `..`.
    #[error("a name must not begin with a dot")]
    LeadingDot,
    /// Something else than a letter, a digit, a dot, an underscore or a dash.
    #[error("a name consists of A-Z a-z 0-9 . _ - and not of {character:?} (byte {at})")]
    Character {
        /// The first one that is not allowed.
        character: char,
        /// Where it is, in bytes from the start.
        at: usize,
    },
}

impl NameError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "name_empty",
            Self::TooLong { .. } => "name_too_long",
            Self::LeadingDot => "name_leading_dot",
            Self::Character { .. } => "name_character",
        }
    }
}

/// Whether `name` may name a topic, a group or a participant: `[A-Za-z0-9._-]{1,255}`, no leading
/// dot. A reserved name passes; who may use it is another question.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { length: name.len() });
    }
    if name.starts_with('.') {
        return Err(NameError::LeadingDot);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.char_indices().find(|&(_, c)| !allowed(c)) {
        Some((at, character)) => Err(NameError::Character { character, at }),
        None => Ok(()),
    }
}

/// Whether `name` belongs to the bus (`quadrille.dead_letters`), so that nobody else may create it.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "orders", "order.created", "A-Z_0.9", "a..b", &"x".repeat(255)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check(&"x".repeat(256)), Err(NameError::TooLong { length: 256 }));
        assert_eq!(check(".."), Err(NameError::LeadingDot));
        assert_eq!(check(".a"), Err(NameError::LeadingDot));
        for (bad, character, at) in
            [("a/b", '/', 1), ("a b", ' ', 1), ("naïve", 'ï', 2), ("a\0", '\0', 1)]
        {
            assert_eq!(check(bad), Err(NameError::Character { character, at }));
        }
    }

    #[test]
    fn only_the_prefix_with_its_dot_is_reserved() {
        assert!(is_reserved("quadrille.dead_letters"));
        assert!(!is_reserved("quadrille"));
        assert!(!is_reserved("quadrilles.a"));
    }
}
