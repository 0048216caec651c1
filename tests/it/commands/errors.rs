//! What cannot be done is said in one sentence, with what to do about it, and by the exit code.

use std::fs;
use std::time::Duration;

use quadrille::Bus;

use super::Desk;

#[tokio::test]
async fn an_error_is_a_sentence_and_an_exit_code() {
    let desk = Desk::new().await;
    let (parked, overtaken) = (desk.shop.parked.entry, desk.shop.overtaken.entry);
    let (parcel, by) = (desk.shop.parcel.entry, desk.shop.compensation);
    for (command, code, text) in [
        (
            "dlq list --group nope".to_owned(),
            1,
            "there is no group \"nope\" in demo-data; it has payment, shipping".to_owned(),
        ),
        (
            "dlq show payment 7777".to_owned(),
            1,
            format!("payment has dead letters at {parked} and {overtaken}, and none at 7777"),
        ),
        (
            format!("dlq skip payment N {parcel}"),
            1,
            format!(
                "payment has dead letters at {parked} and {overtaken}, and none at {parcel}; there \
                 is one of shipping"
            ),
        ),
        (
            format!("dlq retry payment {overtaken} N"),
            1,
            format!(
                "payment {overtaken} was overtaken by the compensation {by}: its effects may be \
                 undone already; say --override to hand it out all the same"
            ),
        ),
        (
            "dlq retry".to_owned(),
            2,
            "say which: GROUP PLACE..., or a filter such as --group GROUP".to_owned(),
        ),
        (
            "dlq replace payment N --json-data '{'".to_owned(),
            2,
            "the data are not JSON (EOF while parsing an object at line 1 column 1), and the event's \
             are; nothing was done"
                .to_owned(),
        ),
    ] {
        let said = desk.run(&command).bad(code);
        assert_eq!(said, format!("quadrille: {text}\n"), "{command}");
    }
    let there = desk.run("dlq list").good();
    assert!(
        there.starts_with("GROUP") && there.contains("2 dead letters"),
        "nothing was done: {there}"
    );
}

#[tokio::test]
async fn words_that_are_none_are_refused_before_anything_is_opened() {
    let desk = Desk::new().await;
    for (command, part) in [
        ("dlq list --older 10x", "unknown time unit \"x\""),
        ("dlq show payment order-17", "is not a place in the log, such as 3310 or 3310.2"),
        ("dlq retry payment N --group payment", "cannot be used with"),
        ("dlq retry payment", "<PLACE>..."),
        ("dlq replace payment N", "--json-data <JSON>"),
        ("dlq", "Usage: quadrille dlq"),
    ] {
        let said = desk.run(command).bad(2);
        assert!(said.contains(part), "{command}: {said}");
    }
    let json = desk.run("dlq list --json --older 10x").bad(2);
    assert!(
        json.starts_with(r#"{"error":{"code":"bad_arguments","message":"invalid value '10x'"#),
        "{json}"
    );
    let bytes = desk.run(r#"saga show --json "$(printf '\377')""#).bad(2);
    assert!(bytes.contains("invalid UTF-8"), "{bytes}");
}

#[tokio::test]
async fn an_error_is_an_object_for_programs() {
    let desk = Desk::new().await;
    for (command, code, word) in [
        ("dlq list --json --group nope", 1, "unknown_group"),
        ("dlq show --json payment 7777", 1, "no_dead_letter"),
        ("dlq skip --json --group payment", 2, "not_confirmed"),
        ("dlq retry --json", 2, "nothing_named"),
    ] {
        let said = desk.run(command).bad(code);
        assert!(said.starts_with(&format!(r#"{{"error":{{"code":"{word}","message":""#)), "{said}");
        assert!(said.ends_with("\"}}\n"), "{said}");
    }
}

#[tokio::test]
async fn a_directory_without_a_bus_is_refused_and_left_alone() {
    let desk = Desk::new().await;
    fs::create_dir_all(desk.path().join("empty/bus")).unwrap();
    fs::write(desk.path().join("file"), "a letter").unwrap();
    for (dir, why) in [
        ("nowhere", "does not exist"),
        ("file", "is a file"),
        ("empty", "holds no bus"),
        (".", "holds no bus"),
    ] {
        let said = desk.shell(&format!("quadrille dlq list --data {dir}")).bad(2);
        let rest = "; give the directory that a bus was opened on, or that `quadrille demo --data DIR` wrote";
        assert_eq!(said, format!("quadrille: {dir} {why}{rest}\n"));
    }
    assert!(!desk.path().join("nowhere").exists());
    assert_eq!(fs::read_dir(desk.path().join("empty/bus")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 3, "nothing was made beside them");
}

#[tokio::test]
async fn the_directory_comes_from_an_option_or_the_environment_or_is_asked_for() {
    let desk = Desk::new().await;
    let none = desk.shell("quadrille dlq list").bad(2);
    assert_eq!(
        none,
        "quadrille: which bus? Give its data directory: --data DIR, or QUADRILLE_DATA=DIR\n"
    );
    let said = desk.shell("QUADRILLE_DATA=demo-data quadrille dlq list").good();
    assert!(said.ends_with("--data demo-data\n"), "what is printed stands for itself: {said}");
    fs::create_dir(desk.path().join("a demo's")).unwrap();
    fs::rename(desk.path().join("demo-data"), desk.path().join("a demo's/bus")).unwrap();
    let said = desk.shell("quadrille dlq list --data \"a demo's\"").good();
    assert!(said.ends_with(" --data 'a demo'\\''s'\n"), "{said}");
}

#[tokio::test]
async fn a_directory_in_use_is_said_to_be_with_the_process_that_has_it() {
    let desk = Desk::new().await;
    let bus = Bus::open(desk.path().join("demo-data")).await.unwrap();
    let said = desk.run("dlq list").bad(1);
    let pid = std::process::id();
    assert!(
        said.starts_with(&format!(
            "quadrille: demo-data: the data directory is open in process {pid} ("
        )),
        "{said}"
    );
    assert!(said.ends_with("; stop it, or wait until it is done\n"), "{said}");
    let json = desk.run("dlq list --json").bad(1);
    assert!(
        json.starts_with(r#"{"error":{"code":"directory_locked","message":"demo-data: "#),
        "{json}"
    );
    bus.close(Duration::ZERO).await.unwrap();
    drop(bus);
    desk.run("dlq list").good();
}

#[tokio::test]
async fn a_directory_is_closed_in_order_whatever_came_of_the_command() {
    let desk = Desk::new().await;
    desk.run("dlq list").good();
    desk.run("dlq list --group nope").bad(1);
    desk.shell("quadrille dlq list --data demo-data | true").good();
    let bus = Bus::open(desk.path().join("demo-data")).await.unwrap();
    let info = bus.info().await.unwrap();
    assert_eq!((info.epoch, info.clean), (5, true));
}
