//! Appending on disks that are full or fail, and what is on the medium when.

use super::*;

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
