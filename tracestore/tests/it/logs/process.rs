//! Log records of a process that is killed, whose files are damaged, or that has a neighbour.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, logs_service_client::LogsServiceClient,
};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};
use tonic::transport::Channel;

use super::{PROTOBUF, bodies, of_service, post_to, record};
use crate::{
    kill::{Random, connect, rounds},
    process::{Running, complaints, ended, signal, start},
    server::get,
};

fn data(folder: &Path) -> (&str, &str) {
    ("DATA", folder.to_str().unwrap())
}

async fn found(running: &Running, query: &str) -> Value {
    get(&running.http, &format!("/logs.json?{query}"), &[])
        .await
        .json()
}

async fn status(running: &Running) -> Value {
    get(&running.http, "/status.json", &[]).await.json()["logs"].take()
}

/// All bodies, the newest first, page by page.
async fn all(running: &Running) -> Vec<String> {
    let mut all = Vec::new();
    let mut query = "limit=1000".to_owned();
    loop {
        let page = found(running, &query).await;
        all.extend(bodies(&page).into_iter().map(str::to_owned));
        match page["older"].as_str() {
            Some(older) => query = format!("limit=1000&before={older}"),
            None => return all,
        }
    }
}

/// Up to seven records, of about as many bytes each time.
fn numbered(first: u64, count: u64) -> ExportLogsServiceRequest {
    let records = (first..first + count).map(|number| {
        let filler = "x".repeat((number % 7 * 300) as usize);
        record(number, &format!("{number} {filler}"))
    });
    of_service("s", records.collect())
}

/// The numbers of its records.
fn numbers_of(request: &ExportLogsServiceRequest) -> Vec<u64> {
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    let millisecond = |time: u64| (time - crate::inputs::NINE) / crate::inputs::MS;
    let numbers = records.iter();
    numbers
        .map(|record| millisecond(record.time_unix_nano))
        .collect()
}

/// What one sender knows when the process is dead.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<u64>,
    /// No answer came: it is there whole or not at all.
    open: Vec<u64>,
}

/// Connected before the process may be killed.
enum Client {
    Grpc(LogsServiceClient<Channel>),
    Http(String, http1::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn new(running: &Running, is_grpc: bool) -> Client {
        if is_grpc {
            let address = format!("http://{}", running.otlp);
            return Client::Grpc(LogsServiceClient::connect(address).await.unwrap());
        }
        let address = running.otlp_http.clone();
        let sender = connect(&address).await;
        Client::Http(address, sender)
    }

    /// `None` if there is no answer.
    async fn export(&mut self, request: ExportLogsServiceRequest) -> Option<()> {
        match self {
            Client::Grpc(client) => {
                let answer = client.export(request).await.ok()?;
                assert_eq!(answer.into_inner().partial_success, None);
            }
            Client::Http(address, sender) => {
                let request = Request::post("/v1/logs")
                    .header(HOST, address.as_str())
                    .header(PROTOBUF.0, PROTOBUF.1)
                    .body(Full::from(request.encode_to_vec()))
                    .unwrap();
                sender.ready().await.ok()?;
                let answer = sender.send_request(request).await.ok()?;
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.ok()?;
            }
        }
        Some(())
    }
}

/// Sends until nobody answers.
async fn keep_sending(mut client: Client, first: u64, mut random: Random) -> Sent {
    let mut sent = Sent::default();
    for number in 0.. {
        let request = numbered(first + 10 * number, 1 + random.below(7));
        let numbers = numbers_of(&request);
        if client.export(request).await.is_none() {
            sent.open = numbers;
            break;
        }
        sent.acknowledged.extend(numbers);
    }
    sent
}

/// How the process is set up, other than that it uses the folder.
const SETTINGS: [&[(&str, &str)]; 4] = [
    &[],
    // A sixteenth of it is sealed at once, which is soon.
    &[("MAX_LOG_MEMORY", "1MiB")],
    &[("FSYNC", "always")],
    &[("MAX_LOG_MEMORY", "1MiB"), ("FSYNC", "always")],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_once_after_a_kill_at_any_moment() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = env::var("KILL_SEED").map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("KILL_SEED={seed}");
    let mut random = Random(seed);
    let folder = TempDir::new().unwrap();
    let mut expected: BTreeSet<u64> = BTreeSet::new();
    let mut first = 1;
    for round in 0..=rounds() {
        let settings = SETTINGS[random.below(4) as usize];
        let context = format!("KILL_SEED={seed}, round {round}, {settings:?}");
        let mut running = start(&[settings, &[data(folder.path())]].concat());
        let all = all(&running).await;
        let number = |body: &String| body.split(' ').next().unwrap().parse().unwrap();
        let numbers: Vec<u64> = all.iter().map(number).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "{context}");
        assert_eq!(BTreeSet::from_iter(numbers), expected, "{context}");
        assert_eq!(status(&running).await["evictedRecords"], 0, "{context}");
        let mut senders = JoinSet::new();
        for sender in 0..4 {
            let client = Client::new(&running, sender % 2 == 0).await;
            let random = Random(random.below(u64::MAX));
            senders.spawn(keep_sending(client, first, random));
            first += 1_000_000;
        }
        sleep(Duration::from_micros(random.below(60_000))).await;
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        let sent = senders.join_all().await;
        // A request without an answer may have been kept, but only whole.
        let running = start(&[data(folder.path())]);
        for Sent { acknowledged, open } in sent {
            expected.extend(acknowledged);
            let mut kept = 0;
            for number in &open {
                let at = crate::inputs::NINE / crate::inputs::MS + number;
                let query = format!("from={at}&to={at}");
                kept += bodies(&found(&running, &query).await).len();
            }
            assert!(
                kept == 0 || kept == open.len(),
                "{context}: {kept} of {open:?}"
            );
            if kept > 0 {
                expected.extend(open);
            }
        }
    }
    assert!(expected.len() as u64 > rounds(), "{}", expected.len());
}

