//! Dead letters: listing, showing, and what becomes of them.

use std::time::Duration;

use quadrille::{Bus, Delivery, OrderBy, StartAt};

use super::{Desk, number, steady};

#[tokio::test]
async fn dead_letters_are_listed_with_what_waits_behind_them_and_what_to_type_next() {
    let desk = Desk::new().await;
    let (parked, parcel) = (number(desk.shop.parked), number(desk.shop.parcel));
    assert_eq!(
        steady(&desk.run("dlq list").good()),
        format!(
            r#"GROUP     PLACE  TYPE           ATTEMPTS  SINCE  BEHIND  SAGA
payment   {parked:<5}  order.created         2     0s       2  order-2
  unexpected currency "XTS"
shipping  {parcel:<5}  parcel.packed         0     0s      0+  order-1
  no such street: \u{{1b}}[31mit's a long story that does not fit into the eighty columns of a terminal

2 dead letters; waiting behind: 2+ events; 1 overtaken, not shown (--all)
quadrille dlq show payment {parked} --data demo-data"#
        )
    );
    let all = steady(&desk.run("dlq list --group payment --all").good());
    let (overtaken, by) = (number(desk.shop.overtaken), desk.shop.compensation);
    assert_eq!(
        all,
        format!(
            r#"GROUP    PLACE  TYPE           ATTEMPTS  SINCE  BEHIND  SAGA
payment  {parked:<5}  order.created         2     0s       2  order-2
  unexpected currency "XTS"
payment  {overtaken:<5}  order.created         0     0s       -  order-3
  overtaken by {by}; the card has expired

2 dead letters; waiting behind: 2 events
quadrille dlq show payment {parked} --data demo-data"#
        )
    );
}

#[tokio::test]
async fn filters_let_through_what_they_name() {
    let desk = Desk::new().await;
    for (filter, count) in [
        ("--group shipping", 1),
        ("--group payment --all", 2),
        ("--type order.created --all", 2),
        ("--saga order-2", 1),
        ("--reason currency", 1),
        ("--reason street --group payment", 0),
        ("--older 0s", 2),
        ("--older 10m", 0),
    ] {
        let said = desk.run(&format!("dlq list --json {filter}")).good();
        assert!(said.contains(&format!("\"count\":{count},")), "{filter}: {said}");
    }
    let limited = desk.run("dlq list --limit 1").good();
    assert!(
        limited.contains("2 dead letters, the 1 oldest shown (--limit N for more)"),
        "{limited}"
    );
    assert_eq!(desk.run("dlq list --saga none").good(), "no dead letters\n");
}

#[tokio::test]
async fn the_list_has_a_shape_for_programs() {
    let desk = Desk::new().await;
    let (overtaken, by) = (number(desk.shop.overtaken), number(desk.shop.compensation));
    let parked = number(desk.shop.parked);
    assert_eq!(
        steady(&desk.run("dlq list --json --group payment --all").good()),
        format!(
            r#"{{"count":2,"dead_letters":[{{"attempts":2,"behind":{{"known":2,"more":false}},"group":"payment","id":"order-2:order.created","member":"payment-1","offset":0,"parked_at":0,"place":"{parked}","reason":"unexpected currency \"XTS\"","saga":"order-2","superseded_by":null,"topic":"orders","type":"order.created"}},{{"attempts":0,"behind":null,"group":"payment","id":"order-3:order.created","member":"payment-1","offset":3,"parked_at":0,"place":"{overtaken}","reason":"the card has expired","saga":"order-3","superseded_by":"{by}","topic":"orders","type":"order.created"}}],"superseded":1}}"#
        )
    );
}

#[tokio::test]
async fn one_is_shown_with_its_event_its_story_and_what_can_be_done() {
    let desk = Desk::new().await;
    let at = number(desk.shop.parked);
    let shown = steady(&desk.run("dlq show payment N").good());
    assert_eq!(
        shown,
        format!(
            r#"payment #{at}
  unexpected currency "XTS"
  attempts  2
  parked    DAY TIME UTC (0s ago)
  member    payment-1
  lane      waits for it; behind it: 2 events
event
  type       order.created
  topic      orders, offset 0
  id         order-2:order.created
  source     shop
  saga       order-2
  schema     1
  published  DAY TIME UTC (0s ago)
data (application/json, 77 bytes)
  {{
    "total": "12.50",
    "currency": "XTS",
    "items": [
      {{
        "product": "tea",
        "quantity": 2
      }}
    ]
  }}
hand it out again, with all its attempts
  quadrille dlq retry payment {at} --data demo-data
give it up; what follows in its lane goes on without it
  quadrille dlq skip payment {at} --data demo-data
hand out other data in its place: change them here first
  quadrille dlq replace payment {at} --json-data '{{"total":"12.50", "currency":"XTS", "items":[{{"product":"tea","quantity":2}}]}}' --data demo-data"#
        )
    );
    for place in [format!("'#{at}'"), format!("{at}.0")] {
        let again = desk.run(&format!("dlq show payment {place}")).good();
        assert_eq!(steady(&again), shown, "{place}");
    }
    let payload = desk.run("dlq show payment N --payload").good();
    assert!(payload.starts_with(r#"{"total":"12.50", "currency""#), "as it is: {payload}");
    let overtaken = number(desk.shop.overtaken);
    let shown = desk.run(&format!("dlq show payment {overtaken}")).good();
    assert!(shown.contains("its effects may be undone, and nothing is left to do"), "{shown}");
    assert!(shown.contains(&format!("dlq retry payment {overtaken} --override")), "{shown}");
    assert!(shown.contains("take it off the list\n  quadrille dlq skip"), "{shown}");
}

#[tokio::test]
async fn a_shown_one_has_a_shape_for_programs() {
    let desk = Desk::new().await;
    let at = number(desk.shop.parcel);
    assert_eq!(
        steady(&desk.run(&format!("dlq show shipping {at} --json")).good()),
        format!(
            r#"{{"dead_letter":{{"attempts":0,"behind":{{"known":0,"more":true}},"group":"shipping","id":"p1","member":"shipping-1","offset":0,"parked_at":0,"place":"{at}","reason":"no such street:\n\u001b[31mit's a long story that does not fit into the eighty columns of a terminal","saga":"order-1","superseded_by":null,"topic":"parcels","type":"parcel.packed"}},"event":{{"cause":"order-1:order.created","content_type":"application/octet-stream","data":null,"data_hex":"00ff","headers":[["weight","2 kg"]],"id":"p1","key":"street","published_at":0,"saga":"order-1","schema":0,"source":"packer","subject":"","time":0,"traceparent":"","turn":0,"type":"parcel.packed"}}}}"#
        )
    );
    let json = desk.run("dlq show payment N --json").good();
    let data =
        r#""data":{"currency":"XTS","items":[{"product":"tea","quantity":2}],"total":"12.50"}"#;
    assert!(json.contains(data), "{json}");
}

#[tokio::test]
async fn a_place_without_an_index_is_that_of_the_only_one_in_its_entry() {
    let desk = Desk::new().await;
    let at = desk.shop.parcel;
    let shown = steady(&desk.run(&format!("dlq show shipping {}", number(at))).good());
    assert!(shown.starts_with(&format!("shipping {at}\n")), "{shown}");
    assert_eq!(steady(&desk.run(&format!("dlq show shipping {}", at.entry)).good()), shown);
    let bus = Bus::open(desk.path().join("demo-data")).await.unwrap();
    let audit = bus.group("audit").topics(["parcels"]).order_by(OrderBy::Nothing);
    let mut audit = audit.start(StartAt::Beginning).subscribe().await.unwrap();
    for _ in 0..2 {
        audit.next().await.unwrap().dead_letter("no").await.unwrap();
    }
    bus.close(Duration::ZERO).await.unwrap();
    drop((audit, bus));
    let said = desk.run(&format!("dlq show audit {}", at.entry)).bad(1);
    let entry = at.entry;
    let text =
        format!("audit has dead letters at {entry}.1 and {entry}.2 in that entry; say which");
    assert_eq!(said, format!("quadrille: {text}\n"));
    let shown = desk.run(&format!("dlq show audit {entry}.2")).good();
    assert!(shown.contains("lane      has gone on"), "{shown}");
}

/// What `payment` gets next of order-2, after the command.
async fn next_of_payment(desk: &Desk) -> Delivery {
    let bus = Bus::open(desk.path().join("demo-data")).await.unwrap();
    bus.group("payment").subscribe().await.unwrap().next().await.unwrap()
}

#[tokio::test]
async fn a_retried_one_comes_again_with_all_its_attempts() {
    let desk = Desk::new().await;
    let said = desk.run("dlq retry payment N --comment 'XTS is known now'").good();
    let at = number(desk.shop.parked);
    assert_eq!(
        said,
        format!(
            "payment  {at}  order.created  order-2\n1 dead letter retried: handed out again, with \
             all attempts, to the next member\n"
        )
    );
    let delivery = next_of_payment(&desk).await;
    assert_eq!((delivery.position(), delivery.attempt()), (desk.shop.parked, 1));
    drop(delivery);
    let overtaken = number(desk.shop.overtaken);
    let json = desk.run(&format!("dlq retry payment {overtaken} --override --json")).good();
    assert!(
        json.starts_with(
            r#"{"count":1,"dead_letters":[{"attempts":0,"behind":null,"group":"payment","id":"order-3:order.created","#
        ),
        "{json}"
    );
}

#[tokio::test]
async fn a_skipped_one_lets_its_lane_go_on_and_that_is_said() {
    let desk = Desk::new().await;
    let said = desk.run("dlq skip payment N --comment 'a test order'").good();
    assert!(
        said.ends_with(
            "1 dead letter skipped, never to be handled; going on without it: 2 events\n"
        ),
        "{said}"
    );
    let at = number(desk.shop.parked);
    let again = steady(&desk.run("dlq show payment N").bad(1));
    assert_eq!(
        again,
        format!("quadrille: payment {at} was resolved 0s ago by operator: skip, a test order")
    );
    assert_eq!(next_of_payment(&desk).await.position(), desk.shop.behind);
}

#[tokio::test]
async fn a_replaced_one_comes_with_other_data_and_is_the_same_event_otherwise() {
    let desk = Desk::new().await;
    let said = desk.run(r#"dlq replace payment N --json-data '{"currency":"EUR"}'"#).good();
    let at = number(desk.shop.parked);
    assert_eq!(
        said,
        format!(
            "payment {at} order.created replaced: handed out with the new data, with all attempts, \
             to the next member of payment\n"
        )
    );
    let delivery = next_of_payment(&desk).await;
    assert!(delivery.replaced());
    assert_eq!(delivery.data(), br#"{"currency":"EUR"}"#);
    let event = delivery.event();
    assert_eq!((event.id, event.saga, event.source), ("order-2:order.created", "order-2", "shop"));
    assert_eq!((event.schema, event.content_type), (1, "application/json"));
}

#[tokio::test]
async fn data_come_from_a_file_or_a_pipe_and_are_json_where_they_were() {
    let desk = Desk::new().await;
    let at = number(desk.shop.parked);
    let command = format!("quadrille dlq replace payment {at} --data demo-data --json --data-file");
    for (shell, code, part) in [
        (format!("{command} missing"), 2, "cannot read the data from missing: "),
        (format!("{command} /dev/zero"), 2, r#""code":"event_too_large""#),
        (format!("echo '{{' | {command} -"), 2, r#""code":"not_json""#),
        (format!("echo '{{}}' | {command} -"), 0, r#"},"how":"replace"}"#),
    ] {
        let said = desk.shell(&shell);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.out.contains(part) || said.err.contains(part), "{said:?}");
    }
    assert_eq!(next_of_payment(&desk).await.data(), b"{}\n");
}

#[tokio::test]
async fn what_a_filter_finds_is_counted_first_and_done_when_somebody_says_yes() {
    let desk = Desk::new().await;
    for (command, code) in [("dlq retry --older 0s", 2), ("dlq skip --group payment", 2)] {
        let said = desk.run(command);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains("say --yes to"), "{said:?}");
    }
    let refused = desk.run("dlq retry --older 0s").err;
    assert_eq!(
        refused,
        "quadrille: the filter finds 2 dead letters; say --yes to retry all of them\n"
    );
    let dry = desk.run("dlq retry --group payment --dry-run").good();
    assert_eq!(
        dry,
        "     1  payment  order.created  unexpected currency \"XTS\"\n1 dead letter would be resolved; \
         nothing was done\n"
    );
    assert!(desk.run("dlq list").good().contains("2 dead letters"), "none is resolved");
    let json = desk.run("dlq retry --type order.created --yes --json").good();
    assert!(json.starts_with(r#"{"count":1,"#), "what was overtaken is left: {json}");
    assert!(json.ends_with("],\"dry_run\":false,\"how\":\"retry\"}\n"), "{json}");
    let done = desk.run("dlq skip --older 0s --yes").good();
    assert!(
        done.ends_with(
            "1 dead letter skipped, never to be handled; going on without it: not known\n"
        ),
        "{done}"
    );
    assert_eq!(
        desk.run("dlq skip --older 0s --yes").good(),
        "no dead letters match; nothing was done\n"
    );
    let bus = Bus::open(desk.path().join("demo-data")).await.unwrap();
    assert!(bus.dead_letters("shipping").await.unwrap().is_empty());
    bus.close(Duration::ZERO).await.unwrap();
}
