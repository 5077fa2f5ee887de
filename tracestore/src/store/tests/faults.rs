//! Disks that are full or fail.

use std::{
    fs,
    os::unix::fs::FileExt,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use super::{
    Request, append, count, keep, model, names, patience, plain, request, still, trace_id,
    unbounded,
};
use crate::{
    query::{Filter, Search, TraceFilter},
    store::{
        Options, Store, files::faulty::Faulty, keeper, log::Fsync, part::Damaged, search::Failed,
    },
};

/// The request of this number, of 100 spans of a trace of its own.
fn numbered(number: u64) -> Request {
    let spans = (0..100).map(|span| (trace_id(number), plain(span, 1 + span)));
    request(spans.collect())
}

fn open(faulty: &Faulty, options: Options) -> Store {
    still(Some(faulty.open()), options)
}

/// Panics unless these requests are there, now and after a restart.
fn check(faulty: &Faulty, store: Store, numbers: &[u64]) {
    let requests: Vec<Request> = numbers.iter().map(|number| numbered(*number)).collect();
    let expected = model::of(&requests);
    let all: Vec<_> = (0..20).map(trace_id).collect();
    model::check(&store, &expected, &all);
    drop(store);
    model::check(&open(faulty, unbounded()), &expected, &all);
}

#[test]
fn a_full_disk_refuses_requests_until_there_is_space_again() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    append(&store, &numbered(1)).unwrap();
    faulty.faults.leave(Some(500));
    for number in 2..5 {
        assert!(append(&store, &numbered(number)).is_err());
        assert_eq!(count(&store, trace_id(number)).unwrap(), 0);
        assert_eq!(count(&store, trace_id(0)).unwrap(), 100);
        assert_eq!(count(&store, trace_id(1)).unwrap(), 100);
    }
    assert_eq!(store.usage().refused_requests, 3);
    faulty.faults.leave(None);
    append(&store, &numbered(5)).unwrap();
    assert_eq!(store.usage().refused_requests, 3);
    check(&faulty, store, &[0, 1, 5]);
}

#[test]
fn a_disk_that_has_no_room_for_a_segment_is_tried_again() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    // Enough for the next log, and not for the segment.
    for number in 1..4 {
        faulty.faults.leave(Some(1000));
        keeper::seal(&store.shared).unwrap_err();
        faulty.faults.leave(Some(15_000));
        append(&store, &numbered(number)).unwrap();
    }
    assert_eq!(names(faulty.path(), ".segment"), [""; 0]);
    assert_eq!(names(faulty.path(), ".tmp"), [""; 0]);
    faulty.faults.leave(None);
    keeper::seal(&store.shared).unwrap();
    assert_eq!(names(faulty.path(), ".segment").len(), 1);
    assert_eq!(names(faulty.path(), ".log").len(), 1);
    check(&faulty, store, &[0, 1, 2, 3]);
}

#[test]
fn requests_are_refused_with_the_reason_when_memory_is_short_because_nothing_is_sealed() {
    let faulty = Faulty::new();
    let store = open(
        &faulty,
        Options {
            max_memory: 32 << 10,
            ..unbounded()
        },
    );
    let mut accepted = Vec::new();
    let refused = loop {
        faulty.faults.leave(Some(15_000));
        match append(&store, &numbered(accepted.len() as u64)) {
            Ok(()) => accepted.push(accepted.len() as u64),
            Err(refused) => break refused,
        }
        faulty.faults.leave(Some(1000));
        keep(&store);
        assert!(accepted.len() < 20, "memory is not bounded");
    };
    assert!(
        accepted.len() > 1,
        "what could not be sealed was kept in memory"
    );
    let reason = std::io::Error::from(std::io::ErrorKind::StorageFull).to_string();
    assert!(refused.to_string().contains(&reason), "{refused}");
    faulty.faults.leave(None);
    keep(&store);
    let next = accepted.len() as u64;
    append(&store, &numbered(next)).unwrap();
    accepted.push(next);
    check(&faulty, store, &accepted);
}

fn always() -> Options {
    Options {
        fsync: Fsync::Always,
        ..unbounded()
    }
}

#[test]
fn after_a_failed_fsync_what_was_accepted_is_sealed_and_the_store_goes_on() {
    let faulty = Faulty::new();
    let store = open(&faulty, always());
    append(&store, &numbered(0)).unwrap();
    faulty.faults.fail_sync.store(true, SeqCst);
    assert!(append(&store, &numbered(1)).is_err());
    faulty.faults.fail_sync.store(false, SeqCst);
    assert!(
        append(&store, &numbered(2)).is_err(),
        "the log does not know what it lost"
    );
    assert_eq!(count(&store, trace_id(0)).unwrap(), 100);
    keep(&store);
    assert_eq!(names(faulty.path(), ".segment").len(), 1);
    append(&store, &numbered(3)).unwrap();
    check(&faulty, store, &[0, 3]);
}

