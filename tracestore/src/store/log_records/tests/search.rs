//! What is found is what a look at every record finds, wherever they are.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*, sample::select};
use tempfile::TempDir;

use super::{ask, attribute, of_service, still, text_record, texts, unbounded};
use crate::{
    log_record::LogRecord,
    span::{KeyValue, SpanId, TraceId, Value},
    store::{
        files::Folder,
        log_records::{
            AcceptedLogs, LogBatch, LogQuery, Place, Shared, Text, keeper, query::Position,
        },
    },
};

/// Few of each, so that queries find some.
const SERVICES: [&str; 3] = ["", "cart", "shop"];
const WORDS: [&str; 6] = [
    "",
    "order",
    "ORDER \u{c4}",
    "\u{e4}",
    "time\nout",
    "{\"a\":1}",
];

fn id<const N: usize>(number: u8) -> [u8; N] {
    let mut id = [0; N];
    id[0] = number;
    id[N - 1] = number;
    id
}

fn body() -> impl Strategy<Value = Value<'static>> {
    let text = vec(select(&WORDS[..]), 0..3).prop_map(|words| Value::String(words.concat().into()));
    prop_oneof![
        4 => text.clone(),
        1 => Just(Value::Empty),
        1 => any::<i64>().prop_map(Value::Int),
        1 => ("[ab]", text).prop_map(|(key, value)| {
            let key = key.into();
            Value::Map(vec![KeyValue { key, value }])
        }),
    ]
}

fn record() -> impl Strategy<Value = LogRecord<'static>> {
    let ids = (option::of(1..4_u8), option::of(1..4_u8));
    let attributes = vec(("[ab]", body()), 0..3).prop_map(|pairs| {
        let pair = |(key, value): (String, _)| KeyValue {
            key: key.into(),
            value,
        };
        pairs.into_iter().map(pair).collect()
    });
    let severity = (0..=24_u8, select(&["", "Error", "loud"][..]));
    (1..30_u64, severity, body(), attributes, ids, any::<u32>()).prop_map(
        |(time, (severity, name), body, attributes, (trace, span), flags)| LogRecord {
            observed_unix_nano: time / 2,
            severity,
            severity_text: name.into(),
            body,
            attributes,
            dropped_attributes: flags % 3,
            flags,
            trace: trace.and_then(|number| TraceId::new(id(number))),
            span: span.and_then(|number| SpanId::new(id(number))),
            event_name: name.into(),
            ..text_record(time, "")
        },
    )
}

/// Batches by the index of their service, and whether all is sealed after them.
type Request = (Vec<(usize, Vec<LogRecord<'static>>)>, bool);

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let batch = (0..SERVICES.len(), vec(record(), 0..12));
    vec((vec(batch, 1..3), any::<bool>()), 0..8)
}

#[derive(Clone, Debug)]
struct Asked {
    service: Option<&'static str>,
    severity: u8,
    text: Option<&'static str>,
    trace: Option<u8>,
    span: Option<u8>,
    times: (u64, u64),
    limit: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let text = option::of(select(
        &["order", "Order \u{e4}", "OUT", "\":1", "a\":\"o", "x"][..],
    ));
    let ids = (
        option::weighted(0.2, 1..5_u8),
        option::weighted(0.2, 1..5_u8),
    );
    let service = option::weighted(0.3, select(&["cart", "shop", "none", ""][..]));
    let severity = prop_oneof![2 => Just(0), 1 => 1..=24_u8];
    let times = (
        prop_oneof![Just(0), 1..30_u64],
        prop_oneof![Just(u64::MAX), 1..30_u64],
    );
    (service, severity, text, ids, times, 1..40_usize).prop_map(
        |(service, severity, text, (trace, span), times, limit)| Asked {
            service,
            severity,
            text,
            trace,
            span,
            times,
            limit,
        },
    )
}

impl Asked {
    fn query(&self, place: Place) -> LogQuery {
        LogQuery {
            service: self.service.map(str::to_owned),
            severity: self.severity,
            text: self.text.map(|text| Text::new(text).unwrap()),
            trace: self.trace.and_then(|number| TraceId::new(id(number))),
            span: self.span.and_then(|number| SpanId::new(id(number))),
            times: self.times.0..=self.times.1,
            limit: self.limit,
            place,
        }
    }

    fn passes(&self, service: &str, record: &LogRecord<'_>) -> bool {
        let has = |text: &str, within: &str| within.to_lowercase().contains(&text.to_lowercase());
        let has_text = |text: &str| {
            let is_in = |attribute: &KeyValue<'_>| match &attribute.value {
                Value::String(value) => has(text, value),
                _ => false,
            };
            has(text, &record.body_text()) || record.attributes.iter().any(is_in)
        };
        let trace = record.trace.map(|trace| trace.bytes()[0]);
        let span = record.span.map(|span| span.bytes()[0]);
        let severity = match (record.severity, &*record.severity_text) {
            (0, "Error") => 17,
            (number, _) => number,
        };
        self.service.is_none_or(|name| name == service)
            && severity >= self.severity
            && self.text.is_none_or(has_text)
            && self.trace.is_none_or(|number| trace == Some(number))
            && self.span.is_none_or(|number| span == Some(number))
            && (self.times.0..=self.times.1).contains(&record.time_unix_nano)
    }
}

