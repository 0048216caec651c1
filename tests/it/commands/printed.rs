//! What is printed can be typed: commands in answers and in the examples of the help.

use super::{Desk, number};

/// The lines of a text that are commands.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|it| it.starts_with("quadrille ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_that_an_answer_shows_runs_as_it_stands() {
    let desk = Desk::new().await;
    let shown = commands(&desk.run("dlq list").good());
    assert_eq!(shown.len(), 1);
    let mut shown = commands(&desk.shell(&shown[0]).good());
    assert_eq!(shown.len(), 3, "{shown:?}");
    for (group, at) in [("payment", desk.shop.overtaken), ("shipping", desk.shop.parcel)] {
        let at = number(at);
        shown.extend(commands(&desk.run(&format!("dlq show {group} {at}")).good()));
    }
    assert_eq!(shown.len(), 10, "{shown:?}");
    for command in shown {
        // Each needs the dead letter that the one before has resolved.
        let desk = Desk::new_beside(&desk).await;
        desk.shell(&format!("touch event-{}.data", number(desk.shop.parcel))).good();
        desk.shell(&command).good();
    }
}

#[tokio::test]
async fn the_examples_of_the_help_run() {
    let desk = Desk::new().await;
    let mut ran = 0;
    for command in [
        "dlq",
        "dlq list",
        "dlq show",
        "dlq retry",
        "dlq skip",
        "dlq replace",
        "saga",
        "saga show",
        "saga ls",
        "why",
    ] {
        let help = desk.shell(&format!("quadrille {command} --help")).good();
        let (_, examples) = help.split_once("\nExample").expect("there is one");
        let wide = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None);
        for example in commands(examples) {
            assert!(example.len() < 78, "it does not wrap on a terminal: {example}");
            let desk = Desk::new_beside(&desk).await;
            desk.shell("echo '{}' > fixed.json").good();
            let example = example.replace("3310", &number(desk.shop.parked));
            desk.shell(&example.replace("order-2077", "order-2")).good();
            ran += 1;
        }
    }
    assert!(ran >= 15, "{ran}");
}
