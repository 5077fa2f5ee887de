//! Logs on disks that fail and files that are damaged.

use std::{
    fs,
    io::{self, ErrorKind},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    Dropped, Ended, Fsync, Log, MAX_BODY, Record, Replayed, file_name,
    frame::{FILE_HEADER, FileHeader, RECORD_HEADER, RecordHeader},
    generation_of, replay,
};
use crate::store::files::{Files, Memory, ReadAt, faulty::Faulty};

const NEVER: Fsync = Fsync::Within(Duration::MAX);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    received_unix_nano: u64,
    form: u8,
    body: Vec<u8>,
}

impl Owned {
    fn new(body: &[u8]) -> Owned {
        Owned {
            received_unix_nano: 1_700_000_000_000_000_000 + body.len() as u64,
            form: 3,
            body: body.to_owned(),
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            received_unix_nano: self.received_unix_nano,
            form: self.form,
            body: &self.body,
        }
    }

    fn bytes(&self) -> usize {
        RECORD_HEADER + self.body.len()
    }
}

fn some_records() -> Vec<Owned> {
    [&b"the first"[..], b"", b"the third, which is longer"]
        .map(Owned::new)
        .to_vec()
}

/// The bytes of a log of these records.
fn log_of(records: &[Owned]) -> Vec<u8> {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, NEVER).unwrap();
    for record in records {
        log.append(&record.record()).unwrap();
    }
    fs::read(faulty.path().join(file_name(0))).unwrap()
}

/// Where each of the records lies in their log.
fn places(records: &[Owned]) -> Vec<Range<usize>> {
    let mut end = FILE_HEADER;
    records
        .iter()
        .map(|record| {
            let start = end;
            end += record.bytes();
            start..end
        })
        .collect()
}

/// What a replay of the bytes gives. Each of them is in a record or reported as dropped.
fn replayed(bytes: &[u8]) -> (Vec<Owned>, Replayed) {
    let mut records = Vec::new();
    let replayed = replay(&Memory(bytes), |record| {
        records.push(Owned {
            received_unix_nano: record.received_unix_nano,
            form: record.form,
            body: record.body.to_owned(),
        });
    })
    .unwrap();
    assert_eq!(replayed.records, records.len() as u64);
    let mut accounted: usize = records.iter().map(Owned::bytes).sum();
    let mut end = 0;
    for dropped in &replayed.dropped {
        assert!(dropped.offset >= end, "{replayed:?}");
        end = dropped.offset + dropped.bytes;
        accounted += usize::try_from(dropped.bytes).unwrap();
    }
    if !bytes.is_empty()
        && replayed
            .dropped
            .first()
            .is_none_or(|first| first.offset > 0)
    {
        accounted += FILE_HEADER;
    }
    assert_eq!(accounted, bytes.len(), "{replayed:?}");
    (records, replayed)
}

fn dropped(place: Range<usize>, why: &'static str) -> Dropped {
    Dropped {
        offset: place.start as u64,
        bytes: place.len() as u64,
        why,
    }
}

/// All records of a generation.
fn found(files: &dyn Files, generation: u64) -> (Vec<Owned>, Replayed) {
    let file = files.open(&file_name(generation)).unwrap();
    let len = usize::try_from(file.len()).unwrap();
    replayed(&file.read_at(0, len).unwrap())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "no {what}");
        thread::yield_now();
    }
}

#[test]
fn what_is_appended_is_found_in_its_order() {
    let records = some_records();
    let (found, replayed) = replayed(&log_of(&records));
    assert_eq!(found, records);
    assert_eq!(replayed.dropped, []);
}

#[test]
fn a_record_is_appended_in_one_call_of_the_system() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, NEVER).unwrap();
    let before = faulty.faults.writes.load(SeqCst);
    log.append(&Owned::new(&[7; 100_000]).record()).unwrap();
    assert_eq!(faulty.faults.writes.load(SeqCst), before + 1);
}