/// All records in the order of their arrival.
type Naive = Vec<(&'static str, LogRecord<'static>)>;

fn store_of(folder: &TempDir, on_disk: bool, requests: &[Request]) -> (Arc<Shared>, Naive) {
    let files = on_disk.then(|| Arc::new(Folder::open(folder.path()).unwrap()) as _);
    let store = still(files, unbounded());
    let mut naive = Vec::new();
    for (number, (batches, is_sealed)) in requests.iter().enumerate() {
        let of_batch = |(service, records): &(usize, Vec<_>)| -> LogBatch<'static> {
            of_service(SERVICES[*service], records.clone())
        };
        let accepted = AcceptedLogs {
            form: 1,
            // No two requests are the same one sent again.
            body: &number.to_le_bytes(),
            batches: batches.iter().map(of_batch).collect(),
            received: std::time::SystemTime::now(),
        };
        store.append(&accepted).unwrap();
        if *is_sealed {
            keeper::seal(&store).unwrap();
        }
        for (service, records) in batches {
            let of_service = records
                .iter()
                .map(|record| (SERVICES[*service], record.clone()));
            naive.extend(of_service);
        }
    }
    (store, naive)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_what_a_look_at_every_record_finds(
        requests in requests(), asked in asked(), on_disk: bool,
    ) {
        let folder = TempDir::new().unwrap();
        let (store, naive) = store_of(&folder, on_disk, &requests);
        let mut expected: Vec<(u64, usize)> = (naive.iter().enumerate())
            .filter(|(_, (service, record))| asked.passes(service, record))
            .map(|(number, (_, record))| (record.time_unix_nano, number))
            .collect();
        expected.sort_unstable();
        let expected: Vec<_> = expected.iter().rev().map(|(_, number)| &naive[*number]).collect();

        let mut found = Vec::new();
        let mut place = Place::Newest;
        loop {
            let page = ask(&store, &asked.query(place));
            prop_assert!(page.records.len() <= asked.limit);
            found.extend(page.records);
            prop_assert!(found.len() <= naive.len(), "pages without an end");
            match page.older {
                Some(older) => place = Place::Before(older),
                None => break,
            }
        }
        let found: Vec<_> = (found.iter())
            .map(|found| (found.origin.service().unwrap_or("none"), &found.record))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(service, record)| (*service, record)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_tail_is_what_a_look_at_every_record_finds_in_the_order_of_arrival(
        requests in requests(), asked in asked(), from in 0..40_usize,
    ) {
        let folder = TempDir::new().unwrap();
        let (store, naive) = store_of(&folder, false, &requests);
        // Where the record of that number is, or the end.
        let (kept, mut arrivals) = (store.snapshot(), Vec::new());
        for sealed in &kept.sealed {
            for chunk in sealed.part.chunks() {
                let rows = sealed.part.rows(chunk).unwrap();
                arrivals.extend(rows.rows.iter().map(|row| row.arrival));
            }
        }
        for loose in &kept.loose {
            arrivals.extend(loose.rows.rows.iter().map(|row| row.arrival));
        }
        prop_assert!(arrivals.is_sorted_by(|a, b| a < b) && arrivals.len() == naive.len());
        let from = from.min(naive.len());
        let mut next = arrivals.get(from).copied().unwrap_or(kept.next);
        let mut found = Vec::new();
        loop {
            let mut page = ask(&store, &asked.query(Place::Since(next)));
            let is_last = page.records.len() < asked.limit;
            let is_sorted = page.records.is_sorted_by(|a, b| a.record.time_unix_nano >= b.record.time_unix_nano);
            prop_assert!(is_sorted && page.older.is_none());
            found.append(&mut page.records);
            next = page.next;
            if is_last {
                break;
            }
        }
        prop_assert_eq!(next, kept.next);
        let mut found: Vec<String> = found.iter().map(|found| format!("{:?}", found.record)).collect();
        let passing = naive[from..].iter().filter(|(service, record)| asked.passes(service, record));
        let mut expected: Vec<String> = passing.map(|(_, record)| format!("{record:?}")).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn what_happened_at_one_time_is_in_the_order_of_arrival() {
    let store = still(None, unbounded());
    for text in ["a", "b", "c"] {
        super::keep(&store, 5, &[text_record(7, text)]).unwrap();
    }
    let query = LogQuery {
        limit: 2,
        ..super::all()
    };
    let found = ask(&store, &query);
    assert_eq!(texts(&found), ["c", "b"]);
    let older = found.older.unwrap();
    let expected = Position {
        time: 7,
        arrival: 6,
    };
    assert_eq!(older, expected);
    let place = Place::Before(older);
    let found = ask(&store, &LogQuery { place, ..query });
    assert_eq!((texts(&found), found.older), (vec!["a".to_owned()], None));
}

#[test]
fn an_answer_has_no_more_than_16_mib_and_the_next_one_goes_on() {
    let store = still(None, unbounded());
    let long = "x".repeat(250 << 10);
    for number in 0..100 {
        let body = format!("{number} {long}");
        super::keep(&store, 5, &[text_record(number, &body)]).unwrap();
    }
    for is_tail in [false, true] {
        let mut place = if is_tail {
            Place::Since(0)
        } else {
            Place::Newest
        };
        let (mut numbers, mut pages) = (Vec::new(), 0);
        loop {
            let found = ask(
                &store,
                &LogQuery {
                    place,
                    ..super::all()
                },
            );
            let bodies = texts(&found);
            assert!(bodies.iter().map(String::len).sum::<usize>() <= 16 << 20);
            let number = |body: &String| body.split(' ').next().unwrap().parse::<u64>().unwrap();
            numbers.extend(bodies.iter().map(number));
            pages += 1;
            place = match (is_tail, found.older) {
                (false, Some(older)) => Place::Before(older),
                (true, _) if !bodies.is_empty() => Place::Since(found.next),
                _ => break,
            };
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "{is_tail}");
        assert_eq!(pages, if is_tail { 3 } else { 2 });
    }
}

#[test]
fn what_has_no_place_in_an_answer_is_not_read_for_it() {
    let store = still(None, unbounded());
    let long = "x".repeat(250 << 10);
    for number in 0..200 {
        let body = format!("{number} {long}");
        super::keep(&store, 5, &[text_record(number, &body)]).unwrap();
    }
    keeper::seal(&store).unwrap();
    let found = ask(&store, &super::all());
    assert!((60..70).contains(&found.records.len()));
    // Of 48 MiB.
    assert!(store.cache.bytes() < 20 << 20, "{}", store.cache.bytes());
}

#[test]
fn an_answer_has_no_more_than_16_mib_with_what_its_records_are_from() {
    let long = || vec![attribute("long", &"x".repeat(60 << 10))];
    for is_of_scope in [false, true] {
        let store = still(None, unbounded());
        for number in 0..400_u64 {
            let mut batch = of_service(
                &number.to_string(),
                vec![text_record(number + 1, &number.to_string())],
            );
            if is_of_scope {
                batch.resource = Arc::default();
                Arc::make_mut(&mut batch.scope).attributes = long();
            } else {
                Arc::make_mut(&mut batch.resource).attributes.extend(long());
            }
            let accepted = AcceptedLogs {
                form: 1,
                body: &number.to_le_bytes(),
                batches: vec![batch],
                received: std::time::SystemTime::now(),
            };
            store.append(&accepted).unwrap();
        }
        let (mut place, mut seen) = (Place::Newest, Vec::new());
        loop {
            let found = ask(
                &store,
                &LogQuery {
                    place,
                    ..super::all()
                },
            );
            assert!((1..280).contains(&found.records.len()));
            seen.extend(texts(&found));
            match found.older {
                Some(older) => place = Place::Before(older),
                None => break,
            }
        }
        let expected: Vec<String> = (0..400)
            .rev()
            .map(|number: u64| number.to_string())
            .collect();
        assert_eq!(seen, expected, "{is_of_scope}");
    }
}
