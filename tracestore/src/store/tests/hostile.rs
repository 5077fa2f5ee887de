//! Requests as nobody sends them who means well: their work must stay near what their size is.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    Request, append, count, keep, on_disk, patience, plain, request, still, trace_id, unbounded,
};
use crate::{
    query::{Filter, Search, TraceFilter},
    span::{KeyValue, Resource, Scope, Span, Value},
    store::{Batch, Store, keeper, part},
};

/// Does the work on as much as takes minutes if each doubling takes four times as long, and well
/// under a second if it takes twice as long. Nothing is measured: a machine that is busy would
/// decide.
fn end_within_patience(size: u64, work: impl FnOnce(u64)) {
    work(16 * size);
}

fn named(key: String) -> KeyValue<'static> {
    KeyValue {
        key: key.into(),
        value: Value::Int(1),
    }
}

/// A span for each resource.
fn of_resources(resources: impl Iterator<Item = Resource<'static>>) -> Vec<Batch<'static>> {
    let batch = |(number, resource)| Batch {
        resource: Arc::new(resource),
        scope: Arc::new(Scope::default()),
        spans: vec![(trace_id(number), plain(1, 1))],
    };
    (0..).zip(resources).map(batch).collect()
}

#[test]
fn resources_of_one_key_each_are_unified() {
    end_within_patience(1_000, |size| {
        let resource = |number| Resource {
            attributes: vec![named(format!("key {number}"))],
            ..Resource::default()
        };
        let part = Arc::new(part::build(&of_resources((0..size).map(resource)), 1));
        part::merge(&[Arc::clone(&part), part]).unwrap();
    });
}

#[test]
fn resources_of_one_value_each_are_unified() {
    end_within_patience(16_000, |size| {
        let resource = |number| Resource {
            attributes: vec![KeyValue {
                key: "host.name".into(),
                value: Value::Int(number),
            }],
            ..Resource::default()
        };
        let resources = (0..i64::try_from(size).unwrap()).map(resource);
        let part = Arc::new(part::build(&of_resources(resources), 1));
        let merged = part::merge(&[Arc::clone(&part), part]).unwrap();
        assert_eq!(
            u64::from(merged.directory.rows[part::Table::Resources as usize]),
            size
        );
    });
}

fn with_keys(spans: u64, keys: u64) -> Request {
    let span = |number: u64| {
        let keys = number * keys..(number + 1) * keys;
        let attributes = keys.map(|key| named(format!("key {key}"))).collect();
        (
            trace_id(number),
            Span {
                attributes,
                ..plain(1, 1)
            },
        )
    };
    request((0..spans).map(span).collect())
}

#[test]
fn a_request_of_many_distinct_keys_is_kept() {
    end_within_patience(5_000, |size| {
        let part = Arc::new(part::build(&with_keys(size / 100, 100).batches, 1));
        part::merge(&[Arc::clone(&part), part]).unwrap();
    });
}

#[test]
fn a_request_of_8_000_distinct_keys_comes_back() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(folder.path(), unbounded());
    append(&store, &with_keys(80, 100)).unwrap();
    keeper::seal(&store.shared).unwrap();
    assert_eq!(store.tags(None).len(), 8_000);
    let found = store.find(trace_id(79), &patience().0).unwrap().unwrap();
    let trace = found.trace(&patience().0).unwrap();
    let keys = trace.groups[0].spans[0]
        .attributes
        .iter()
        .map(|attribute| &*attribute.key);
    assert!(keys.eq((7_900..8_000).map(|key| format!("key {key}"))));
}

#[test]
fn a_key_may_be_repeated_more_often_than_a_byte_can_count() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(folder.path(), unbounded());
    let attributes = (0..600).map(|value| KeyValue {
        key: "again".into(),
        value: Value::Int(value),
    });
    let span = Span {
        attributes: attributes.collect(),
        ..plain(1, 1)
    };
    append(&store, &request(vec![(trace_id(1), span.clone())])).unwrap();
    append(&store, &request(vec![(trace_id(1), plain(2, 1))])).unwrap();
    for _ in 0..2 {
        let found = store.find(trace_id(1), &patience().0).unwrap().unwrap();
        let trace = found.trace(&patience().0).unwrap();
        assert!(trace.groups[0].spans.contains(&span));
        keeper::seal(&store.shared).unwrap();
    }
}

#[test]
fn resources_without_a_span_are_not_kept_and_break_no_segment() {
    let folder = TempDir::new().unwrap();
    let mut batches = of_resources((0..5).map(|number| Resource {
        attributes: vec![named(format!("key {number}"))],
        ..Resource::default()
    }));
    for empty in &mut batches[1..] {
        empty.spans.clear();
    }
    let store = on_disk(folder.path(), unbounded());
    append(
        &store,
        &Request {
            batches,
            received: 1,
        },
    )
    .unwrap();
    keeper::seal(&store.shared).unwrap();
    assert_eq!(store.tags(None).len(), 1);
    assert_eq!(count(&store, trace_id(0)).unwrap(), 1);
}

#[test]
fn a_trace_of_50_000_spans_from_many_requests_is_found_whole() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(folder.path(), unbounded());
    for number in 0..500 {
        let spans = (0..100).map(|span| (trace_id(0), plain(number * 100 + span, 1 + span)));
        append(&store, &request(spans.collect())).unwrap();
        keep(&store);
        if number == 200 {
            keeper::seal(&store.shared).unwrap();
        }
    }
    assert_eq!(count(&store, trace_id(0)).unwrap(), 50_000);
    assert!(store.usage().parts < 64);
}

/// Spans of one id and one start, which tells nobody which of them came twice.
#[test]
fn spans_that_differ_in_their_last_field_are_told_apart() {
    let (patience, _abandon) = patience();
    let search = Search {
        filter: TraceFilter::Some(Filter::All),
        window: None,
        limit: 1,
        spans_per_trace: 0,
        select: Vec::new(),
    };
    end_within_patience(1_000, |size| {
        let store = still(None, unbounded());
        let span = |end_unix_nano| Span {
            end_unix_nano,
            ..plain(1, 1)
        };
        let spans: Vec<_> = (0..size).map(|end| (trace_id(1), span(end))).collect();
        append(&store, &request(spans.clone())).unwrap();
        append(&store, &request(spans)).unwrap();
        assert_eq!(count(&store, trace_id(1)).unwrap() as u64, size);
        let found = store.search(&search, None, None, &patience).unwrap();
        assert_eq!(u64::from(found[0].sets[0].matched), size);
    });
}

/// All requests are loose, and the keeper merges when it is asked to.
fn loose_parts(sizes: impl Iterator<Item = u64>) -> usize {
    let store: Store = still(None, unbounded());
    let mut most = 0;
    for (number, size) in (0..).zip(sizes) {
        let spans = (0..size).map(|span| (trace_id(number), plain(span, 1 + span)));
        append(&store, &request(spans.collect())).unwrap();
        keep(&store);
        most = most.max(store.usage().parts);
    }
    usize::try_from(most).unwrap()
}

#[test]
fn thousands_of_requests_of_one_span_are_few_parts() {
    assert!(loose_parts((0..5_000).map(|_| 1)) < 4 * 16);
}

#[test]
fn thousands_of_large_and_small_requests_in_turn_are_few_parts() {
    assert!(loose_parts((0..2_000).map(|number| [1, 20][number % 2])) < 4 * 16);
}
