//! What comes while somebody looks.

use std::{collections::BTreeSet, time::Duration};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{PROTOBUF, bodies, keep, logs, of_service, post_to, record};
use crate::{
    inputs::{MS, NINE},
    server::{Answer, get, start},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_has_each_record_once_whatever_its_time_is() {
    let server = start().await;
    keep(&server, &of_service("s", vec![record(0, "before")])).await;
    let before = logs(&server, "").await;
    assert_eq!(bodies(&before), ["before"]);
    let address = server.otlp_http.to_string();
    let senders = (0..4_u64).map(|sender| {
        let address = address.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let number = 100 * sender + n;
                // Some are older than what is there, by a day.
                let at = if number % 3 == 0 {
                    number
                } else {
                    number + 86_400_000
                };
                let record = LogRecord {
                    time_unix_nano: NINE - 86_400_000 * MS + at * MS,
                    ..record(0, &number.to_string())
                };
                let request = of_service("s", vec![record]);
                let answer = post_to(&address, &[PROTOBUF], request.encode_to_vec()).await;
                assert_eq!(answer.status, 200);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut seen = Vec::new();
    let mut newest = before["newest"].as_str().unwrap().to_owned();
    while seen.len() < 100 {
        let query = format!("?limit=3&wait=10&after={newest}");
        let found = logs(&server, &query).await;
        assert!(!bodies(&found).is_empty(), "nothing comes: {seen:?}");
        assert_eq!(found["older"], Value::Null);
        seen.extend(bodies(&found).into_iter().map(str::to_owned));
        newest = found["newest"].as_str().unwrap().to_owned();
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let of_sender = |sender: u64| (0..25).map(move |n| (100 * sender + n).to_string());
    let expected: BTreeSet<String> = (0..4).flat_map(of_sender).collect();
    assert_eq!(seen.len(), 100);
    assert_eq!(BTreeSet::from_iter(seen), expected);
    let nothing = logs(&server, &format!("?after={newest}")).await;
    assert_eq!(
        (bodies(&nothing), &nothing["newest"]),
        (vec![], &json!(newest))
    );
}

#[tokio::test]
async fn a_wait_ends_when_something_comes_that_passes_or_when_it_is_over() {
    let server = start().await;
    let newest = logs(&server, "").await["newest"].clone();
    let path = format!("/logs.json?after={}&service=b", newest.as_str().unwrap());
    let waited = async |seconds: u64| {
        let begun = Instant::now();
        let answer = server.get(&format!("{path}&wait={seconds}")).await.json();
        (bodies(&answer).len(), begun.elapsed())
    };
    let (found, took) = waited(1).await;
    assert!(found == 0 && took >= Duration::from_millis(990), "{took:?}");
    // How long a client wanted to wait says nothing about the store.
    let count = "tracestore_query_duration_seconds_count{route=\"/logs.json\"} 1\n";
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains(count), "{}", metrics.text());
    let all = "tracestore_queries_total{route=\"/logs.json\",outcome=\"ok\"} 2\n";
    assert!(metrics.text().contains(all), "{}", metrics.text());
    let ((found, took), ()) = tokio::join!(waited(30), async {
        keep(&server, &of_service("a", vec![record(0, "not wanted")])).await;
        keep(&server, &of_service("b", vec![record(0, "wanted")])).await;
    });
    assert!(found == 1 && took < Duration::from_secs(20), "{took:?}");
    // What was there before is not waited for.
    let (found, took) = waited(30).await;
    assert!(found == 1 && took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_process_stops_and_no_more_than_64_wait() {
    let mut server = start().await;
    let newest = logs(&server, "").await["newest"].clone();
    let path = format!("/logs.json?wait=30&after={}", newest.as_str().unwrap());
    let http = server.http.to_string();
    let mut waiting = JoinSet::new();
    for _ in 0..65 {
        let (http, path) = (http.clone(), path.clone());
        waiting.spawn(async move { get(&http, &path, &[]).await });
    }
    let next = async |waiting: &mut JoinSet<Answer>| {
        let next = timeout(Duration::from_secs(20), waiting.join_next()).await;
        next.unwrap().unwrap().unwrap()
    };
    let refused = next(&mut waiting).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.text(), "too many clients wait for logs");
    // Others are not kept waiting.
    assert_eq!(bodies(&logs(&server, "").await), [""; 0]);
    server.stop.take().unwrap().send(()).unwrap();
    let begun = Instant::now();
    for _ in 0..64 {
        let answer = next(&mut waiting).await;
        assert_eq!(bodies(&answer.json()), [""; 0]);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}