#[test]
fn a_log_cut_off_anywhere_keeps_the_records_before_the_cut() {
    let records = some_records();
    let bytes = log_of(&records);
    let places = places(&records);
    for cut in 0..=bytes.len() {
        let whole = places.iter().filter(|place| place.end <= cut).count();
        let (found, replayed) = replayed(&bytes[..cut]);
        assert_eq!(found, records[..whole], "cut at {cut}");
        let end = match whole {
            0 if cut < FILE_HEADER => 0,
            0 => FILE_HEADER,
            whole => places[whole - 1].end,
        };
        let torn = (cut > end).then_some((end as u64, (cut - end) as u64));
        let reported: Vec<_> = replayed
            .dropped
            .iter()
            .map(|dropped| (dropped.offset, dropped.bytes))
            .collect();
        assert_eq!(reported, Vec::from_iter(torn), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_drops_the_record_that_it_is_in_and_no_other() {
    let records = some_records();
    let bytes = log_of(&records);
    let places = places(&records);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut expected = records.clone();
        let place = match places.iter().position(|place| place.contains(&(bit / 8))) {
            Some(hit) => {
                expected.remove(hit);
                places[hit].clone()
            }
            None => 0..FILE_HEADER,
        };
        let (found, replayed) = replayed(&bytes);
        assert_eq!(found, expected, "bit {bit}");
        let [only] = &replayed.dropped[..] else {
            panic!("bit {bit}: {replayed:?}");
        };
        assert_eq!(*only, dropped(place, only.why), "bit {bit}");
    }
}

#[test]
fn what_was_dropped_is_reported_with_its_reason() {
    let records = some_records();
    let [first, second, third] = places(&records).try_into().unwrap();
    let check = |damage: &dyn Fn(&mut Vec<u8>), place: Range<usize>, why| {
        let mut bytes = log_of(&records);
        damage(&mut bytes);
        assert_eq!(replayed(&bytes).1.dropped, [dropped(place, why)]);
    };
    check(
        &|bytes| bytes[3] ^= 1,
        0..FILE_HEADER,
        "no header of the file",
    );
    check(
        &|bytes| bytes[first.start + 8] ^= 1,
        first.clone(),
        "no header of a record",
    );
    check(
        &|bytes| bytes[first.end - 1] ^= 1,
        first.clone(),
        "the record's body is damaged",
    );
    check(
        &|bytes| bytes.truncate(third.end - 1),
        third.start..third.end - 1,
        "the file ends within the record",
    );
    // What a power cut leaves where the length was written and the content was not.
    check(
        &|bytes| bytes[second.start..].fill(0),
        second.start..third.end,
        "no header of a record",
    );
    let (found, replayed) = replayed(&[]);
    assert_eq!((found, replayed), (vec![], Replayed::default()));
}

#[test]
fn records_behind_one_that_was_cut_short_are_found() {
    let records = [
        b"first",
        b"second, longer than a header of a record".as_slice(),
        b"third",
    ]
    .map(Owned::new);
    let bytes = log_of(&records);
    let torn = places(&records)[1].clone();
    for cut in torn.clone() {
        let mut bytes = bytes.clone();
        bytes.drain(cut..torn.end);
        let (found, replayed) = replayed(&bytes);
        assert_eq!(
            found,
            [records[0].clone(), records[2].clone()],
            "cut at {cut}"
        );
        assert_eq!(replayed.dropped.len(), usize::from(cut > torn.start));
    }
}

#[test]
fn a_record_is_found_though_the_one_before_ends_where_it_begins_to_be_like_it() {
    let [torn, next] = [Owned::new(b"torn"), Owned::new(b"next")];
    let header = |salt, record: &Owned| {
        FileHeader { salt }.of_record(&record.record(), crc32c::crc32c(&record.body))
    };
    // Without its last byte, and with the first one of the next header, it is whole again.
    let salt = (0..)
        .find(|salt| header(*salt, &torn)[RECORD_HEADER - 1] == header(*salt, &next)[0])
        .unwrap();
    let bytes = [
        &FileHeader { salt }.bytes()[..],
        &header(salt, &torn)[..RECORD_HEADER - 1],
        &header(salt, &next),
        &next.body,
    ]
    .concat();
    assert_eq!(replayed(&bytes).0, [next]);
}

#[test]
fn a_header_that_asks_for_more_than_a_body_may_have_is_none() {
    let mut header = RecordHeader {
        salt: 1,
        body_len: MAX_BODY,
        body_crc: 2,
        received_unix_nano: u64::MAX - 3,
        form: 4,
    };
    assert_eq!(RecordHeader::parse(&header.bytes(), Some(1)), Some(header));
    header.body_len += 1;
    assert_eq!(RecordHeader::parse(&header.bytes(), Some(1)), None);
}

#[test]
fn adjacent_records_that_are_damaged_alike_are_reported_as_one_part() {
    let records = [b"a", b"b", b"c", b"d", b"e"].map(|body| Owned::new(body));
    let mut bytes = log_of(&records);
    let places = places(&records);
    for damaged in [0, 1, 3] {
        bytes[places[damaged].end - 1] ^= 1;
    }
    let why = "the record's body is damaged";
    let expected = [
        dropped(places[0].start..places[1].end, why),
        dropped(places[3].clone(), why),
    ];
    assert_eq!(replayed(&bytes).1.dropped, expected);
}

#[test]
fn a_log_within_a_damaged_record_gives_no_record() {
    let inner = log_of(&some_records());
    let records = [&b"first"[..], &inner, b"next"].map(Owned::new);
    let place = places(&records)[1].clone();
    for (damaged, why) in [
        (place.start, "no header of a record"),
        (place.start + RECORD_HEADER, "the record's body is damaged"),
    ] {
        let mut bytes = log_of(&records);
        bytes[damaged] ^= 1;
        for file_header_too in [false, true] {
            bytes[0] ^= u8::from(file_header_too);
            let (found, replayed) = replayed(&bytes);
            assert_eq!(found, [records[0].clone(), records[2].clone()]);
            let last = replayed.dropped.last();
            assert_eq!(last, Some(&dropped(place.clone(), why)));
        }
        // With nothing whole before it, only the file's header tells what belongs to it.
        let mut bytes = log_of(&records[1..]);
        bytes[damaged - records[0].bytes()] ^= 1;
        assert_eq!(replayed(&bytes).0, records[2..]);
    }
}

#[test]
fn records_are_found_however_far_the_damage_reaches() {
    // More than is read at once, so that what is searched for lies across two reads.
    for len in (0..80).map(|more| (256 << 10) - 40 + more) {
        let records = [Owned::new(&vec![0xC5; len]), Owned::new(b"next")];
        let mut bytes = log_of(&records);
        bytes[FILE_HEADER] ^= 1;
        assert_eq!(replayed(&bytes).0, records[1..], "{len}");
    }
}

#[test]
fn a_replay_reads_no_more_at_once_than_it_must() {
    struct Watched<'a>(Memory<'a>, AtomicUsize);
    impl ReadAt for Watched<'_> {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
            self.1.fetch_max(len, SeqCst);
            self.0.read_at(offset, len)
        }
    }
    let most_read = |records: &[Owned], damaged: Range<usize>| {
        let mut bytes = log_of(records);
        bytes[damaged].fill(0);
        let file = Watched(Memory(&bytes), AtomicUsize::new(0));
        replay(&file, |_| {}).unwrap();
        file.1.into_inner()
    };
    let short = vec![Owned::new(&[1; 1000]); 2000];
    let long = vec![Owned::new(&vec![1; 1_000_000]); 2];
    assert_eq!(most_read(&short, 0..0), 256 << 10);
    assert_eq!(most_read(&long, 0..0), 1_000_000);
    assert_eq!(most_read(&short, 0..1_000_000), 256 << 10);
}

