//! Eviction: what goes, what stays, and what is counted.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use super::{
    Request, append, count, keep, now, on_disk, plain, request, still, trace_id, unbounded,
};
use crate::{
    span::{KeyValue, Value},
    store::{Options, Store, keeper},
};

/// The request of this number, with spans of as many traces.
fn numbered(number: u64, traces: u64) -> Request {
    let traces = number * traces..(number + 1) * traces;
    let spans = traces.map(|trace| {
        let mut span = plain(trace, 1 + trace);
        span.name = format!("the name of span {trace}, which no other has").into();
        (trace_id(trace), span)
    });
    request(spans.collect())
}

/// Panics unless all traces but the oldest are there, and those that are not were counted.
fn check_what_is_left(store: &Store, requests: u64, traces: u64) {
    let usage = store.usage();
    assert_eq!(usage.spans + usage.evicted_spans, requests * traces);
    assert_eq!(usage.traces + usage.evicted_traces, requests * traces);
    assert_eq!(
        usage.evicted_spans % traces,
        0,
        "a request was evicted in part"
    );
    for trace in [0, usage.evicted_spans.saturating_sub(1)] {
        let is_kept = usage.evicted_spans == 0;
        assert_eq!(count(store, trace_id(trace)).unwrap(), usize::from(is_kept));
    }
    for trace in [usage.evicted_spans, requests * traces - 1] {
        assert_eq!(count(store, trace_id(trace)).unwrap(), 1);
    }
}

#[test]
fn memory_is_bounded_and_the_oldest_spans_go_first() {
    let max_memory = 1 << 20;
    let store = still(
        None,
        Options {
            max_memory,
            ..unbounded()
        },
    );
    for number in 0..200 {
        append(&store, &numbered(number, 100)).unwrap();
        keep(&store);
        assert!(store.usage().memory_bytes <= max_memory as u64);
        check_what_is_left(&store, number + 1, 100);
    }
    let usage = store.usage();
    assert!(usage.evicted_spans > 0);
    // No more than what a step needs.
    assert!(usage.memory_bytes > max_memory as u64 * 3 / 4, "{usage:?}");
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn disk_is_bounded_and_the_oldest_spans_go_first() {
    let folder = TempDir::new().unwrap();
    let max_disk = 1 << 20;
    let store = on_disk(
        folder.path(),
        Options {
            max_disk,
            ..unbounded()
        },
    );
    let mut most = 0;
    for number in 0..300 {
        append(&store, &numbered(number, 100)).unwrap();
        keep(&store);
        let usage = store.usage();
        assert_eq!(usage.disk_bytes, bytes_in(folder.path()));
        // What is sealed meanwhile is there twice, but not for longer.
        assert!(usage.disk_bytes <= max_disk, "{usage:?}");
        most = most.max(usage.disk_bytes);
        check_what_is_left(&store, number + 1, 100);
    }
    assert!(store.usage().evicted_spans > 0);
    assert!(most > max_disk * 3 / 4, "{most}");
}

#[test]
fn what_could_not_be_sealed_for_long_is_sealed_in_steps() {
    let folder = TempDir::new().unwrap();
    let max_memory = 1 << 20;
    let store = on_disk(
        folder.path(),
        Options {
            max_memory,
            ..unbounded()
        },
    );
    for number in 0..12 {
        append(&store, &numbered(number, 100)).unwrap();
        // What an attempt to seal does before it fails.
        store.shared.storage.rotate().unwrap();
    }
    let loose = store.shared.snapshot().loose.clone();
    let step = max_memory / 16;
    assert!(loose.iter().map(|loose| loose.bytes).sum::<usize>() > 2 * step);
    keeper::seal(&store.shared).unwrap();
    let parts = store.shared.snapshot();
    assert!(parts.loose.is_empty());
    let (mut next, mut rest) = (0, &loose[..]);
    for sealed in &parts.sealed {
        assert_eq!(*sealed.generations.start(), next);
        next = sealed.generations.end() + 1;
        let within = rest
            .iter()
            .take_while(|loose| loose.generation < next)
            .count();
        let bytes = rest[..within]
            .iter()
            .map(|loose| loose.bytes)
            .sum::<usize>();
        assert!(bytes <= step, "{bytes}");
        rest = &rest[within..];
    }
    assert!(parts.sealed.len() > 2 && rest.is_empty());
    check_what_is_left(&store, 12, 100);
    drop(store);
    check_what_is_left(&on_disk(folder.path(), unbounded()), 12, 100);
}

/// What the directories of many segments take.
#[test]
fn memory_is_bounded_on_disk_too() {
    let folder = TempDir::new().unwrap();
    let max_memory = 256 << 10;
    let store = on_disk(
        folder.path(),
        Options {
            max_memory,
            ..unbounded()
        },
    );
    for number in 0..60 {
        let key = |key: u64| KeyValue {
            key: format!("key {key} of request {number}").into(),
            value: Value::Empty,
        };
        let mut span = plain(1, 1);
        span.attributes = (0..100).map(key).collect();
        append(&store, &request(vec![(trace_id(number), span)])).unwrap();
        keeper::seal(&store.shared).unwrap();
        keep(&store);
        assert_eq!(count(&store, trace_id(number)).unwrap(), 1);
        assert!(store.usage().memory_bytes <= max_memory as u64);
    }
    assert!(store.usage().evicted_spans > 0);
}

#[test]
fn what_is_not_sealed_yet_evicts_no_segment() {
    let folder = TempDir::new().unwrap();
    let options = Options {
        max_memory: 1 << 20,
        ..unbounded()
    };
    let store = on_disk(folder.path(), options);
    for number in 0..3 {
        append(&store, &numbered(number, 100)).unwrap();
        keeper::seal(&store.shared).unwrap();
    }
    append(&store, &numbered(1, 3000)).unwrap();
    append(&store, &numbered(2, 10_000)).unwrap();
    assert!(store.usage().memory_bytes > 1 << 20);
    keeper::evict(&store.shared);
    assert_eq!(store.usage().evicted_spans, 0);
}

fn received(number: u64, age: Duration) -> Request {
    Request {
        received: now() - u64::try_from(age.as_nanos()).unwrap(),
        ..numbered(number, 1)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn spans_that_are_too_old_go_and_younger_ones_stay() {
    let folder = TempDir::new().unwrap();
    let options = Options {
        max_age: 80 * HOUR,
        ..unbounded()
    };
    for store in [
        still(None, options.clone()),
        on_disk(folder.path(), options),
    ] {
        for (number, age) in (0..).zip([90, 81, 79, 0]) {
            append(&store, &received(number, age * HOUR)).unwrap();
            keep(&store);
        }
        let counts = [0, 1, 2, 3].map(|trace| count(&store, trace_id(trace)).unwrap());
        assert_eq!(counts, [0, 0, 1, 1]);
        let usage = store.usage();
        assert_eq!((usage.evicted_spans, usage.evicted_traces), (2, 2));
        assert!(now() - usage.oldest_unix_nano < 80 * 3_600_000_000_000);
    }
}

/// It would stay for as long as they do.
#[test]
fn an_old_segment_is_not_written_again_with_new_spans() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(
        folder.path(),
        Options {
            max_age: 80 * HOUR,
            ..unbounded()
        },
    );
    for (number, age) in (0..).zip([60, 19, 0]) {
        append(&store, &received(number, age * HOUR)).unwrap();
        keeper::seal(&store.shared).unwrap();
    }
    assert_eq!(store.usage().parts, 2);
}