#[test]
fn after_a_failed_fsync_sealing_is_tried_until_it_succeeds() {
    let faulty = Faulty::new();
    let store = open(&faulty, always());
    append(&store, &numbered(0)).unwrap();
    faulty.faults.fail_sync.store(true, SeqCst);
    assert!(append(&store, &numbered(1)).is_err());
    faulty.faults.fail_sync.store(false, SeqCst);
    // Enough for the next log, and not for a segment.
    faulty.faults.leave(Some(100));
    keep(&store);
    assert_eq!(names(faulty.path(), ".segment").len(), 0);
    faulty.faults.leave(None);
    keep(&store);
    assert_eq!(names(faulty.path(), ".segment").len(), 1);
    check(&faulty, store, &[0]);
}

#[test]
fn a_failed_fsync_of_the_first_request_is_not_the_end() {
    let faulty = Faulty::new();
    let store = open(&faulty, always());
    faulty.faults.fail_sync.store(true, SeqCst);
    assert!(append(&store, &numbered(0)).is_err());
    faulty.faults.fail_sync.store(false, SeqCst);
    keep(&store);
    append(&store, &numbered(1)).unwrap();
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    assert_eq!(count(&store, trace_id(1)).unwrap(), 100);
}

#[test]
fn a_store_that_ends_after_a_failed_fsync_seals_first() {
    let faulty = Faulty::new();
    let files = Some(faulty.open());
    let options = Options {
        fsync: Fsync::Within(Duration::ZERO),
        ..unbounded()
    };
    let shared =
        crate::store::Shared::open(files, options, super::decode, crate::store::Timings::new())
            .unwrap();
    let store = Store {
        shared: Arc::clone(&shared),
        keeper: None,
    };
    faulty.faults.fail_sync.store(true, SeqCst);
    append(&store, &numbered(0)).unwrap();
    while !shared.storage.is_suspect() {
        std::thread::yield_now();
    }
    faulty.faults.fail_sync.store(false, SeqCst);
    shared.orders.stop();
    keeper::run(&shared);
    assert_eq!(names(faulty.path(), ".segment").len(), 1);
}

#[test]
fn a_segment_that_a_disk_does_not_give_is_left_out_until_it_does() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    append(&store, &numbered(1)).unwrap();
    let [name] = <[String; 1]>::try_from(names(faulty.path(), ".segment")).unwrap();
    faulty.faults.fail_read.store(true, SeqCst);
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    assert_eq!(count(&store, trace_id(1)).unwrap(), 100);
    let damaged = store.usage().damaged.first;
    assert_eq!(damaged.len(), 1);
    assert!(
        damaged[0].contains(&name) && damaged[0].contains("100 spans"),
        "{damaged:?}"
    );
    keeper::retry_unread(&store.shared, Duration::ZERO);
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);

    faulty.faults.fail_read.store(false, SeqCst);
    // What is sealed meanwhile does not stand for it.
    keeper::seal(&store.shared).unwrap();
    assert_eq!(names(faulty.path(), ".segment").len(), 2);
    keeper::retry_unread(&store.shared, Duration::from_secs(3600));
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    keeper::retry_unread(&store.shared, Duration::ZERO);
    let listed = store.shared.snapshot();
    let generations = listed.sealed.iter().map(|sealed| &sealed.generations);
    assert!(generations.is_sorted_by_key(|range| *range.end()) && listed.unread.is_empty());
    assert_eq!(names(faulty.path(), ".damaged").len(), 0);
    check(&faulty, store, &[0, 1]);
}

#[test]
fn a_segment_that_a_disk_does_not_give_at_the_start_is_there_at_the_next() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    let [name] = <[String; 1]>::try_from(names(faulty.path(), ".segment")).unwrap();
    drop(store);
    let path = faulty.path().join(&name);
    faulty.faults.make_unreadable(Some(&path));
    let store = open(&faulty, unbounded());
    let damaged = store.usage().damaged.first;
    assert!(
        damaged.len() == 1 && damaged[0].contains(&name),
        "{damaged:?}"
    );
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    append(&store, &numbered(1)).unwrap();
    // What is sealed meanwhile does not stand for it.
    keeper::seal(&store.shared).unwrap();
    assert_eq!(names(faulty.path(), ".segment").len(), 2);
    drop(store);
    faulty.faults.make_unreadable(None);
    check(&faulty, open(&faulty, unbounded()), &[0, 1]);
}

