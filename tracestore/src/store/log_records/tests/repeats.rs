//! What a sender sends again.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{all, ask, keep_as, still, text_record, texts, unbounded};
use crate::store::{
    Options,
    files::faulty::Faulty,
    log_records::{Shared, keeper, repeats::REMEMBERED},
    nanos,
    orders::Trouble,
};

fn send(shared: &Shared, received: u64, time: u64, text: &str) -> Result<(), String> {
    let records = [text_record(time, text), text_record(time, text)];
    keep_as(shared, received, 0, &records)
}

#[test]
fn a_request_that_comes_again_is_kept_once_and_its_records_as_often_as_they_stand_in_it() {
    let store = still(None, unbounded());
    send(&store, 1, 7, "a").unwrap();
    send(&store, 2, 7, "a").unwrap();
    send(&store, 3, 8, "a").unwrap();
    send(&store, 4, 7, "b").unwrap();
    send(&store, 5, 7, "a").unwrap();
    assert_eq!(texts(&ask(&store, &all())), ["a", "a", "b", "b", "a", "a"]);
    assert_eq!(store.repeated_requests.load(SeqCst), 2);
}

#[test]
fn what_says_no_time_may_be_said_again() {
    let store = still(None, unbounded());
    for received in 1..=3 {
        keep_as(&store, received, 0, &[text_record(0, "hello")]).unwrap();
        let half = [text_record(5, "timed"), text_record(0, "not")];
        keep_as(&store, received, 0, &half).unwrap();
    }
    assert_eq!(ask(&store, &all()).records.len(), 9);
}

#[test]
fn as_many_requests_are_remembered_as_there_is_room_for() {
    let store = still(None, unbounded());
    let numbers = 1..=REMEMBERED as u64 + 1;
    for number in numbers.clone() {
        send(&store, number, number, "x").unwrap();
    }
    // The first is forgotten, and takes the place of the second.
    for number in numbers.clone().rev() {
        send(&store, 100, number, "x").unwrap();
    }
    let found = ask(&store, &all()).records.len();
    assert_eq!(found, 2 * (REMEMBERED + 2));
}

#[test]
fn what_was_evicted_is_kept_when_it_comes_again() {
    let bounded = Options {
        max_age: Duration::from_secs(3600),
        ..unbounded()
    };
    let store = still(None, bounded);
    send(&store, 1, 7, "long ago").unwrap();
    keeper::seal(&store).unwrap();
    send(&store, this_moment(), 7, "now").unwrap();
    keeper::seal(&store).unwrap();
    keeper::evict(&store);
    assert_eq!(texts(&ask(&store, &all())), ["now", "now"]);
    send(&store, this_moment(), 7, "long ago").unwrap();
    send(&store, this_moment(), 7, "now").unwrap();
    assert_eq!(texts(&ask(&store, &all())).len(), 4);
    assert_eq!(store.repeated_requests.load(SeqCst), 1);
}

/// An arrival of this moment, in nanoseconds.
fn this_moment() -> u64 {
    nanos(SystemTime::now())
}

#[test]
fn a_restart_knows_the_requests_of_its_log() {
    let faulty = Faulty::new();
    let store = still(Some(faulty.open()), unbounded());
    send(&store, 1, 7, "sealed").unwrap();
    keeper::seal(&store).unwrap();
    send(&store, 2, 7, "in the log").unwrap();
    drop(store);
    let store = still(Some(faulty.open()), unbounded());
    send(&store, 3, 7, "in the log").unwrap();
    assert_eq!(texts(&ask(&store, &all())).len(), 4);
}

#[test]
fn a_request_that_comes_again_while_it_is_written_is_answered_once_it_is_safe() {
    let faulty = Faulty::new();
    let store = still(Some(faulty.open()), unbounded());
    let held = faulty.faults.hold_sync.lock().unwrap();
    let again = |received| {
        let store = Arc::clone(&store);
        thread::spawn(move || send(&store, received, 7, "a"))
    };
    let first = again(1);
    let wait = |reached: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never comes");
            thread::yield_now();
        }
    };
    wait(&|| ask(&store, &all()).records.len() == 2);
    let second = again(2);
    wait(&|| store.repeated_requests.load(SeqCst) == 1);
    thread::sleep(Duration::from_millis(20));
    assert!(!first.is_finished() && !second.is_finished());
    drop(held);
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(texts(&ask(&store, &all())), ["a", "a"]);
}

#[test]
fn a_request_that_could_not_be_synced_is_kept_when_it_comes_again() {
    let faulty = Faulty::new();
    let store = still(Some(faulty.open()), unbounded());
    faulty.faults.fail_sync.store(true, SeqCst);
    send(&store, 1, 7, "a").unwrap_err();
    send(&store, 2, 7, "a").unwrap_err();
    faulty.faults.fail_sync.store(false, SeqCst);
    keeper::keep(&store, &mut Trouble::default());
    send(&store, 3, 7, "a").unwrap();
    // What was not acknowledged may be there all the same.
    let found = texts(&ask(&store, &all())).len();
    assert!(found == 2 || found == 4, "{found}");
    drop(store);
    let store = still(Some(faulty.open()), unbounded());
    assert!(texts(&ask(&store, &all())).len() >= 2);
}
