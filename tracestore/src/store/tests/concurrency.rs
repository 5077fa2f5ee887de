//! Threads that append, ask, and keep order at the same time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    append, body, count, keep, on_disk, patience, plain, request, still, trace_id, unbounded,
};
use crate::{
    query::{Filter, Search, TraceFilter},
    store::{Store, keeper, log::Record, loose, part, read, write},
};

const SENDERS: u64 = 2;
const REQUESTS: u64 = 300;

/// Every request has a trace of its own and a span of a trace that all share.
fn send(store: &Store, sender: u64, acknowledged: &Mutex<Vec<u64>>) {
    for number in 0..REQUESTS {
        let number = 1 + sender * REQUESTS + number;
        let spans = vec![
            (trace_id(number), plain(1, number)),
            (trace_id(0), plain(number, number)),
        ];
        append(store, &request(spans)).unwrap();
        acknowledged.lock().unwrap().push(number);
    }
}

fn ask(store: &Store, acknowledged: &Mutex<Vec<u64>>) {
    let known = acknowledged.lock().unwrap().clone();
    let Some(last) = known.last() else {
        return;
    };
    assert!(count(store, trace_id(0)).unwrap() >= known.len());
    for number in [*last, known[known.len() / 2]] {
        assert_eq!(count(store, trace_id(number)).unwrap(), 1);
    }
    let (patience, _abandon) = patience();
    let search = Search {
        filter: TraceFilter::Some(Filter::All),
        window: None,
        limit: usize::MAX,
        spans_per_trace: 0,
        select: Vec::new(),
    };
    let found = store.search(&search, None, None, &patience).unwrap();
    assert!(found.len() > known.len());
}

/// Lets the keeper end, also after a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn nothing_that_was_acknowledged_is_ever_missing() {
    let folder = TempDir::new().unwrap();
    for store in [
        still(None, unbounded()),
        on_disk(folder.path(), unbounded()),
    ] {
        let acknowledged = Mutex::new(Vec::new());
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (store, acknowledged, is_done) = (&store, &acknowledged, &is_done);
            let send = |sender| scope.spawn(move || send(store, sender, acknowledged));
            let senders: Vec<_> = (0..SENDERS).map(send).collect();
            scope.spawn(move || {
                for round in 0.. {
                    if is_done.load(SeqCst) {
                        break;
                    }
                    match round % 3 {
                        0 => keeper::merge_loose(&store.shared),
                        1 => keeper::seal(&store.shared).unwrap(),
                        _ => keep(store),
                    }
                }
            });
            let _done = Done(is_done);
            while !senders.iter().all(ScopedJoinHandle::is_finished) {
                ask(store, acknowledged);
            }
            ask(store, acknowledged);
        });
        let usage = store.usage();
        assert_eq!(usage.spans, 2 * SENDERS * REQUESTS);
        assert_eq!(
            count(&store, trace_id(0)).unwrap() as u64,
            SENDERS * REQUESTS
        );
    }
}

/// Storage has it, and it is not listed yet.
#[test]
fn a_generation_does_not_end_while_a_request_of_it_is_on_its_way() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(folder.path(), unbounded());
    append(&store, &request(vec![(trace_id(1), plain(1, 1))])).unwrap();
    let late = request(vec![(trace_id(2), plain(1, 1))]);
    let record = Record {
        received_unix_nano: late.received,
        form: 1,
        body: &body(&late.batches),
    };
    thread::scope(|scope| {
        let arrival = read(&store.shared.arrivals);
        let generation = store.shared.storage.append(&record).unwrap();
        let sealing = scope.spawn(|| keeper::seal(&store.shared));
        // Long enough for one that does not wait.
        let deadline = Instant::now() + Duration::from_millis(200);
        while !sealing.is_finished() && Instant::now() < deadline {
            thread::yield_now();
        }
        let part = part::build(&late.batches, late.received);
        let listed = loose(part, generation);
        Arc::make_mut(&mut *write(&store.shared.parts))
            .loose
            .push(listed);
        drop(arrival);
        sealing.join().unwrap().unwrap();
    });
    drop(store);
    let store = on_disk(folder.path(), unbounded());
    for trace in [1, 2] {
        assert_eq!(count(&store, trace_id(trace)).unwrap(), 1);
    }
}