#[test]
fn a_log_of_another_version_is_an_error_and_gives_nothing() {
    let mut bytes = log_of(&some_records());
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..FILE_HEADER - 4]);
    bytes[FILE_HEADER - 4..FILE_HEADER].copy_from_slice(&crc.to_le_bytes());
    let error = replay(&Memory(&bytes), |_| panic!("a record")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "the log has the unknown version 2");
}

#[test]
fn a_log_that_cannot_be_read_is_an_error() {
    let faulty = Faulty::new();
    let files = faulty.open();
    drop(Log::start(Arc::clone(&files), 0, NEVER).unwrap());
    faulty.faults.fail_read.store(true, SeqCst);
    let error = replay(&*files.open(&file_name(0)).unwrap(), |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "read fails");
}

#[test]
fn a_body_of_the_greatest_length_is_kept_and_a_longer_one_refused() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, NEVER).unwrap();
    let body = vec![1; MAX_BODY + 1];
    let record = |body| Record {
        received_unix_nano: 0,
        form: 0,
        body,
    };
    let before = log.bytes();
    let error = log.append(&record(&body)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(log.bytes(), before);
    log.append(&record(&body[..MAX_BODY])).unwrap();
    let bytes = fs::read(faulty.path().join(file_name(0))).unwrap();
    let mut lengths = Vec::new();
    replay(&Memory(&bytes), |record| lengths.push(record.body.len())).unwrap();
    assert_eq!(lengths, [MAX_BODY]);
}

