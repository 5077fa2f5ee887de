//! A folder on a real file system, whose disk fails on demand.

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind, Read, stdin},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::Ordering::SeqCst,
};

use super::{AppendError, Entry, Files, Folder, Memory, OpenError, ReadAt, faulty::Faulty};

/// Everything in the folder, in the order of names.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The test is both processes: the second one has the folder's name in its environment.
#[test]
fn a_folder_is_in_use_until_the_process_that_holds_it_dies() {
    const HELD: &str = "TRACESTORE_TEST_HELD_FOLDER";
    if let Some(path) = env::var_os(HELD) {
        let _folder = Folder::open(&PathBuf::from(path)).unwrap();
        println!("\nheld");
        let _ = stdin().read(&mut [0]);
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::files::tests::a_folder_is_in_use_until_the_process_that_holds_it_dies")
        .env(HELD, temporary.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let while_held = Folder::open(temporary.path()).err();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(
        matches!(&while_held, Some(OpenError::InUse(path)) if path == temporary.path()),
        "{while_held:?}"
    );
    Folder::open(temporary.path()).unwrap();
}

#[test]
fn a_folder_and_its_files_are_for_its_user_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b");
    let folder = Folder::open(&path).unwrap();
    folder.write("whole", &[b"x"]).unwrap();
    folder.create("growing", b"").unwrap();
    assert_eq!([mode(&path), mode(path.parent().unwrap())], [0o700; 2]);
    let modes = ["whole", "growing", "lock"].map(|name| mode(&path.join(name)));
    assert_eq!(modes, [0o600; 3]);
}

#[test]
fn a_path_that_cannot_be_a_folder_is_named() {
    let temporary = tempfile::NamedTempFile::new().unwrap();
    let error = Folder::open(&temporary.path().join("data")).err().unwrap();
    let message = error.to_string();
    let expected = format!(
        "making the folder {}/data: Not a directory",
        temporary.path().display()
    );
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn opening_removes_what_a_crash_left_unfinished_and_nothing_else() {
    let faulty = Faulty::new();
    fs::write(faulty.path().join("segment.tmp"), "half").unwrap();
    fs::write(faulty.path().join("segment"), "whole").unwrap();
    faulty.open();
    assert_eq!(names(faulty.path()), ["lock", "segment"]);
}

#[test]
fn a_list_has_the_files_by_name_without_the_lock_temporaries_and_folders() {
    let faulty = Faulty::new();
    let files = faulty.open();
    files.write("b", &[b"12", b"3"]).unwrap();
    files.create("a", b"").unwrap();
    fs::write(faulty.path().join("c.tmp"), "").unwrap();
    fs::create_dir(faulty.path().join("d")).unwrap();
    let entry = |name: &str, bytes| Entry {
        name: name.to_owned(),
        bytes,
    };
    assert_eq!(files.list().unwrap(), [entry("a", 0), entry("b", 3)]);
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let faulty = Faulty::new();
    let files = faulty.open();
    for space in 0..6 {
        faulty.faults.leave(Some(space));
        let error = files.write("new", &[b"123", b"456"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(names(faulty.path()), ["lock"], "with {space} bytes left");
    }
    faulty.faults.leave(None);
    // The first is of the file, the second of the folder.
    for sync in 0..2 {
        faulty.faults.fail_syncs_after(sync);
        files.write("new", &[b"123", b"456"]).unwrap_err();
        assert_eq!(names(faulty.path()), ["lock"], "sync {sync}");
    }
    faulty.faults.fail_syncs_after(2);
    files.write("new", &[b"123", b"456"]).unwrap();
    assert_eq!(fs::read(faulty.path().join("new")).unwrap(), b"123456");
}

#[test]
fn a_file_that_could_not_be_replaced_is_whole() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let content = || fs::read_to_string(faulty.path().join("file")).unwrap();
    files.write("file", &[b"old"]).unwrap();
    faulty.faults.leave(Some(2));
    files.write("file", &[b"new"]).unwrap_err();
    assert_eq!(content(), "old");
    faulty.faults.leave(None);
    faulty.faults.fail_syncs_after(0);
    files.write("file", &[b"new"]).unwrap_err();
    assert_eq!(content(), "old");
    faulty.faults.fail_syncs_after(1);
    files.write("file", &[b"new"]).unwrap_err();
    assert_eq!(content(), "new");
    assert_eq!(names(faulty.path()), ["file", "lock"]);
}

#[test]
fn a_file_begins_as_it_was_told_or_is_not_there() {
    let faulty = Faulty::new();
    let files = faulty.open();
    for space in 0..3 {
        faulty.faults.leave(Some(space));
        let error = files.create("log", b"123").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(names(faulty.path()), ["lock"], "with {space} bytes left");
    }
    faulty.faults.leave(None);
    let mut file = files.create("log", b"123").unwrap();
    assert_eq!(file.len(), 3);
    file.append(&[b"45"]).unwrap();
    assert_eq!(fs::read(faulty.path().join("log")).unwrap(), b"12345");
}

#[test]
fn a_file_that_cannot_be_made_durable_is_not_made() {
    let faulty = Faulty::new();
    let files = faulty.open();
    faulty.faults.fail_sync.store(true, SeqCst);
    assert!(files.create("log", b"").is_err());
    assert_eq!(names(faulty.path()), ["lock"]);
}

#[test]
fn a_file_is_not_appended_to_again() {
    let faulty = Faulty::new();
    let files = faulty.open();
    files.create("log", b"").unwrap();
    let error = files.create("log", b"").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn an_append_that_does_not_fit_leaves_the_file_as_it_was() {
    let faulty = Faulty::new();
    let files = faulty.open();
    let mut file = files.create("log", b"").unwrap();
    file.append(&[b"12", b"", b"3"]).unwrap();
    faulty.faults.leave(Some(2));
    let error = file.append(&[b"4", b"56"]).unwrap_err();
    assert!(
        matches!(&error, AppendError::Undone(error) if error.kind() == ErrorKind::StorageFull),
        "{error:?}"
    );
    assert_eq!(file.len(), 3);
    file.append(&[b"4", b"5"]).unwrap();
    assert_eq!(fs::read(faulty.path().join("log")).unwrap(), b"12345");
}

#[test]
fn an_append_that_can_be_neither_finished_nor_undone_says_so() {
    let faulty = Faulty::new();
    let mut file = faulty.open().create("log", b"").unwrap();
    faulty.faults.leave(Some(2));
    faulty.faults.fail_set_len.store(true, SeqCst);
    let error = file.append(&[b"123"]).unwrap_err();
    assert!(matches!(error, AppendError::Torn { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "no storage space, and cutting the file back: set_len fails"
    );
}

#[test]
fn a_disk_that_takes_one_byte_at_a_time_gets_them_all() {
    let faulty = Faulty::new();
    faulty.faults.write_at_most.store(1, SeqCst);
    let mut file = faulty.open().create("log", b"").unwrap();
    file.append(&[b"", b"12", b"", b"345", b""]).unwrap();
    file.append(&[b""]).unwrap();
    assert_eq!(fs::read(faulty.path().join("log")).unwrap(), b"12345");
}

#[test]
fn reading_gives_what_was_asked_for_or_an_error_however_much_that_is() {
    let faulty = Faulty::new();
    let files = faulty.open();
    files.write("file", &[b"12345"]).unwrap();
    let on_disk = files.open("file").unwrap();
    for file in [&*on_disk, &Memory(b"12345") as &dyn ReadAt] {
        assert_eq!(file.len(), 5);
        assert_eq!(file.read_at(1, 3).unwrap(), b"234");
        assert_eq!(file.read_at(5, 0).unwrap(), b"");
        for (offset, len) in [
            (3, 3),
            (6, 0),
            (0, usize::MAX),
            (u64::MAX, 1),
            (u64::MAX, 0),
        ] {
            let error = file.read_at(offset, len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} at {offset}");
        }
    }
    faulty.faults.fail_read.store(true, SeqCst);
    assert_eq!(on_disk.read_at(0, 1).unwrap_err().to_string(), "read fails");
}

#[test]
fn files_are_renamed_and_removed_and_removing_one_that_is_gone_is_no_failure() {
    let faulty = Faulty::new();
    let files = faulty.open();
    files.write("a", &[b"a"]).unwrap();
    files.write("b", &[b"b"]).unwrap();
    files.rename("a", "b").unwrap();
    assert_eq!(fs::read(faulty.path().join("b")).unwrap(), b"a");
    assert_eq!(
        files.rename("a", "b").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    files.remove("b").unwrap();
    files.remove("b").unwrap();
    assert_eq!(names(faulty.path()), ["lock"]);
    // Both are durable, or say that they may not be.
    files.write("a", &[b"a"]).unwrap();
    faulty.faults.fail_sync.store(true, SeqCst);
    files.rename("a", "b").unwrap_err();
    files.remove("b").unwrap_err();
}
