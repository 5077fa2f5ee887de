//! What is there after a restart, however the last run ended.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Request, append, copy, decode, model, names, on_disk, plain, request, requests, trace_id,
    unbounded,
};
use crate::store::{Losses, Options, Store, keeper};

fn check(folder: &TempDir, requests: &[Request]) {
    let store = on_disk(folder.path(), unbounded());
    model::check(&store, &model::of(requests), &[]);
    let rows = requests.iter().flat_map(|request| &request.batches);
    let rows: usize = rows.map(|batch| batch.spans.len()).sum();
    let usage = store.usage();
    assert_eq!(usage.spans, rows as u64);
    assert_eq!(usage.damaged, Losses::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_was_accepted_is_there_after_an_end_or_a_kill(
        requests in requests::requests(),
        sealed in 0_usize..8,
    ) {
        let [folder, killed] = [(); 2].map(|()| TempDir::new().unwrap());
        let data = Some(folder.path().to_owned());
        let store = Store::open(Options { data, ..unbounded() }, decode).unwrap();
        for (number, request) in requests.iter().enumerate() {
            append(&store, request).unwrap();
            if number == sealed {
                keeper::seal(&store.shared).unwrap();
            }
        }
        copy(folder.path(), killed.path(), "");
        drop(store);
        check(&killed, &requests);
        check(&folder, &requests);
    }
}

fn some() -> [Request; 3] {
    [0, 1, 2].map(|number| {
        let spans = (0..100).map(|span| (trace_id(span % 7 + number), plain(span, number + 1)));
        request(spans.collect())
    })
}

#[test]
fn logs_that_a_segment_stands_for_are_not_read_again() {
    let [folder, crashed] = [(); 2].map(|()| TempDir::new().unwrap());
    let requests = some();
    let store = on_disk(folder.path(), unbounded());
    for request in &requests {
        append(&store, request).unwrap();
    }
    copy(folder.path(), crashed.path(), ".log");
    keeper::seal(&store.shared).unwrap();
    copy(folder.path(), crashed.path(), ".segment");
    assert_eq!(
        names(folder.path(), ".log").len(),
        1,
        "all but the current one were removed"
    );
    check(&crashed, &requests);
    assert_eq!(names(crashed.path(), ".log").len(), 1);
}

#[test]
fn a_segment_that_a_later_one_stands_for_is_not_read_again() {
    let [folder, crashed] = [(); 2].map(|()| TempDir::new().unwrap());
    let requests = some();
    let store = on_disk(folder.path(), unbounded());
    for request in &requests {
        append(&store, request).unwrap();
        copy(folder.path(), crashed.path(), ".log");
        keeper::seal(&store.shared).unwrap();
        copy(folder.path(), crashed.path(), ".segment");
    }
    assert_eq!(
        names(folder.path(), ".segment").len(),
        1,
        "small ones are written again"
    );
    assert_eq!(names(crashed.path(), ".segment").len(), 3);
    check(&crashed, &requests);
    assert_eq!(names(crashed.path(), ".segment").len(), 1);
}

#[test]
fn a_segment_that_was_not_finished_is_removed() {
    let folder = TempDir::new().unwrap();
    let requests = some();
    let store = on_disk(folder.path(), unbounded());
    for request in &requests {
        append(&store, request).unwrap();
    }
    drop(store);
    fs::write(
        folder.path().join("0000000000000001.segment.tmp"),
        b"TRACESEG",
    )
    .unwrap();
    check(&folder, &requests);
    assert_eq!(names(folder.path(), ".tmp"), [""; 0]);
}

#[test]
fn a_damaged_segment_whose_logs_are_still_there_loses_nothing() {
    let [folder, crashed] = [(); 2].map(|()| TempDir::new().unwrap());
    let requests = some();
    let store = on_disk(folder.path(), unbounded());
    append(&store, &requests[0]).unwrap();
    copy(folder.path(), crashed.path(), ".log");
    keeper::seal(&store.shared).unwrap();
    let [name] = <[String; 1]>::try_from(names(folder.path(), ".segment")).unwrap();
    fs::write(crashed.path().join(&name), b"TRACESEG, and no more").unwrap();
    let store = on_disk(crashed.path(), unbounded());
    model::check(&store, &model::of(&requests[..1]), &[]);
    assert!(store.usage().damaged.first[0].contains(&name));
    // And again, now that it is out of the way.
    drop(store);
    check(&crashed, &requests[..1]);
}

/// They may come from a later version, which this program must not rob of them.
#[test]
fn a_log_of_requests_that_cannot_be_read_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let open = |decode| {
        let data = Some(folder.path().to_owned());
        Store::open(
            Options {
                data,
                ..unbounded()
            },
            decode,
        )
        .unwrap()
    };
    let requests = some();
    append(&open(decode), &requests[0]).unwrap();
    let store = open(|_, _| Err("not a form that is known".to_owned()));
    let damaged = store.usage().damaged.first;
    assert!(
        damaged[0].contains("not a form that is known"),
        "{damaged:?}"
    );
    drop(store);
    assert_eq!(names(folder.path(), ".damaged").len(), 1);
    let [name] = <[String; 1]>::try_from(names(folder.path(), ".damaged")).unwrap();
    let whole = name.strip_suffix(".damaged").unwrap();
    fs::rename(folder.path().join(&name), folder.path().join(whole)).unwrap();
    check(&folder, &requests[..1]);
}

#[test]
fn logs_of_generations_without_a_request_do_not_pile_up() {
    let folder = TempDir::new().unwrap();
    let store = on_disk(folder.path(), unbounded());
    let requests = some();
    for request in &requests {
        for _ in 0..5 {
            keeper::seal(&store.shared).unwrap();
        }
        append(&store, request).unwrap();
        keeper::seal(&store.shared).unwrap();
        assert_eq!(names(folder.path(), ".log").len(), 1);
    }
    drop(store);
    check(&folder, &requests);
}