#[test]
fn a_full_disk_refuses_records_until_it_has_space_and_loses_none_that_it_took() {
    for fsync in [Fsync::Always, NEVER] {
        let faulty = Faulty::new();
        let files = faulty.open();
        let log = Log::start(Arc::clone(&files), 0, fsync).unwrap();
        let records: Vec<Owned> = (0..60).map(|len| Owned::new(&vec![b'x'; len])).collect();
        let mut accepted = Vec::new();
        for space in 0..120 {
            faulty.faults.leave(Some(space));
            for record in &records {
                match log.append(&record.record()) {
                    Ok(_) => accepted.push(record.clone()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
                }
            }
            assert!(!log.is_suspect());
        }
        faulty.faults.leave(None);
        log.append(&records[0].record()).unwrap();
        accepted.push(records[0].clone());
        let (found, replayed) = found(&*files, 0);
        assert_eq!(found, accepted);
        assert_eq!(replayed.dropped, []);
        assert_eq!(log.bytes(), files.list().unwrap()[0].bytes);
    }
}

#[test]
fn a_log_whose_end_is_torn_takes_no_record_until_it_is_rotated() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let log = Log::start(Arc::clone(&files), 0, NEVER).unwrap();
    let records = some_records();
    log.append(&records[0].record()).unwrap();
    faulty.faults.leave(Some(40));
    faulty.faults.fail_set_len.store(true, SeqCst);
    let torn = log.append(&records[2].record()).unwrap_err();
    assert_eq!(torn.kind(), ErrorKind::StorageFull);
    assert!(log.is_suspect());
    // There is no space for another generation either.
    assert_eq!(log.rotate().unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(log.is_suspect());

    faulty.faults.leave(None);
    let refused = log.append(&records[1].record()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the log failed before: no storage space, and cutting the file back: set_len fails"
    );
    let ended = log.rotate().unwrap();
    // What comes before the torn record could be synced.
    let expected = Ended {
        generation: 0,
        synced: true,
    };
    assert_eq!(ended, expected);
    assert!(!log.is_suspect());
    assert_eq!(log.append(&records[1].record()).unwrap(), log.generation());
    let (before, replayed) = found(&*files, 0);
    assert_eq!(before, records[..1]);
    assert_eq!(replayed.dropped.len(), 1);
    assert_eq!(found(&*files, log.generation()).0, records[1..2]);
}

/// Appends a record from each of four threads, all of which wait for the medium when `meanwhile`
/// is called. Returns their errors.
fn four_waiters(faulty: &Faulty, log: &Log, meanwhile: impl FnOnce()) -> Vec<String> {
    let record = Owned::new(b"one of four");
    let written = log.bytes() + 4 * record.bytes() as u64;
    let syncs = faulty.faults.file_syncs.load(SeqCst);
    thread::scope(|scope| {
        let held = faulty.faults.hold_sync.lock().unwrap();
        let waiters: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| log.append(&record.record())))
            .collect();
        wait_until("four records", || log.bytes() == written);
        wait_until("sync", || faulty.faults.file_syncs.load(SeqCst) > syncs);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        meanwhile();
        drop(held);
        waiters
            .into_iter()
            .filter_map(|waiter| waiter.join().unwrap().err())
            .map(|error| error.to_string())
            .collect()
    })
}

