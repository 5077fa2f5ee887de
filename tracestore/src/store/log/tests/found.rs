//! What is found in logs, however damaged they are.

use super::*;

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
        // Not even one without records is empty.
        let torn = (cut > end || cut == 0).then_some((end as u64, (cut - end) as u64));
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
    check(&|bytes| bytes.clear(), 0..0, "the file is empty");
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
    struct Watched<'a>(Memory<&'a [u8]>, AtomicUsize);
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
        let file = Watched(Memory(&bytes[..]), AtomicUsize::new(0));
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
