//! Sagas as trees, and one event in a sentence.

use super::{Desk, number, steady};

#[tokio::test]
async fn sagas_are_listed_with_what_they_wait_for_and_what_to_type_next() {
    let desk = Desk::new().await;
    let (parked, parcel) = (number(desk.shop.parked), number(desk.shop.parcel));
    assert_eq!(
        steady(&desk.run("saga ls").good()),
        format!(
            r#"SAGA     STATUS                EVENTS  BEGAN  LAST  WAITS AT
order-1  needs attention            3     0s    0s  shipping
  shipping {parcel}: no such street: \u{{1b}}[31mit's a long story that does not fit into the eighty columns of a terminal
order-4  running                    1     0s    0s  payment
order-3  at rest, turned back       2     0s    0s
order-2  needs attention            3     0s    0s  payment
  payment {parked}: unexpected currency "XTS"

4 sagas
quadrille saga show order-1 --data demo-data"#
        )
    );
    for (options, first, last) in [
        ("--needs-attention", "order-1", "2 sagas need attention"),
        ("--needs-attention --stalest", "order-2", "2 sagas need attention"),
        ("--open", "order-1", "3 sagas are open"),
        ("--open --stalest", "order-2", "3 sagas are open"),
        ("--open --stalest --limit 1", "order-2", "1 shown; --limit N shows more"),
        ("--open --stalest --limit 3", "order-2", "3 sagas are open"),
        ("--stalest", "order-2", "4 sagas"),
    ] {
        let said = desk.run(&format!("saga ls {options}")).good();
        let mut lines = said.lines();
        assert!(lines.nth(1).unwrap().starts_with(first), "{options}: {said}");
        assert_eq!(
            lines.next_back(),
            Some(&*format!("quadrille saga show {first} --data demo-data"))
        );
        assert_eq!(lines.next_back(), Some(last), "{options}");
    }
}

#[tokio::test]
async fn the_index_may_be_deleted_between_two_questions() {
    let desk = Desk::new().await;
    let answers = |desk: &Desk| {
        ["saga ls --json", "saga show order-1 --json", "dlq list --all --json"].map(|it| {
            let said = desk.run(it).good();
            said.split_once("\"exact_to\"").map_or_else(|| said.clone(), |it| it.0.to_owned())
        })
    };
    let first = answers(&desk);
    let index = desk.path().join("demo-data/index");
    assert!(index.is_dir());
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(answers(&desk), first);
    assert!(index.is_dir());
}

#[tokio::test]
async fn a_list_of_none_does_not_say_that_there_are_none() {
    let desk = Desk::new().await;
    assert_eq!(desk.run("saga ls --limit 0").good(), "0 shown; --limit N shows more\n");
}

#[tokio::test]
async fn a_list_of_sagas_has_a_shape_for_programs() {
    let desk = Desk::new().await;
    let (parked, last) = (number(desk.shop.parked), desk.shop.behind.entry + 1);
    let json = steady(&desk.run("saga ls --needs-attention --stalest --limit 1 --json").good());
    let (before, after) = json.split_once(r#""exact_to":""#).unwrap();
    let (_, after) = after.split_once('"').unwrap();
    assert_eq!(
        format!("{before}{after}"),
        format!(
            r#"{{"cut":false,,"sagas":[{{"events":3,"first":{{"place":"{parked}","published_at":0}},"groups":["payment"],"last":{{"place":"{last}","published_at":0}},"saga":"order-2","services":["shop"],"status":"needs_attention","trouble":{{"group":"payment","place":"{parked}","reason":"unexpected currency \"XTS\""}},"turn":0}}]}}"#
        )
    );
}

#[tokio::test]
async fn a_saga_is_shown_as_a_tree_with_the_commands_that_help() {
    let desk = Desk::new().await;
    let (parked, behind) = (desk.shop.parked, desk.shop.behind);
    let shown = desk.run("saga show order-2").good();
    let (first, rest) = shown.split_once('\n').unwrap();
    assert!(first.starts_with("order-2  needs attention  "), "{first}");
    assert!(first.ends_with("   waiting at payment"), "{first}");
    let at = number(parked);
    let last = behind.entry + 1;
    assert_eq!(
        rest,
        format!(
            r#"├─ order.created      shop   {parked}
│  └─ payment         parked after 2 attempts: unexpected currency "XTS"     behind it: 2
│     quadrille dlq show payment {at} --data demo-data · dlq retry payment {at} … · dlq skip payment {at} …
├─ order.changed      shop   {behind}
│  └─ payment         waiting behind {parked} and others
└─ order.noted        shop   #{last}
   └─ payment         waiting behind {parked} and others
"#
        )
    );
    let chart = desk.run("saga show order-3 --mermaid").good();
    assert!(
        chart.starts_with("flowchart TD\n  saga([\"order-3 · at rest, turned back\"])\n"),
        "{chart}"
    );
}

#[tokio::test]
async fn a_saga_has_a_shape_for_programs() {
    let desk = Desk::new().await;
    let (created, cancelled) = (number(desk.shop.overtaken), number(desk.shop.compensation));
    let json = steady(&desk.run("saga show order-3 --json").good());
    let (json, exact_to) = json.split_once(r#","exact_to":""#).unwrap();
    assert!(exact_to.trim_end_matches("\"}").parse::<u64>().is_ok(), "{exact_to}");
    assert_eq!(
        json,
        format!(
            r#"{{"saga":"order-3","status":"at_rest","turned_back":true,"events":[{{"place":"{created}","topic":"orders","offset":3,"type":"order.created","id":"order-3:order.created","source":"shop","published_at":0,"turn":0,"cause":null,"emitted_by":null,"attempt":null,"groups":[{{"group":"payment","at":0,"attempts":0,"reason":"the card has expired","state":"superseded","superseded_by":"{cancelled}"}}]}},{{"place":"{cancelled}","topic":"orders","offset":4,"type":"order.cancelled","id":"order-3:order.cancelled","source":"shop","published_at":0,"turn":1,"cause":null,"emitted_by":null,"attempt":null,"groups":[{{"group":"payment","attempt":1,"state":"settled"}}]}}],"more":false"#
        )
    );
    for (saga, state) in [
        (
            "order-2",
            r#""attempts":2,"behind":{"known":2,"more":false},"parked_at":0,"reason":"unexpected currency \"XTS\"","state":"parked"}"#,
        ),
        ("order-2", r#""ahead":{"known":0,"more":true},"attempts":0,"behind":""#),
        ("order-2", r#""state":"waiting","waits_for":"its_turn"}"#),
        ("order-4", r#""attempts":1,"reason":"the provider is down","state":"held","until":0}"#),
    ] {
        let json = steady(&desk.run(&format!("saga show {saga} --json")).good());
        assert!(json.contains(state), "{json}");
    }
}

#[tokio::test]
async fn why_answers_in_a_sentence() {
    let desk = Desk::new().await;
    let (parked, behind) = (desk.shop.parked, desk.shop.behind);
    let (at, by) = (number(parked), desk.shop.compensation);
    let parcel = desk.shop.parcel;
    let stuck = format!(
        "parked after 2 attempts: unexpected currency \"XTS\"; resolve it with `quadrille dlq retry \
         payment {at} --data demo-data`"
    );
    for (event, sentence) in [
        (
            at.clone(),
            format!("order.created {parked} of order-2 is parked in payment{}", &stuck[6..]),
        ),
        (
            format!("'#{at}'"),
            format!("order.created {parked} of order-2 is parked in payment{}", &stuck[6..]),
        ),
        (
            "order-2:order.changed".to_owned(),
            format!(
                "order.changed {behind} of order-2 waits in payment behind {parked}, which is {stuck}"
            ),
        ),
        (
            number(desk.shop.done),
            format!(
                "order.created {} of order-1 is done in payment, or lies before its beginning",
                desk.shop.done
            ),
        ),
        (
            number(desk.shop.overtaken),
            format!(
                "order.created {} of order-3 was superseded in payment by {by}: the card has expired",
                desk.shop.overtaken
            ),
        ),
        (
            number(parcel),
            format!(
                "parcel.packed {parcel} of order-1 is not for payment, which does not read its topic or its type"
            ),
        ),
    ] {
        let said = desk.run(&format!("why {event} --group payment")).good();
        assert_eq!(said, format!("{sentence}\n"));
    }
    let held = desk.run(&format!("why {} --group payment", number(desk.shop.held))).good();
    assert!(held.contains(" of order-4 is held in payment for "), "{held}");
    let json = desk.run(&format!("why {} --group payment --json", number(desk.shop.done))).good();
    let state = r#""state":{"attempt":1,"state":"settled"},"sentence":"order.created #"#;
    assert!(
        json.starts_with(r#"{"group":"payment","saga":"order-1","event":{"place":""#),
        "{json}"
    );
    assert!(json.contains(state), "{json}");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_missing() {
    let desk = Desk::new().await;
    for (command, word, text) in [
        ("saga show order-9", "unknown_saga", "no event of a saga \"order-9\" is in demo-data"),
        (
            "why 7777 --group payment",
            "unknown_event",
            "demo-data: there is no event #7777 that group \"payment\" reads",
        ),
        (
            "why nobody --group payment",
            "unknown_event",
            "demo-data: there is no event \"nobody\" that group \"payment\" reads",
        ),
        (
            "why 7777 --group x",
            "unknown_group",
            "there is no group \"x\" in demo-data; it has payment, shipping",
        ),
    ] {
        assert_eq!(desk.run(command).bad(1), format!("quadrille: {text}\n"));
        let json = desk.run(&format!("{command} --json")).bad(1);
        assert!(json.starts_with(&format!(r#"{{"error":{{"code":"{word}","message":""#)), "{json}");
    }
    assert!(desk.run("why 7777").bad(2).contains("--group <GROUP>"));
}
