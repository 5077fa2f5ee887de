//! Restarts, bounds, full disks and damage.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use super::{all, ask, keep, still, text_record, texts, unbounded};
use crate::store::{
    Options,
    files::faulty::Faulty,
    log_records::{LogQuery, Place, Shared, keeper},
    nanos,
    orders::Trouble,
};

/// The request of this number, of ten records.
fn append(shared: &Shared, number: u64) -> Result<(), String> {
    let records: Vec<_> = (0..10)
        .map(|n| {
            text_record(
                10 * number + n + 1,
                &format!("{number} {n} {}", "x".repeat(50)),
            )
        })
        .collect();
    keep(shared, number + 1, &records)
}

fn open(faulty: &Faulty, options: Options) -> Arc<Shared> {
    still(Some(faulty.open()), options)
}

/// The numbers of the requests that are there, each whole and once.
fn numbers(shared: &Shared) -> Vec<u64> {
    let found = texts(&ask(shared, &all()));
    let number = |text: &String| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    let mut numbers: Vec<u64> = found.iter().map(number).collect();
    numbers.sort_unstable();
    let whole: Vec<u64> = numbers
        .chunk_by(|a, b| a == b)
        .map(|same| same[0])
        .collect();
    assert_eq!(numbers.len(), 10 * whole.len(), "{numbers:?}");
    whole
}

fn files(folder: &Path, ending: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

#[test]
fn a_restart_finds_every_record_in_its_place() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    for number in 0..12 {
        append(&store, number).unwrap();
        if number % 5 == 4 {
            keeper::seal(&store).unwrap();
        }
    }
    assert_eq!(files(faulty.path(), ".segment").len(), 2);
    assert_eq!(files(faulty.path(), ".log").len(), 1);
    let before = ask(&store, &all());
    let half = LogQuery { limit: 55, ..all() };
    let older = ask(&store, &half).older.unwrap();
    let middle = before.records[60].record.time_unix_nano;
    drop(store);
    for _ in 0..3 {
        let store = open(&faulty, unbounded());
        let after = ask(&store, &all());
        assert_eq!(texts(&after), texts(&before));
        assert_eq!(after.next, before.next);
        // Cursors of another process are as good.
        let place = Place::Before(older);
        let found = ask(&store, &LogQuery { place, ..all() });
        assert_eq!(texts(&found), texts(&before)[55..]);
        let place = Place::Since(middle);
        let found = ask(&store, &LogQuery { place, ..all() });
        let since = before
            .records
            .iter()
            .filter(|found| found.record.time_unix_nano >= middle);
        assert_eq!(found.records.len(), since.count());
    }
    let store = open(&faulty, unbounded());
    append(&store, 0).unwrap();
    let place = Place::Since(before.next);
    let found = ask(&store, &LogQuery { place, ..all() });
    assert_eq!(
        found.records.len(),
        10,
        "the clock went back, and arrivals did not"
    );
}

#[test]
fn what_arrives_after_all_was_evicted_has_higher_numbers() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, 1).unwrap();
    keeper::seal(&store).unwrap();
    let next = ask(&store, &all()).next;
    append(&store, 1).unwrap();
    let place = Place::Since(next);
    assert_eq!(ask(&store, &LogQuery { place, ..all() }).records.len(), 10);
}

#[test]
fn a_full_disk_refuses_requests_until_there_is_space_again() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, 0).unwrap();
    keeper::seal(&store).unwrap();
    append(&store, 1).unwrap();
    faulty.faults.leave(Some(100));
    for number in 2..5 {
        let refused = append(&store, number).unwrap_err();
        assert!(
            refused.starts_with("the store is unavailable: writing the request: "),
            "{refused}"
        );
        assert_eq!(numbers(&store), [0, 1]);
    }
    faulty.faults.leave(None);
    append(&store, 5).unwrap();
    assert_eq!(numbers(&store), [0, 1, 5]);
    drop(store);
    assert_eq!(numbers(&open(&faulty, unbounded())), [0, 1, 5]);
}

#[test]
fn a_disk_that_has_no_room_for_a_segment_is_tried_again() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, 0).unwrap();
    for number in 1..4 {
        // Enough for the next log, and not for the segment.
        faulty.faults.leave(Some(100));
        keeper::seal(&store).unwrap_err();
        faulty.faults.leave(Some(5000));
        append(&store, number).unwrap();
    }
    assert_eq!(files(faulty.path(), ".segment"), [""; 0]);
    assert_eq!(files(faulty.path(), ".tmp"), [""; 0]);
    faulty.faults.leave(None);
    keeper::seal(&store).unwrap();
    assert_eq!(files(faulty.path(), ".segment").len(), 1);
    assert_eq!(files(faulty.path(), ".log").len(), 1);
    assert_eq!(numbers(&store), [0, 1, 2, 3]);
    drop(store);
    assert_eq!(numbers(&open(&faulty, unbounded())), [0, 1, 2, 3]);
}

