//! A data folder that something else damaged, filled up, or holds: the process starts, says what is
//! wrong, and keeps the rest.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hyper::{Method, body::Bytes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    inputs::{plain, request, text},
    process::{Running, by_way_of, complaints, ended, program, run, signal, start},
    server::{Answer, client, get, post_thrift, send},
    thrift::{Required, batch_of, span as thrift_span},
};

/// So little that the first requests are sealed while a test waits.
const LITTLE: (&str, &str) = ("MAX_MEMORY", "1MiB");

fn data(folder: &Path) -> (&str, &str) {
    ("DATA", folder.to_str().unwrap())
}

/// A trace of one span, of about 2 KB that do not compress away into a dictionary.
fn numbered(number: u64) -> ExportTraceServiceRequest {
    let mut span = plain(&format!("{number:x}"), 1, &format!("span {number}"));
    span.attributes = vec![text("filler", &format!("{number:0>2000}"))];
    request("s", vec![span])
}

async fn post(running: &Running, body: Vec<u8>) -> Answer {
    let kind = ("content-type", "application/x-protobuf");
    let body = Bytes::from(body);
    send(
        &running.otlp_http,
        Method::POST,
        "/v1/traces",
        &[kind],
        body,
    )
    .await
}

async fn accept(running: &Running, number: u64) {
    let answer = post(running, numbered(number).encode_to_vec()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

async fn is_found(running: &Running, number: u64) -> bool {
    let answer = get(&running.http, &format!("/api/traces/{number:x}"), &[]).await;
    match answer.status.as_u16() {
        200 => {
            assert!(answer.text().contains(&format!("\"span {number}\"")));
            true
        }
        status => {
            assert_eq!(status, 404);
            false
        }
    }
}

async fn usage(running: &Running) -> Value {
    get(&running.http, "/status.json", &[]).await.json()["usage"].take()
}

/// Whether it happens within 10 seconds.
async fn until<F: Future<Output = bool>>(happened: impl Fn() -> F) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if happened().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

/// Stops a process that is not to be asked.
fn kill(mut running: Running) -> String {
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    complaints(&mut running.child)
}

/// A folder with a segment and a log, and how many traces are in it: the last of them in the log.
async fn some() -> (TempDir, u64) {
    loop {
        let folder = TempDir::new().unwrap();
        let running = start(&[LITTLE, data(folder.path())]);
        let mut number = 0;
        while files(folder.path(), "segment").is_empty() {
            number += 1;
            accept(&running, number).await;
        }
        // What it stands for is removed.
        assert!(until(async || files(folder.path(), "log").len() == 1).await);
        for _ in 0..3 {
            number += 1;
            accept(&running, number).await;
        }
        kill(running);
        // Where the disk is slow, the next segment may have been on its way.
        if [files(folder.path(), "segment"), files(folder.path(), "log")].map(|files| files.len())
            == [1, 1]
        {
            return (folder, number);
        }
    }
}

#[derive(Clone, Copy)]
enum Damage {
    /// Cut off in the middle.
    Half,
    /// Cut off before the last byte.
    Short,
    Empty,
    /// So far from the start.
    Flip(usize),
    /// So far from the end.
    FlipBack(usize),
}

fn damage(path: &Path, damage: Damage) {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len();
    match damage {
        Damage::Half => bytes.truncate(len / 2),
        Damage::Short => bytes.truncate(len - 1),
        Damage::Empty => bytes.clear(),
        Damage::Flip(at) => bytes[at] ^= 0x10,
        Damage::FlipBack(at) => bytes[len - at] ^= 0x10,
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_segment_is_named_and_set_aside_and_the_log_is_read() {
    for how in [
        Damage::Half,
        Damage::Short,
        Damage::Empty,
        // The magic, a page, the directory, and what says where it is.
        Damage::Flip(3),
        Damage::Flip(100),
        Damage::FlipBack(200),
        Damage::FlipBack(20),
    ] {
        let (folder, last) = some().await;
        let [segment] = &files(folder.path(), "segment")[..] else {
            panic!("more than one segment");
        };
        damage(segment, how);
        let running = start(&[LITTLE, data(folder.path())]);
        // A page is looked at only after the start.
        let said = async || {
            !usage(&running).await["quarantined"]
                .as_array()
                .unwrap()
                .is_empty()
        };
        assert!(until(said).await);
        assert!(is_found(&running, last).await);
        assert!(!is_found(&running, 1).await);
        accept(&running, last + 1).await;
        let text = kill(running);
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(
            text.starts_with(&format!("damaged data dropped: {name}: ")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!segment.exists());
        assert!(segment.with_added_extension("damaged").exists());

        // It is not in the way of the next start.
        let running = start(&[LITTLE, data(folder.path())]);
        assert!(is_found(&running, last + 1).await);
        assert_eq!(kill(running), "");
    }
}

#[tokio::test]
async fn a_damaged_log_loses_the_damaged_request_alone_and_names_it() {
    for (how, lost) in [
        (Damage::Short, 3),
        (Damage::FlipBack(1), 3),
        // In the header of the file and in the first request.
        (Damage::Flip(3), 0),
        (Damage::Flip(20 + 32 + 500), 1),
        (Damage::Empty, 4),
    ] {
        let folder = TempDir::new().unwrap();
        let running = start(&[data(folder.path())]);
        for number in 1..=3 {
            accept(&running, number).await;
        }
        kill(running);
        let [log] = &files(folder.path(), "log")[..] else {
            panic!("more than one log");
        };
        damage(log, how);
        let running = start(&[data(folder.path())]);
        let is_lost = |number: u64| lost == number || lost == 4;
        for number in 1..=3 {
            assert_eq!(
                is_found(&running, number).await,
                !is_lost(number),
                "{number}"
            );
        }
        accept(&running, 9).await;
        assert!(is_found(&running, 9).await);
        let name = log.file_name().unwrap().to_str().unwrap();
        let text = kill(running);
        assert!(
            text.starts_with(&format!("damaged data dropped: {name}: ")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[tokio::test]
async fn files_of_others_in_the_folder_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let others = [
        "notes.txt",
        "1.log",
        "000000000000000G.log",
        "00000000000000001.segment",
        "0000000000000001.LOG",
        "0000000000000001.segment.damaged",
    ];
    for name in others {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::create_dir(folder.path().join("folder.segment")).unwrap();
    symlink("nowhere", folder.path().join("link.log")).unwrap();
    for number in 1..=2 {
        let running = start(&[data(folder.path())]);
        accept(&running, number).await;
        assert!(is_found(&running, 1).await);
        assert_eq!(kill(running), "");
    }
    for name in others {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
}

#[test]
fn a_folder_that_cannot_be_used_ends_the_start_and_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    open(&closed, 0o555);
    for (path, why) in [
        (&file, "exists"),
        (&file.join("below"), "Not a directory"),
        (&closed, "Permission denied"),
        (&closed.join("below"), "Permission denied"),
    ] {
        let mut program = program(&[data(path)]);
        // Nothing is closed to root.
        if fs::metadata("/proc/self").is_ok_and(|owner| is_root(&owner)) {
            program.uid(65534);
        }
        let mut child = program.spawn().unwrap();
        let code = ended(&mut child);
        let text = complaints(&mut child);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.starts_with("opening --data: "), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains(why), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

fn is_root(owner: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    owner.uid() == 0
}

#[tokio::test]
async fn a_second_process_says_that_the_folder_is_in_use_and_leaves_it_alone() {
    let folder = TempDir::new().unwrap();
    let first = start(&[data(folder.path())]);
    accept(&first, 1).await;
    let second = start(&[data(folder.path())]);
    assert!(!is_found(&second, 1).await);
    accept(&second, 2).await;
    assert!(is_found(&second, 2).await);
    accept(&first, 3).await;
    let text = kill(second);
    let path = folder.path().display();
    assert_eq!(
        text,
        format!("{path} is in use by another tracestore: keeping traces in memory only\n")
    );
    accept(&first, 4).await;
    assert_eq!(kill(first), "");

    let again = start(&[data(folder.path())]);
    for number in [1, 3, 4] {
        assert!(is_found(&again, number).await, "{number}");
    }
    assert!(!is_found(&again, 2).await);
}

/// A file system of that many bytes, which only those see who enter its namespace.
struct Small {
    folder: TempDir,
    /// Holds the namespace.
    holder: Child,
    /// How to enter it.
    enter: &'static [&'static str],
}

impl Small {
    /// `None` if neither this user may mount, nor a user who is root in a namespace of its own.
    fn new(bytes: u64) -> Option<Small> {
        let as_root = (&["--mount"][..], &["--mount"][..]);
        let as_user = (
            &["--mount", "--user", "--map-root-user"][..],
            &["--mount", "--user", "--preserve-credentials"][..],
        );
        [as_root, as_user]
            .into_iter()
            .find_map(|(make, enter)| Small::made(bytes, make, enter))
    }

    fn made(bytes: u64, make: &[&str], enter: &'static [&'static str]) -> Option<Small> {
        let folder = TempDir::new().unwrap();
        let mount = "mount -t tmpfs -o size=$1 tmpfs \"$0\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare");
        holder
            .args(make)
            .args(["sh", "-c", mount])
            .arg(folder.path());
        let pipes = holder
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut holder = pipes.spawn().ok()?;
        let mut said = String::new();
        let output = holder.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        let small = Small {
            folder,
            holder,
            enter,
        };
        (said == "mounted\n").then_some(small)
    }

    /// Where others see what is at this path in the namespace.
    fn outside(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap())
    }

    fn start(&self, variables: &[(&str, &str)]) -> Running {
        let mut nsenter = Command::new("nsenter");
        let target = self.holder.id().to_string();
        nsenter.args(["--target", &target]).args(self.enter);
        run(&mut by_way_of(nsenter, &program(variables)))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_requests_until_there_is_space_and_loses_none_it_took() {
    let Some(disk) = Small::new(3 << 20) else {
        // No package brings the right to mount, so nothing demands it.
        let why = "SKIPPED a full disk: neither this user nor root of a namespace of its own may mount a small file \
                   system here; a limit on the size of files, which the next test sets, is all that is tried\n";
        let _ = io::stderr().write_all(why.as_bytes());
        return;
    };
    let ballast = disk.outside(&disk.folder.path().join("ballast"));
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let folder = disk.folder.path().join("data");
    let start = || disk.start(&[data(&folder)]);
    let make_room = |_: &Running| fs::remove_file(&ballast).unwrap();
    check_no_room(start(), start, make_room, "No space left").await;
}

/// Unlike a full disk it is in no way of other files, and what was to be written is too large instead of one too many. To
/// set it takes no rights.
#[tokio::test]
async fn files_that_may_not_grow_refuse_requests_until_they_may_and_lose_none_they_took() {
    let folder = TempDir::new().unwrap();
    let start = || start(&[data(folder.path())]);
    let limit = |running: &Running, bytes: &str| {
        let mut prlimit = Command::new("prlimit");
        let process = running.child.id().to_string();
        let soft = format!("--fsize={bytes}:");
        let limited = prlimit.args(["--pid", &process, &soft]).status();
        assert!(limited.expect("util-linux has prlimit").success());
    };
    let running = start();
    limit(&running, "1000000");
    let make_room = |running: &Running| limit(running, "unlimited");
    check_no_room(running, start, make_room, "File too large").await;
}

/// Sends until there is no room, and then makes some.
async fn check_no_room(
    running: Running,
    start: impl Fn() -> Running,
    make_room: impl FnOnce(&Running),
    reason: &str,
) {
    let mut accepted = BTreeSet::new();
    let mut number = 0;
    let refused = loop {
        number += 1;
        assert!(number < 2000, "there is always room");
        let answer = post(&running, numbered(number).encode_to_vec()).await;
        match answer.status.as_u16() {
            200 => accepted.insert(number),
            _ => break answer,
        };
    };
    assert!(accepted.len() > 100, "{accepted:?}");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["content-type"], "application/x-protobuf");
    let why = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(why.contains(reason), "{why}");
    let status = client(&running.otlp).await.export(numbered(number)).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");
    // Longer than what did not fit.
    let name = "n".repeat(3000);
    let json = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "0".repeat(31) + "f", "spanId": "00000000000000f1", "name": name,
    }]}]}]});
    let kind = ("content-type", "application/json");
    let body = Bytes::from(json.to_string());
    let in_json = send(
        &running.otlp_http,
        Method::POST,
        "/v1/traces",
        &[kind],
        body,
    )
    .await;
    assert_eq!(in_json.status, 503);
    assert_eq!(in_json.headers["retry-after"], "1");
    let in_json: Value = serde_json::from_slice(&in_json.body).unwrap();
    assert_eq!(in_json["code"], Code::Unavailable as i32, "{in_json}");
    assert!(
        in_json["message"].as_str().unwrap().contains(reason),
        "{in_json}"
    );
    let span = thrift_span(Required {
        trace: (0, 15),
        span: 1,
        parent: 0,
        name: &name,
        start: 1,
        duration: 1,
    });
    let thrift = batch_of("s", vec![], vec![span]);
    let thrift = post_thrift(&running.jaeger, thrift).await;
    assert_eq!(thrift.status, 503);
    assert!(thrift.text().contains(reason), "{}", thrift.text());

    for found in &accepted {
        assert!(is_found(&running, *found).await, "{found}");
    }
    assert!(usage(&running).await["refusedRequests"].as_u64().unwrap() >= 4);

    make_room(&running);
    let takes = async || {
        let answer = post(&running, numbered(number).encode_to_vec()).await;
        answer.status == 200
    };
    assert!(until(takes).await, "it does not recover");
    accepted.insert(number);
    signal(&running.child, "-KILL");
    let text = kill(running);
    assert!(text.lines().count() <= 4, "{text}");

    let running = start();
    for found in &accepted {
        assert!(is_found(&running, *found).await, "{found}");
    }
    let spans = usage(&running).await["spans"].as_u64().unwrap();
    assert_eq!(spans, accepted.len() as u64);
    kill(running);
}

#[tokio::test]
async fn how_long_the_disk_takes_is_told() {
    let folder = TempDir::new().unwrap();
    let always = ("FSYNC", "always");
    let running = start(&[LITTLE, always, data(folder.path())]);
    let count = async |what: &str| -> u64 {
        let metrics = get(&running.http, "/metrics", &[]).await;
        let sample = format!("tracestore_{what}_duration_seconds_count ");
        let mut lines = metrics.text().lines();
        let count = lines.find_map(|line| line.strip_prefix(&sample));
        count.unwrap().parse().unwrap()
    };
    let before = count("fsync").await;
    accept(&running, 1).await;
    assert!(count("fsync").await > before);
    assert_eq!(count("seal").await, 0);
    let mut number = 1;
    while files(folder.path(), "segment").is_empty() {
        number += 1;
        accept(&running, number).await;
    }
    assert!(until(async || count("seal").await > 0).await);
}