/// The small segment fails a query while it is written again with new spans.
#[test]
fn a_segment_that_is_left_out_while_another_takes_its_place_does_not_come_back() {
    let faulty = Faulty::new();
    let store = open(&faulty, always());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    append(&store, &numbered(1)).unwrap();
    let small = Arc::clone(&store.shared.snapshot().sealed[0].part);
    // That of the name of the next log; the segment's has to wait.
    *faulty.faults.free_syncs.lock().unwrap() = 1;
    let held = faulty.faults.hold_sync.lock().unwrap();
    std::thread::scope(|scope| {
        let sealing = scope.spawn(|| keeper::seal(&store.shared).unwrap());
        while names(faulty.path(), ".segment.tmp").is_empty() {
            assert!(!sealing.is_finished());
            std::thread::yield_now();
        }
        let unread = Damaged {
            is_unread: true,
            ..small.damaged("for a moment")
        };
        assert!(store.shared.quarantine(&unread));
        drop(held);
        sealing.join().unwrap();
    });
    keeper::retry_unread(&store.shared, Duration::ZERO);
    assert_eq!(store.usage().spans, 200);
    check(&faulty, store, &[0, 1]);
}

#[test]
fn what_is_left_out_is_evicted_in_its_turn() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    let bytes = store.usage().disk_bytes;
    faulty.faults.fail_read.store(true, SeqCst);
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    assert_eq!(
        store.usage().disk_bytes,
        bytes,
        "it takes as much as before"
    );
    drop(store);
    faulty.faults.fail_read.store(false, SeqCst);
    let store = open(
        &faulty,
        Options {
            max_disk: bytes,
            ..unbounded()
        },
    );
    faulty.faults.fail_read.store(true, SeqCst);
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    append(&store, &numbered(1)).unwrap();
    keeper::evict(&store.shared);
    assert_eq!(names(faulty.path(), ".segment").len(), 0);
    assert_eq!(store.usage().evicted_spans, 100);
    assert_eq!(count(&store, trace_id(1)).unwrap(), 100);
}

#[test]
fn a_damaged_segment_is_kept_for_people_until_there_is_no_more_room() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    let [name] = <[String; 1]>::try_from(names(faulty.path(), ".segment")).unwrap();
    drop(store);
    let path = faulty.path().join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let store = open(&faulty, unbounded());
    assert_eq!(count(&store, trace_id(0)).unwrap(), 0);
    append(&store, &numbered(1)).unwrap();
    keeper::seal(&store.shared).unwrap();
    keeper::evict(&store.shared);
    assert_eq!(names(faulty.path(), ".damaged").len(), 1);
    let with_both = store.usage().disk_bytes;
    assert!(with_both >= 2 * bytes.len() as u64 - 100, "{with_both}");
    drop(store);
    let store = open(
        &faulty,
        Options {
            max_disk: with_both - 1,
            ..unbounded()
        },
    );
    keeper::evict(&store.shared);
    assert_eq!(names(faulty.path(), ".damaged").len(), 0);
    assert_eq!(store.usage().evicted_spans, 0);
    assert_eq!(count(&store, trace_id(1)).unwrap(), 100);
}

/// Many queries may meet the same damage at once: none of them has to fail for it.
#[test]
fn a_query_that_meets_damage_after_another_did_is_asked_again() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, &numbered(0)).unwrap();
    keeper::seal(&store.shared).unwrap();
    let asked = store.query(|parts| match parts.first() {
        Some(part) => {
            let damaged = part.damaged("as another query found");
            assert!(store.shared.quarantine(&damaged));
            Err(Failed::Damaged(damaged))
        }
        None => Ok(()),
    });
    assert_eq!(asked, Ok(()));
}

#[test]
fn every_query_is_answered_while_one_of_several_segments_is_dropped() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    // One that is small is written again with the next, and not if there are far fewer of them.
    let many: Vec<_> = (0..1000)
        .map(|span| (trace_id(0), plain(span, 1)))
        .collect();
    append(&store, &request(many)).unwrap();
    keeper::seal(&store.shared).unwrap();
    append(&store, &numbered(1)).unwrap();
    keeper::seal(&store.shared).unwrap();
    let segments = names(faulty.path(), ".segment");
    assert_eq!(segments.len(), 2);
    drop(store);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(faulty.path().join(&segments[0]))
        .unwrap();
    file.write_all_at(&[0xaa; 64], 16).unwrap();
    let store = open(&faulty, unbounded());
    let search = Search {
        filter: TraceFilter::Some(Filter::All),
        window: None,
        limit: 10,
        spans_per_trace: 1,
        select: Vec::new(),
    };
    let (patience, _abandon) = patience();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let found = store.search(&search, None, None, &patience).unwrap();
                let ids: Vec<_> = found.iter().map(|found| found.summary.id).collect();
                assert_eq!(ids, [trace_id(1)]);
            });
        }
    });
    let damaged = store.usage().damaged.first;
    assert!(
        damaged.len() == 1 && damaged[0].contains(&segments[0]),
        "{damaged:?}"
    );
}