async fn keep(running: &Running, request: &ExportLogsServiceRequest) {
    let message = request.encode_to_vec();
    let answer = post_to(&running.otlp_http, &[PROTOBUF], message).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("logs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_stop_keeps_all_and_the_next_start_says_what_it_found() {
    let folder = TempDir::new().unwrap();
    let mut running = start(&[data(folder.path())]);
    keep(&running, &numbered(1, 7)).await;
    let before = found(&running, "").await;
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(0));
    let mut running = start(&[data(folder.path())]);
    assert_eq!(found(&running, "").await, before);
    assert_eq!(status(&running).await["records"], 7);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let said = crate::process::stderr(&mut running.child);
    let opened = "/logs: 0 segments, 7 log records, replayed 1 request in ";
    assert!(said.contains(opened), "{said}");
}

#[tokio::test]
async fn a_second_process_keeps_logs_in_memory_and_disturbs_nothing() {
    let folder = TempDir::new().unwrap();
    let first = start(&[data(folder.path())]);
    keep(&first, &numbered(1, 3)).await;
    let mut second = start(&[data(folder.path())]);
    keep(&second, &numbered(10, 2)).await;
    assert_eq!(all(&first).await.len(), 3);
    assert_eq!(all(&second).await.len(), 2);
    assert!(status(&first).await["diskBytes"].is_u64());
    assert_eq!(status(&second).await["diskBytes"], Value::Null);
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    let said = complaints(&mut second.child);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("is in use by another tracestore"), "{said}");
}

#[tokio::test]
async fn damaged_files_are_named_and_the_rest_is_there() {
    let folder = TempDir::new().unwrap();
    // So little that the first records are sealed while the test waits.
    let settings = [("MAX_LOG_MEMORY", "1MiB"), data(folder.path())];
    let running = start(&settings);
    let mut first = 1;
    while files(folder.path(), "segment").is_empty() {
        keep(&running, &numbered(first, 7)).await;
        first += 10;
    }
    while files(folder.path(), "log").len() != 1 {
        sleep(Duration::from_millis(5)).await;
    }
    keep(&running, &numbered(first, 7)).await;
    keep(&running, &numbered(first + 10, 7)).await;
    drop(running);
    let segments = files(folder.path(), "segment");
    let logs = files(folder.path(), "log");
    let mut bytes = fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segments[0], &bytes).unwrap();
    let bytes = fs::read(&logs[0]).unwrap();
    fs::write(&logs[0], &bytes[..bytes.len() - 1]).unwrap();

    let mut running = start(&settings);
    // A segment is looked at only after the start.
    let quarantined = loop {
        let quarantined = status(&running).await["quarantined"].take();
        if quarantined.as_array().unwrap().len() == 2 {
            break quarantined;
        }
        sleep(Duration::from_millis(5)).await;
    };
    let file = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let named: Vec<&str> = (quarantined.as_array().unwrap().iter())
        .map(|lost| lost["file"].as_str().unwrap())
        .collect();
    assert_eq!(named[0], file(&logs[0]));
    assert!(named[1].starts_with(&file(&segments[0])), "{named:?}");
    let left = all(&running).await;
    let is_there = |number: u64| {
        left.iter()
            .any(|body| body.starts_with(&format!("{number} ")))
    };
    assert!(is_there(first), "what the log has whole");
    assert!(!is_there(first + 10), "what it has not");
    keep(&running, &numbered(first + 10, 1)).await;
    let newest = bodies(&found(&running, "limit=1").await)[0].to_owned();
    assert!(newest.starts_with(&format!("{} ", first + 10)), "{newest}");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let said = complaints(&mut running.child);
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[tokio::test]
async fn chatty_logs_evict_logs_and_no_trace() {
    let folder = TempDir::new().unwrap();
    let settings = [
        ("MAX_LOG_MEMORY", "1MiB"),
        ("MAX_LOG_DISK", "200KiB"),
        data(folder.path()),
    ];
    let running = start(&settings);
    let mut traces = crate::server::client(&running.otlp).await;
    traces.export(crate::inputs::chain()).await.unwrap();
    let mut first = 1;
    // Of bytes that do not compress.
    let mut random = Random(7);
    while status(&running).await["evictedRecords"] == 0 {
        let mut request = numbered(first, 7);
        for record in &mut request.resource_logs[0].scope_logs[0].log_records {
            let noise: String = (0..200)
                .map(|_| format!("{:x}", random.below(u64::MAX)))
                .collect();
            record.body = super::body(&format!("{first} {noise}"));
        }
        keep(&running, &request).await;
        first += 10;
        assert!(first < 1_000_000, "nothing is evicted");
    }
    // What was sent meanwhile may be more, until the keeper comes to it.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let bytes = status(&running).await["diskBytes"].as_u64().unwrap();
        if bytes <= 200 << 10 {
            break;
        }
        assert!(Instant::now() < deadline, "{bytes}");
        sleep(Duration::from_millis(5)).await;
    }
    let found = get(&running.http, "/status.json", &[]).await.json();
    assert_eq!(found["usage"]["spans"], 7);
    assert_eq!(found["usage"]["evictedSpans"], json!(0));
    let text = get(&running.http, "/metrics", &[]).await;
    let evicted = text
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("tracestore_log_records_evicted_total "));
    assert!(evicted.unwrap().parse::<u64>().unwrap() > 0);
}