#[test]
fn callers_that_wait_for_the_medium_share_an_fsync() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let log = Log::start(Arc::clone(&files), 0, Fsync::Always).unwrap();
    assert_eq!(four_waiters(&faulty, &log, || {}), [""; 0]);
    // The first one's, and one for those that came during it.
    assert!(faulty.faults.file_syncs.load(SeqCst) <= 2);

    let from = |thread: u8| (0..50).map(move |i| Owned::new(&[thread, i]));
    thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for record in from(thread) {
                    log.append(&record.record()).unwrap();
                }
            });
        }
    });
    assert!(faulty.faults.file_syncs.load(SeqCst) < 204);
    let (found, replayed) = found(&*files, 0);
    assert_eq!(found.len(), 204);
    for thread in 0..4 {
        let found: Vec<_> = found
            .iter()
            .filter(|record| record.body.len() == 2 && record.body[0] == thread)
            .cloned()
            .collect();
        assert_eq!(found, Vec::from_iter(from(thread)));
    }
    assert_eq!(replayed.dropped, []);
}

#[test]
fn a_failed_fsync_is_an_error_for_everybody_who_waits_and_is_not_retried() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let log = Log::start(Arc::clone(&files), 0, Fsync::Always).unwrap();
    let errors = four_waiters(&faulty, &log, || {
        faulty.faults.fail_sync.store(true, SeqCst);
    });
    assert_eq!(errors, ["sync fails"; 4]);
    assert!(log.is_suspect());

    // A later success would prove nothing.
    faulty.faults.fail_sync.store(false, SeqCst);
    let record = Owned::new(b"later");
    let refused = log.append(&record.record()).unwrap_err();
    assert_eq!(refused.to_string(), "the log failed before: sync fails");
    let expected = Ended {
        generation: 0,
        synced: false,
    };
    assert_eq!(log.rotate().unwrap(), expected);
    assert_eq!(faulty.faults.file_syncs.load(SeqCst), 1);
    assert!(!log.is_suspect());
    assert_eq!(log.append(&record.record()).unwrap(), 1);
    assert_eq!(found(&*files, 1).0, [record]);
}

#[test]
fn a_log_is_suspect_once_its_thread_could_not_sync() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, Fsync::Within(Duration::ZERO)).unwrap();
    faulty.faults.fail_sync.store(true, SeqCst);
    log.append(&Owned::new(b"lost?").record()).unwrap();
    wait_until("suspicion", || log.is_suspect());
    log.append(&Owned::new(b"later").record()).unwrap_err();
    drop(log);
    assert_eq!(faulty.faults.file_syncs.load(SeqCst), 1);
}

#[test]
fn records_reach_the_medium_without_another_call_and_appends_do_not_wait_for_it() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, Fsync::Within(Duration::ZERO)).unwrap();
    let syncs = || faulty.faults.file_syncs.load(SeqCst);
    let record = Owned::new(b"record");
    let held = faulty.faults.hold_sync.lock().unwrap();
    log.append(&record.record()).unwrap();
    wait_until("sync", || syncs() == 1);
    thread::scope(|scope| {
        // Let go of if this panics, so that the thread ends.
        let held = held;
        let second = scope.spawn(|| log.append(&record.record()).unwrap());
        wait_until("end of the append", || second.is_finished());
        drop(held);
    });
    let all_synced = || {
        let generation = Arc::clone(&log.shared.writer().generation);
        generation.progress().synced == generation.written()
    };
    wait_until("sync of the second record", all_synced);
    assert_eq!(syncs(), 2);
    // By now the thread is asleep, most of the time.
    for _ in 0..100 {
        log.append(&record.record()).unwrap();
        wait_until("sync of a later record", all_synced);
    }
}

