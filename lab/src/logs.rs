//! Hands what the parts print to the store, so that a trace is read with the lines of those who had it: what Alloy and Loki
//! do for containers.
//!
//! Nobody waits for it. What it cannot keep up with is on standard output all the same, and how much that was is said there.

mod record;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use self::record::{Blocks, Record};
use crate::output::Output;

/// Lines that may wait, and bytes of them.
const WAITING: usize = 2000;
const WAITING_BYTES: usize = 16 << 20;

/// Of a longer line, the rest is on standard output only, in bytes. The longest object that the edge prints of a request is
/// shorter: cut, it would tell no trace any more.
const LONGEST: usize = 192 << 10;

/// Most records of a request.
const BATCH: usize = 500;

/// How long a record may wait for company, and a block for its next line.
const DELAY: Duration = Duration::from_millis(100);

/// How long the store may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
struct Line {
    part: &'static str,
    stream: Stream,
    time: SystemTime,
    text: String,
}

#[derive(Debug)]
enum Message {
    /// And of how many bytes.
    Line(Line, usize),
    /// All lines before this one are to be sent.
    Flush(oneshot::Sender<()>),
}

/// Takes lines.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    messages: mpsc::Sender<Message>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl Logs {
    /// Sends lines to a receiver of OTLP over HTTP, and says in the output when that fails and when it works again.
    pub(crate) fn to(receiver: SocketAddr, output: Output) -> Logs {
        let (messages, lines) = mpsc::channel(WAITING);
        let (waiting, lost) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let sender = Sender {
            url: format!("http://{receiver}/v1/logs"),
            client: Client::builder(TokioExecutor::new()).build_http(),
            output,
            lost: Arc::clone(&lost),
            told: false,
        };
        tokio::spawn(collect(lines, Arc::clone(&waiting), sender));
        Logs {
            messages,
            waiting,
            lost,
        }
    }

    /// Takes a line, if there is room for it.
    pub(crate) fn line(&self, part: &'static str, stream: Stream, line: &[u8]) {
        let kept = &line[..line.len().min(LONGEST)];
        let waiting = self.waiting.fetch_add(kept.len(), Relaxed) + kept.len();
        let size = kept.len();
        let line = Line {
            part,
            stream,
            time: SystemTime::now(),
            text: String::from_utf8_lossy(kept).into_owned(),
        };
        let message = Message::Line(line, size);
        if waiting > WAITING_BYTES || self.messages.try_send(message).is_err() {
            self.waiting.fetch_sub(size, Relaxed);
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything is sent, unless the store takes too long.
    pub(crate) async fn flush(&self) {
        let (flushed, done) = oneshot::channel();
        let flush = async {
            let _ = self.messages.send(Message::Flush(flushed)).await;
            let _ = done.await;
        };
        let _ = time::timeout(TIMEOUT, flush).await;
    }
}

/// Makes records of lines and sends them, until nobody is left who could print one.
async fn collect(
    mut lines: mpsc::Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    mut sender: Sender,
) {
    let mut blocks = Blocks::default();
    let mut records = Vec::new();
    let mut due = None;
    loop {
        let message = match due {
            Some(due) => time::timeout_at(due, lines.recv()).await,
            None => Ok(lines.recv().await),
        };
        match message {
            Ok(Some(Message::Line(line, size))) => {
                waiting.fetch_sub(size, Relaxed);
                due.get_or_insert_with(|| Instant::now() + DELAY);
                records.extend(blocks.line(line));
                if records.len() >= BATCH {
                    sender.send(std::mem::take(&mut records)).await;
                }
                continue;
            }
            Ok(Some(Message::Flush(flushed))) => {
                records.extend(blocks.ended(SystemTime::now()));
                sender.send(std::mem::take(&mut records)).await;
                // Who asked may have lost patience.
                let _ = flushed.send(());
            }
            Err(_) => {
                records.extend(blocks.ended(SystemTime::now()));
                sender.send(std::mem::take(&mut records)).await;
            }
            Ok(None) => return,
        }
        due = (!blocks.is_empty()).then(|| Instant::now() + DELAY);
    }
}

struct Sender {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    output: Output,
    lost: Arc<AtomicU64>,
    /// Whether it was said that lines are lost.
    told: bool,
}

impl Sender {
    async fn send(&mut self, records: Vec<Record>) {
        let sent = match records.is_empty() {
            true => Ok(()),
            false => self.post(&records).await,
        };
        match sent {
            Err(err) => {
                self.lost.fetch_add(records.len() as u64, Relaxed);
                if !self.told {
                    self.told = true;
                    self.output.lab(format_args!(
                        "log records are here only and not in the store: {err:#}"
                    ));
                }
            }
            Ok(()) if records.is_empty() => {}
            Ok(()) => {
                let lost = self.lost.swap(0, Relaxed);
                if lost > 0 {
                    self.output.lab(format_args!(
                        "log records are in the store again, but for {lost} lines"
                    ));
                }
                self.told = false;
            }
        }
    }

    async fn post(&self, records: &[Record]) -> anyhow::Result<()> {
        let body = serde_json::to_vec(&request(records))?;
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answered = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), 64 << 10);
            let body = body.collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            ensure!(
                status == StatusCode::OK,
                "{status}: {}",
                String::from_utf8_lossy(&body).trim()
            );
            let answer: Value = serde_json::from_slice(&body).context("its answer")?;
            let rejected = &answer["partialSuccess"];
            ensure!(rejected["errorMessage"].is_null(), "{rejected}");
            anyhow::Ok(())
        };
        let answered = time::timeout(TIMEOUT, answered).await;
        answered
            .with_context(|| format!("no answer within {TIMEOUT:?}"))
            .flatten()
            .with_context(|| self.url.clone())
    }
}

/// An ExportLogsServiceRequest, in which each service has a resource of its own.
///
/// <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>
fn request(records: &[Record]) -> Value {
    let mut services: Vec<&str> = records.iter().map(Record::service).collect();
    services.sort_unstable();
    services.dedup();
    let resources = services.iter().map(|service| {
        let records = records.iter().filter(|record| record.service() == *service);
        json!({
            "resource": {"attributes": [record::attribute("service.name", &json!(service))]},
            "scopeLogs": [{
                "scope": {"name": env!("CARGO_PKG_NAME")},
                "logRecords": records.map(Record::otlp).collect::<Vec<_>>(),
            }],
        })
    });
    json!({ "resourceLogs": resources.collect::<Vec<_>>() })
}
