//! What the page and scripts find of log records.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use serde_json::json;

use super::{bodies, keep, logs, of_service, record};
use crate::{
    inputs::{CHAIN, MS, NINE, id, int, span_id, text},
    server::{Server, start},
};

/// The records that others are among.
async fn some() -> Server {
    let server = start().await;
    let with = |at, severity, text: &str, change: fn(&mut LogRecord)| {
        let mut record = record(at, text);
        record.severity_number = severity;
        change(&mut record);
        record
    };
    let of_chain = |record: &mut LogRecord| {
        record.trace_id = id(CHAIN);
        record.span_id = span_id(7);
    };
    let shop = vec![
        with(1, 9, "order 1 placed", of_chain),
        with(3, 17, "payment Timed Out", of_chain),
        with(5, 13, "slow", |record| {
            record.trace_id = id("abc");
            record.attributes = vec![text("peer", "Bank of \u{c4}rger"), int("n", 4711)];
        }),
    ];
    let cart = vec![
        with(2, 0, "by text alone", |record| {
            record.severity_text = "Warning".to_owned()
        }),
        with(4, 5, "order 1 is empty", |_| {}),
        with(6, 21, "", |record| {
            record.body = Some(AnyValue {
                value: Some(Any::KvlistValue(
                    opentelemetry_proto::tonic::common::v1::KeyValueList {
                        values: vec![text("user", "bob"), int("n", 7)],
                    },
                )),
            });
        }),
    ];
    keep(&server, &of_service("shop", shop)).await;
    keep(&server, &of_service("cart", cart)).await;
    server
}

