//! What the compiler says of a wrong event, output or handler. The cases are in `tests/ui/`, each
//! with all that is said of it, to the letter, by rustc 1.95. After a change of the compiler or of a
//! message, `TRYBUILD=overwrite cargo test -p quadrille --test it messages` writes them anew, to be
//! read before they are committed.

#[test]
fn a_mistake_in_an_event_or_a_handler_is_named_where_it_is() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
