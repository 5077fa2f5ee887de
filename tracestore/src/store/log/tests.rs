//! Logs on disks that fail and files that are damaged.

mod any;
mod append;
mod found;

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