#[tokio::test]
async fn records_are_found_by_what_is_asked_for_the_newest_first() {
    let server = some().await;
    let at = |milliseconds: u64| NINE / MS + milliseconds;
    // In milliseconds after nine.
    for (query, expected) in [
        (String::new(), &[6, 5, 4, 3, 2, 1][..]),
        ("?service=shop".to_owned(), &[5, 3, 1]),
        ("?service=sho".to_owned(), &[]),
        ("?service=Shop".to_owned(), &[]),
        ("?severity=warn".to_owned(), &[6, 5, 3, 2]),
        ("?severity=WARN&service=cart".to_owned(), &[6, 2]),
        ("?severity=17".to_owned(), &[6, 3]),
        ("?severity=trace".to_owned(), &[6, 5, 4, 3, 2, 1]),
        ("?severity=22".to_owned(), &[]),
        ("?text=timed%20out".to_owned(), &[3]),
        ("?text=ORDER%201".to_owned(), &[4, 1]),
        (
            "?text=order%201&service=shop&severity=info".to_owned(),
            &[1],
        ),
        // Of an attribute, in another case beyond ASCII; but not of a number or a key.
        ("?text=%C3%A4RGER".to_owned(), &[5]),
        ("?text=4711".to_owned(), &[]),
        ("?text=peer".to_owned(), &[]),
        ("?text=warning".to_owned(), &[]),
        // Of a body that is no string, its JSON.
        (
            "?text=%7B%22USER%22:%22bob%22,%22n%22:7%7D".to_owned(),
            &[6],
        ),
        ("?text=.*".to_owned(), &[]),
        (format!("?trace={CHAIN}"), &[3, 1]),
        (format!("?trace={}", CHAIN.to_uppercase()), &[3, 1]),
        ("?trace=abc".to_owned(), &[5]),
        ("?trace=0000abc".to_owned(), &[5]),
        ("?trace=ab".to_owned(), &[]),
        ("?span=f000000000000007".to_owned(), &[3, 1]),
        ("?span=7".to_owned(), &[]),
        (format!("?from={}&to={}", at(2), at(4)), &[4, 3, 2]),
        (format!("?from={}", at(5)), &[6, 5]),
        (format!("?to={}&service=cart", at(4)), &[4, 2]),
        ("?limit=2".to_owned(), &[6, 5]),
        (
            "?service=&severity=&text=&limit=&before=&after=".to_owned(),
            &[6, 5, 4, 3, 2, 1],
        ),
    ] {
        let found = logs(&server, &query).await;
        let records = found["records"].as_array().unwrap().iter();
        let times: Vec<u64> = records
            .map(|record| record["timeUnixNano"].as_str().unwrap().parse().unwrap())
            .map(|time: u64| (time - NINE) / MS)
            .collect();
        assert_eq!(times, expected, "{query}");
        let is_cut = query == "?limit=2";
        assert_eq!(found["older"].is_string(), is_cut, "{query}");
    }
    let services = server.get("/logs/services.json").await.json();
    assert_eq!(services, json!({"services": ["cart", "shop"]}));
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_a_400_that_names_the_parameter() {
    let server = start().await;
    let long = "x".repeat(1001);
    let newest = logs(&server, "").await["newest"].clone();
    let newest = newest.as_str().unwrap();
    for (query, why) in [
        (
            "limit=0",
            "invalid limit: \"0\" is not a number from 1 to 1000",
        ),
        (
            "limit=1001",
            "invalid limit: \"1001\" is not a number from 1 to 1000",
        ),
        (
            "limit=x%0A",
            "invalid limit: \"x\\n\" is not a number from 1 to 1000",
        ),
        (
            "severity=loud",
            "invalid severity: \"loud\" is not one of trace, debug, info, warn, error, fatal, \
             or a number from 1 to 24",
        ),
        ("severity=25", "invalid severity: \"25\" is not one of"),
        ("severity=0", "invalid severity: \"0\" is not one of"),
        ("trace=xyz", "invalid trace: \"xyz\" is not a trace id"),
        ("trace=0", "invalid trace: \"0\" is not a trace id"),
        (&format!("trace={}", "1".repeat(33)), "invalid trace: "),
        ("span=%2B1", "invalid span: \"+1\" is not a span id"),
        (&format!("span={}", "1".repeat(17)), "invalid span: "),
        (
            "from=yesterday",
            "invalid from: \"yesterday\" is not a number of milliseconds",
        ),
        (
            "to=-1",
            "invalid to: \"-1\" is not a number of milliseconds",
        ),
        ("to=99999999999999999", "invalid to: "),
        (
            "from=2&to=1",
            "invalid from: 2 is later than to, which is 1",
        ),
        (
            "before=x",
            "invalid before: \"x\" is not the `older` of an answer",
        ),
        (&format!("before={newest}"), "invalid before: "),
        (
            "after=o0",
            "invalid after: \"o0\" is not the `newest` of an answer",
        ),
        (
            &format!("after={newest}&before=o{}", "0".repeat(32)),
            "invalid before: it cannot stand beside after",
        ),
        ("wait=1", "invalid wait: it needs after"),
        (
            &format!("after={newest}&wait=31"),
            "invalid wait: \"31\" is not a number of seconds",
        ),
        (
            &format!("text={long}"),
            "invalid text: it has more than 1000 bytes",
        ),
        (
            "servce=a",
            "there is no parameter \"servce\": there are service, severity",
        ),
    ] {
        let answer = server.get(&format!("/logs.json?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().starts_with(why), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn pages_have_each_record_once_while_others_come() {
    let server = start().await;
    // Two of them always at the same time.
    let request = |from: u64| {
        let records = (from..from + 10).map(|n| record(n / 2, &format!("{n}")));
        of_service("s", records.collect())
    };
    for n in 0..20 {
        keep(&server, &request(10 * n)).await;
    }
    let mut seen = Vec::new();
    let mut query = "?limit=7".to_owned();
    let mut later = 1000;
    loop {
        let found = logs(&server, &query).await;
        let of_before = bodies(&found)
            .into_iter()
            .map(|body| body.parse::<u64>().unwrap());
        seen.extend(of_before);
        let Some(older) = found["older"].as_str() else {
            break;
        };
        query = format!("?limit=7&before={older}");
        // Newer than all that is asked for.
        keep(&server, &request(later)).await;
        later += 10;
    }
    // The last of those at one time arrived last.
    let expected: Vec<u64> = (0..200).rev().collect();
    assert_eq!(seen, expected);
}
