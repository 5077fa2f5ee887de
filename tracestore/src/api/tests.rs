//! What bounds queries.

mod answers;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time,
};

use super::{Api, MAX_QUERIES, MAX_WAITING, Refusal, parse_trace_id};
use crate::{
    ingest,
    query::{Patience, Stopped},
    store::{Fsync, Options, QueryError, Store},
};

/// Of a store without traces.
fn api() -> Api {
    let options = Options {
        data: None,
        max_memory: 1 << 30,
        max_disk: 1,
        max_age: Duration::MAX,
        fsync: Fsync::default(),
    };
    Api::new(Arc::new(
        Store::open(options, ingest::decode_again).unwrap(),
    ))
}

#[tokio::test]
async fn a_burst_of_light_queries_is_answered() {
    let api = api();
    let mut burst = JoinSet::new();
    for _ in 0..30 {
        let api = api.clone();
        burst.spawn(async move { api.answer(|_, _| Ok(())).await });
    }
    let answers = burst.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_for_long_is_told_to_come_again() {
    let api = api();
    let all = u32::try_from(MAX_QUERIES).unwrap();
    let busy = Arc::clone(&api.queries)
        .acquire_many_owned(all)
        .await
        .unwrap();
    let begun = time::Instant::now();
    let refusal = api.answer(|_, _| Ok(())).await.unwrap_err();
    assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&begun.elapsed()));
    assert_eq!(refusal.into_response().headers()[header::RETRY_AFTER], "1");

    // Those that wait have a bound, too, and who has left waits no more.
    let wait = |api: &Api, queue: &mut JoinSet<_>| {
        let api = api.clone();
        queue.spawn(async move {
            api.answer(|_, _| Ok(()))
                .await
                .map_err(|refusal| refusal.status)
        })
    };
    let mut queue = JoinSet::new();
    for _ in 0..MAX_WAITING {
        wait(&api, &mut queue);
    }
    time::sleep(Duration::from_millis(1)).await;
    let begun = time::Instant::now();
    let refusal = api.answer(|_, _| Ok(())).await.unwrap_err();
    assert_eq!(
        (refusal.status, begun.elapsed()),
        (StatusCode::TOO_MANY_REQUESTS, Duration::ZERO)
    );
    queue.abort_all();
    while queue.join_next().await.is_some() {}
    let left = wait(&api, &mut queue);
    time::sleep(Duration::from_millis(1)).await;
    assert!(!left.is_finished());
    drop(busy);
    assert_eq!(queue.join_next().await.unwrap().unwrap(), Ok(()));
}

/// Goes on until it is stopped, and says why.
fn endless(
    begun: mpsc::Sender<()>,
    ended: mpsc::Sender<Stopped>,
) -> impl FnOnce(&Store, &Patience) -> Result<(), Refusal> {
    move |_, patience| {
        begun.send(()).unwrap();
        loop {
            if let Err(stopped) = patience.check() {
                ended.send(stopped).unwrap();
                return Err(QueryError::Stopped(stopped).into());
            }
        }
    }
}

#[tokio::test]
async fn a_query_ends_when_nobody_waits_for_it_any_more() {
    let (began, begun) = mpsc::channel();
    let (ends, ended) = mpsc::channel();
    let asked = tokio::spawn(async move { api().answer(endless(began, ends)).await });
    spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    asked.abort();
    assert_eq!(
        spawn_blocking(move || ended.recv()).await.unwrap(),
        Ok(Stopped::Abandoned)
    );
}

#[tokio::test]
async fn a_query_ends_when_its_time_is_over_and_makes_room_for_others() {
    let api = api();
    for _ in 0..=MAX_QUERIES {
        let (began, _begun) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let query = endless(began, ends);
        let answer = api.answer_within(Duration::from_millis(5), query).await;
        let refusal = answer.unwrap_err();
        assert_eq!(refusal.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(ended.recv(), Ok(Stopped::Deadline));
    }
}

#[test]
fn a_trace_id_is_up_to_32_hex_digits() {
    let mut one = [0; 16];
    one[15] = 0xa1;
    assert_eq!(parse_trace_id("a1"), Ok(one));
    assert_eq!(parse_trace_id("00000000000000000000000000000A1"), Ok(one));
    assert_eq!(parse_trace_id(&"f".repeat(32)), Ok([0xff; 16]));
    for bad in ["", "g", "+1", "../1", "a\u{e9}", &"0".repeat(33)] {
        parse_trace_id(bad).expect_err(bad);
    }
}