#[test]
fn requests_are_refused_with_the_reason_when_memory_is_short_because_nothing_is_sealed() {
    let faulty = Faulty::new();
    let options = Options {
        max_memory: 32 << 10,
        ..unbounded()
    };
    let store = open(&faulty, options);
    let mut trouble = Trouble::default();
    let mut accepted = Vec::new();
    let refused = loop {
        faulty.faults.leave(Some(5000));
        match append(&store, accepted.len() as u64) {
            Ok(()) => accepted.push(accepted.len() as u64),
            Err(refused) => break refused,
        }
        faulty.faults.leave(Some(100));
        keeper::keep(&store, &mut trouble);
        assert!(accepted.len() < 50, "memory is not bounded");
    };
    assert!(accepted.len() > 1);
    assert!(refused.contains("sealing logs: "), "{refused}");
    faulty.faults.leave(None);
    keeper::seal(&store).unwrap();
    append(&store, accepted.len() as u64).unwrap();
    accepted.push(accepted.len() as u64);
    assert_eq!(numbers(&store), accepted);
}

#[test]
fn after_a_failed_fsync_what_was_accepted_is_sealed_and_the_store_goes_on() {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    append(&store, 0).unwrap();
    faulty.faults.fail_sync.store(true, SeqCst);
    append(&store, 1).unwrap_err();
    faulty.faults.fail_sync.store(false, SeqCst);
    append(&store, 2).unwrap_err();
    keeper::keep(&store, &mut Trouble::default());
    append(&store, 3).unwrap();
    // What was refused may be there, but never in part.
    let found = numbers(&store);
    assert!(found == [0, 3] || found == [0, 1, 3], "{found:?}");
    drop(store);
    assert_eq!(numbers(&open(&faulty, unbounded())), found);
}

#[test]
fn the_oldest_are_evicted_beyond_each_bound_and_counted() {
    let now = || nanos(SystemTime::now());
    let fill = |shared: &Shared, received: u64| {
        for number in 0..40 {
            let body = format!("{number} {received} {}", "y".repeat(500));
            keep(shared, received, &[text_record(number + 1, &body)]).unwrap();
            keeper::seal(shared).unwrap();
            keeper::evict(shared);
        }
        let kept = texts(&ask(shared, &all()));
        let evicted = shared.evicted.load(SeqCst);
        assert_eq!(kept.len() as u64 + evicted, 40);
        let newest = kept.first().map(|text| text.starts_with("39 "));
        assert!(newest.unwrap_or(true), "the newest went first");
        (kept.len(), evicted)
    };
    let memory = Options {
        max_memory: 8000,
        ..unbounded()
    };
    let store = still(None, memory);
    let (kept, evicted) = fill(&store, now());
    assert!((2..30).contains(&kept) && evicted > 0, "{kept}");
    let kept = store.snapshot();
    assert!(kept.loose_bytes() + kept.sealed_memory() <= 8000);

    let faulty = Faulty::new();
    let disk = Options {
        max_disk: 8000,
        ..unbounded()
    };
    let store = open(&faulty, disk);
    let (kept, evicted) = fill(&store, now());
    assert!((2..30).contains(&kept) && evicted > 0, "{kept}");
    let sizes = fs::read_dir(faulty.path()).unwrap();
    let sizes = sizes.map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 8000);

    let old = Options {
        max_age: Duration::from_secs(60),
        ..unbounded()
    };
    assert_eq!(fill(&still(None, old.clone()), now()), (40, 0));
    let past = now() - Duration::from_secs(61).as_nanos() as u64;
    assert_eq!(fill(&still(None, old), past), (0, 40));
}

/// A folder with a segment of requests 0 to 3, in several chunks, and a log of 4 and 5.
fn folder() -> Faulty {
    let faulty = Faulty::new();
    let store = open(&faulty, unbounded());
    for number in 0..6 {
        append(&store, number).unwrap();
        if number == 3 {
            keeper::seal(&store).unwrap();
        }
    }
    faulty
}

