//! The store alone: what is taken back, what is shared, and when it is told.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn key(id: &str) -> InboxKey {
    let [group, topic, source] = ["payment", "orders", "shop"].map(str::to_owned);
    InboxKey { group, topic, source, id: id.to_owned(), generation: 0 }
}

async fn begun(store: &Store, id: &str) -> StoreTx {
    match store.begin(&key(id)).await.unwrap() {
        Begun::New(tx) => tx,
        Begun::Known(outputs) => panic!("{id} is known: {outputs:?}"),
    }
}

async fn known(store: &Store, id: &str) -> Option<Bytes> {
    match store.begin(&key(id)).await.unwrap() {
        Begun::New(_) => None,
        Begun::Known(outputs) => Some(outputs),
    }
}

fn file() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "payment").unwrap();
    (dir, store)
}

#[tokio::test]
async fn rows_effects_and_inbox_are_committed_together_or_not_at_all() {
    let (_dir, on_disk) = file();
    for store in [on_disk, Store::memory()] {
        for done in [false, true] {
            let mut tx = begun(&store, "1").await;
            assert_eq!(tx.get::<u32>("row/1").unwrap(), None);
            tx.put("row/1", &1).unwrap();
            assert_eq!(tx.get("row/1").unwrap(), Some(1));
            tx.effect("o", "card charged", [("EUR", 3)]).unwrap();
            if done {
                store.commit(tx, &key("1"), Bytes::from_static(b"out")).await.unwrap();
            }
        }
        assert_eq!(store.effects().unwrap().len(), 1);
        assert_eq!(store.rows::<u32>("row/").unwrap(), [("1".to_owned(), 1)]);
        assert_eq!(known(&store, "1").await, Some(Bytes::from_static(b"out")));
        assert_eq!((known(&store, "2").await, store.handled()), (None, 1));
    }
}

#[tokio::test]
async fn many_share_a_commit_and_an_error_takes_back_only_its_own() {
    let (_dir, store) = file();
    let handle = async |n: u32| {
        let id = n.to_string();
        let mut tx = begun(&store, &id).await;
        let count: u32 = tx.get("count").unwrap().unwrap_or_default();
        tx.put("count", &(count + 1)).unwrap();
        tx.effect(&id, "counted", [("one", 1)]).unwrap();
        if !n.is_multiple_of(3) {
            store.commit(tx, &key(&id), Bytes::new()).await.unwrap();
        }
    };
    futures_util::future::join_all((0..60).map(handle)).await;
    assert_eq!(store.rows::<u32>("count").unwrap(), [(String::new(), 40)]);
    assert_eq!((store.effects().unwrap().len(), store.handled()), (40, 40));
}

#[tokio::test]
async fn who_comes_again_before_the_commit_waits_for_it() {
    let (_dir, store) = file();
    let tx = begun(&store, "1").await;
    // It joins, and is dropped before it is answered.
    {
        let (id, mut cx) = (key("1"), Context::from_waker(Waker::noop()));
        let mut committing = pin!(store.commit(tx, &id, Bytes::from_static(b"out")));
        assert!(matches!(committing.as_mut().poll(&mut cx), Poll::Pending));
    }
    assert_eq!(known(&store, "1").await, Some(Bytes::from_static(b"out")));
    let txn = store.db.begin_read().unwrap();
    assert_eq!(txn.open_table(INBOX).unwrap().len().unwrap(), 1);
}

#[tokio::test]
async fn a_second_opening_finds_everything_and_one_at_a_time_may_have_it() {
    let (dir, store) = file();
    store.change(|tx| tx.put("a/1", &"x")).await.unwrap();
    store.change(|tx| tx.put("b/1", &"y")).await.unwrap();
    assert_eq!(Store::open(dir.path(), "payment").err(), Some(StoreError::InUse));
    drop(store);
    let store = Store::open(dir.path(), "payment").unwrap();
    assert_eq!(store.rows::<String>("a/").unwrap(), [("1".to_owned(), "x".to_owned())]);
}