#[test]
fn the_medium_gets_many_records_at_once_unless_it_is_asked_for_each() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, NEVER).unwrap();
    for record in some_records() {
        log.append(&record.record()).unwrap();
    }
    assert_eq!(faulty.faults.file_syncs.load(SeqCst), 0);
    drop(log);
    assert_eq!(faulty.faults.file_syncs.load(SeqCst), 1);
}

#[test]
fn a_rotation_ends_a_file_on_the_medium_and_starts_another() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let log = Log::start(Arc::clone(&files), 0x2a, NEVER).unwrap();
    let records = some_records();
    assert_eq!(log.append(&records[0].record()).unwrap(), 0x2a);
    let expected = Ended {
        generation: 0x2a,
        synced: true,
    };
    assert_eq!(log.rotate().unwrap(), expected);
    assert_eq!(faulty.faults.file_syncs.load(SeqCst), 1);
    assert_eq!(log.generation(), 0x2b);
    assert_eq!(log.bytes(), FILE_HEADER as u64);
    assert_eq!(log.append(&records[1].record()).unwrap(), 0x2b);
    let names: Vec<String> = files
        .list()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["000000000000002a.log", "000000000000002b.log"]);
    assert_eq!(found(&*files, 0x2a).0, records[..1]);
    assert_eq!(found(&*files, 0x2b).0, records[1..2]);
}

#[test]
fn a_rotation_that_fails_leaves_no_file_and_the_generation_goes_on() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let log = Log::start(Arc::clone(&files), 0, NEVER).unwrap();
    let records = some_records();
    log.append(&records[0].record()).unwrap();
    for space in 0..FILE_HEADER {
        faulty.faults.leave(Some(space as u64));
        assert_eq!(log.rotate().unwrap_err().kind(), ErrorKind::StorageFull);
    }
    faulty.faults.leave(None);
    assert_eq!(files.list().unwrap().len(), 1);
    assert_eq!(log.append(&records[1].record()).unwrap(), 0);
    assert_eq!(found(&*files, 0).0, records[..2]);
}

#[test]
fn a_rotation_whose_last_fsync_fails_says_so() {
    let faulty = Faulty::new();
    let log = Log::start(faulty.open(), 0, NEVER).unwrap();
    log.append(&Owned::new(b"record").record()).unwrap();
    // That of the folder, which has the name of the next file.
    faulty.faults.fail_syncs_after(1);
    let expected = Ended {
        generation: 0,
        synced: false,
    };
    assert_eq!(log.rotate().unwrap(), expected);
    assert!(!log.is_suspect());
}

#[test]
fn a_generation_is_not_continued() {
    let faulty = Faulty::new();
    let files = faulty.open();
    drop(Log::start(Arc::clone(&files), 7, NEVER).unwrap());
    let error = Log::start(files, 7, NEVER).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn records_are_in_the_generation_that_append_names_however_often_it_is_rotated() {
    for fsync in [Fsync::Always, Fsync::Within(Duration::ZERO)] {
        let faulty = Faulty::new();
        let files = faulty.open();
        let log = Log::start(Arc::clone(&files), 0, fsync).unwrap();
        let accepted: Vec<(u64, Owned)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let log = &log;
                    scope.spawn(move || {
                        let append = |i| {
                            let record = Owned::new(&[thread, i]);
                            (log.append(&record.record()).unwrap(), record)
                        };
                        (0..50).map(append).collect::<Vec<_>>()
                    })
                })
                .collect();
            for generation in 0..10 {
                let expected = Ended {
                    generation,
                    synced: true,
                };
                assert_eq!(log.rotate().unwrap(), expected);
            }
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut all = 0;
        for generation in 0..=10 {
            let found = found(&*files, generation).0;
            all += found.len();
            for (_, record) in accepted.iter().filter(|(held, _)| *held == generation) {
                assert!(found.contains(record));
            }
        }
        assert_eq!(all, 200);
    }
}