fn change(faulty: &Faulty, ending: &str, change: impl Fn(&mut Vec<u8>)) {
    let [name] = &files(faulty.path(), ending)[..] else {
        panic!("not one file");
    };
    let path = faulty.path().join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// What is left after a query and a look at every chunk.
fn left(faulty: &Faulty) -> (Vec<String>, Vec<String>) {
    let store = open(faulty, unbounded());
    for sealed in &store.snapshot().sealed {
        for chunk in sealed.part.chunks() {
            if let Err(damaged) = sealed.part.verify(chunk) {
                assert!(store.quarantine(&store.snapshot(), &damaged));
            }
        }
    }
    let lost = store.damaged.lock().unwrap().first.clone();
    (texts(&ask(&store, &all())), lost)
}

#[test]
fn a_flipped_byte_costs_its_chunk_or_record_and_is_named() {
    let whole = left(&folder());
    assert_eq!((whole.0.len(), whole.1.len()), (60, 0));
    let faulty = folder();
    let pristine = fs::read(faulty.path().join(&files(faulty.path(), ".segment")[0])).unwrap();
    // Each page, the directory, and the tail.
    for at in (0..pristine.len()).step_by(37) {
        change(&faulty, ".segment", |bytes| bytes[at] ^= 0x10);
        let (found, lost) = left(&faulty);
        // Bytes of the head that say nothing.
        let is_unused = (12..16).contains(&at);
        assert_eq!(lost.len(), usize::from(!is_unused), "{at}: {lost:?}");
        let is_whole_segment = files(faulty.path(), ".damaged").len() == 1;
        let expected = match (is_unused, is_whole_segment) {
            (true, _) => 60..=60,
            (_, true) => 20..=20,
            (_, false) => 52..=52,
        };
        assert!(
            expected.contains(&found.len()),
            "{at}: {} of {expected:?}",
            found.len()
        );
        for name in files(faulty.path(), ".damaged") {
            fs::remove_file(faulty.path().join(name)).unwrap();
        }
        let name = "0000000000000001.segment";
        fs::write(faulty.path().join(name), &pristine).unwrap();
    }
}

#[test]
fn a_torn_log_costs_the_requests_that_it_lacks() {
    let faulty = folder();
    for log in files(faulty.path(), ".log") {
        let path = faulty.path().join(log);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len().saturating_sub(1)]).unwrap();
    }
    let (found, lost) = left(&faulty);
    assert_eq!((found.len(), lost.len()), (50, 1), "{lost:?}");
    assert!(
        lost[0].contains("the file ends within the record"),
        "{lost:?}"
    );
}

#[test]
fn a_query_goes_on_without_a_chunk_that_turns_out_to_be_damaged() {
    let faulty = folder();
    let store = open(&faulty, unbounded());
    // The first page that a query reads.
    change(&faulty, ".segment", |bytes| bytes[20] ^= 1);
    let logs = super::super::Logs {
        shared: Arc::clone(&store),
        keeper: None,
    };
    let (patience, _abandon) = super::patience();
    let found = logs.search(&all(), &patience).unwrap();
    assert_eq!(found.records.len(), 52);
    let usage = logs.usage();
    assert_eq!((usage.records, usage.damaged.count), (52, 1));
    assert!(usage.damaged.first[0].contains("chunk 0"), "{usage:?}");
    assert!(
        usage.damaged.first[0].ends_with("8 log records left out"),
        "{usage:?}"
    );
}

#[test]
fn a_segment_that_the_disk_does_not_give_at_a_start_is_there_when_it_does() {
    let faulty = folder();
    let [segment] = &files(faulty.path(), ".segment")[..] else {
        panic!("not one segment");
    };
    let path = faulty.path().join(segment);
    faulty.faults.make_unreadable(Some(&path));
    let store = open(&faulty, unbounded());
    assert_eq!(numbers(&store), [4, 5]);
    // What is sealed now does not stand for it.
    keeper::seal(&store).unwrap();
    drop(store);
    faulty.faults.make_unreadable(None);
    assert_eq!(numbers(&open(&faulty, unbounded())), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_chunk_that_a_disk_does_not_give_is_left_out_until_it_does() {
    let faulty = folder();
    let store = open(&faulty, unbounded());
    let logs = super::super::Logs {
        shared: Arc::clone(&store),
        keeper: None,
    };
    let found = || {
        let (patience, _abandon) = super::patience();
        logs.search(&all(), &patience).unwrap().records.len()
    };
    faulty.faults.fail_read.store(true, SeqCst);
    assert_eq!(found(), 20, "what is in memory");
    let damaged = logs.usage().damaged;
    assert_eq!(damaged.count, 5, "{damaged:?}");
    keeper::retry_unread(&store, Duration::ZERO);
    assert_eq!(found(), 20);

    faulty.faults.fail_read.store(false, SeqCst);
    // What is sealed meanwhile does not stand for it.
    keeper::seal(&store).unwrap();
    keeper::retry_unread(&store, Duration::from_secs(3600));
    assert_eq!(found(), 20);
    keeper::retry_unread(&store, Duration::ZERO);
    assert_eq!((found(), logs.usage().records), (60, 60));
    assert_eq!(numbers(&store), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_chunk_that_a_disk_gives_later_and_damaged_stays_out() {
    let faulty = folder();
    let store = open(&faulty, unbounded());
    let [sealed] = &store.snapshot().sealed[..] else {
        panic!("not one segment");
    };
    faulty.faults.fail_read.store(true, SeqCst);
    let unread = sealed.part.verify(&sealed.part.chunks()[0]).unwrap_err();
    assert!(store.quarantine(&store.snapshot(), &unread));
    faulty.faults.fail_read.store(false, SeqCst);
    change(&faulty, ".segment", |bytes| bytes[20] ^= 1);
    for _ in 0..2 {
        keeper::retry_unread(&store, Duration::ZERO);
        assert_eq!(texts(&ask(&store, &all())).len(), 52);
        assert_eq!(store.damaged.lock().unwrap().count, 2);
    }
}