#[test]
fn only_the_names_of_logs_have_a_generation() {
    assert_eq!(file_name(0xab), "00000000000000ab.log");
    assert_eq!(generation_of(&file_name(u64::MAX)), Some(u64::MAX));
    for name in [
        "ab.log",
        "00000000000000AB.log",
        "+0000000000000ab.log",
        "00000000000000ab.seg",
        "000000000000000ab.log",
        ".log",
    ] {
        assert_eq!(generation_of(name), None, "{name}");
    }
}

fn any_record() -> impl Strategy<Value = Owned> {
    (any::<u64>(), any::<u8>(), vec(any::<u8>(), 0..100)).prop_map(
        |(received_unix_nano, form, body)| Owned {
            received_unix_nano,
            form,
            body,
        },
    )
}

/// Something that happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let bytes = || vec(prop_oneof![Just(0), any::<u8>()], 1..80);
        let at = any::<Index>;
        prop_oneof![
            (at(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
            (at(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            (at(), 1..200usize).prop_map(|(at, len)| Damage::Remove(at, len)),
            (at(), 1..200usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        ]
    }

    fn apply(&self, file: &mut Vec<u8>) {
        let part = |at: &Index, len: usize| {
            let start = at.index(file.len() + 1);
            start..file.len().min(start + len)
        };
        match self {
            Damage::Overwrite(at, bytes) => {
                let part = part(at, bytes.len());
                let len = part.len();
                file[part].copy_from_slice(&bytes[..len]);
            }
            Damage::Insert(at, bytes) => {
                let start = part(at, 0).start;
                file.splice(start..start, bytes.iter().copied());
            }
            Damage::Remove(at, len) => drop(file.drain(part(at, *len))),
            Damage::Repeat(at, len) => file.extend_from_within(part(at, *len)),
        }
    }
}

/// A piece of a file that a program, or somebody with intentions, wrote.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        0..3u32,
        prop_oneof![
            0..200usize,
            Just(MAX_BODY),
            Just(MAX_BODY + 1),
            Just(u32::MAX as usize)
        ],
        any::<u32>(),
    )
        .prop_map(|(salt, body_len, body_crc)| {
            RecordHeader {
                salt,
                body_len,
                body_crc,
                received_unix_nano: 1,
                form: 2,
            }
            .bytes()
            .to_vec()
        });
    let record = (0..3u32, any_record()).prop_map(|(salt, record)| {
        let header = FileHeader { salt }.of_record(&record.record(), crc32c::crc32c(&record.body));
        [&header[..], &record.body].concat()
    });
    let file = (0..3u32).prop_map(|salt| FileHeader { salt }.bytes().to_vec());
    prop_oneof![header, record, file, vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn any_records_are_found(records in vec(any_record(), 0..20)) {
        let (found, replayed) = replayed(&log_of(&records));
        prop_assert_eq!(found, records);
        prop_assert_eq!(replayed.dropped, []);
    }

    #[test]
    fn damage_makes_up_no_record_and_hides_none_before_it(
        records in vec(any_record(), 0..10),
        damage in vec(Damage::any(), 1..4),
    ) {
        let whole = log_of(&records);
        let mut bytes = whole.clone();
        for damage in damage {
            damage.apply(&mut bytes);
        }
        let same = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        let before = places(&records).iter().filter(|place| place.end <= same).count();
        let (found, _) = replayed(&bytes);
        prop_assert!(found.iter().all(|record| records.contains(record)));
        prop_assert!(found.starts_with(&records[..before]));
    }

    #[test]
    fn no_bytes_make_a_replay_fail(bytes in vec(any::<u8>(), 0..2000)) {
        replayed(&bytes);
    }

    #[test]
    fn no_pieces_of_logs_make_a_replay_fail(pieces in vec(any_piece(), 0..20)) {
        replayed(&pieces.concat());
    }
}
