//! A process that is killed at any moment: what it acknowledged is there when it starts again.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    trace::v1::{Span, TracesData},
};
use prost::Message;
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use crate::{
    inputs::{NINE, request, text},
    process::{Running, program, start},
    server::get,
};

/// All of them where everything is to be tested.
pub(crate) fn rounds() -> u64 {
    match env::var_os("REQUIRE_ALL") {
        Some(_) => 100,
        None => 10,
    }
}

/// Numbers that `seed` determines: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Span ids by trace id, both as they are on the wire.
type Spans = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

/// What one sender knows when the process is dead.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<ExportTraceServiceRequest>,
    /// No answer came: it is there whole or not at all.
    open: Option<ExportTraceServiceRequest>,
}

/// Sends until nobody answers.
async fn keep_sending(
    mut client: Client,
    sender: u64,
    numbers: Arc<AtomicU64>,
    random: u64,
) -> Sent {
    let mut sent = Sent::default();
    let mut random = Random(random);
    loop {
        let first = numbers.fetch_add(100, Ordering::Relaxed);
        let request = numbered(sender, first, 1 + random.below(6));
        match client.export(&request).await {
            Some(()) => sent.acknowledged.push(request),
            None => {
                sent.open = Some(request);
                return sent;
            }
        }
    }
}

/// Up to three spans in each trace, and one in the trace that the sender began with.
fn numbered(sender: u64, first: u64, traces: u64) -> ExportTraceServiceRequest {
    let span = |trace: u64, number: u64| Span {
        trace_id: u128::from(trace).to_be_bytes().into(),
        span_id: number.to_be_bytes().into(),
        name: format!("span {number}"),
        start_time_unix_nano: NINE + number,
        end_time_unix_nano: NINE + 2 * number,
        attributes: vec![text("number", &number.to_string())],
        ..Span::default()
    };
    let mut spans = vec![span(LONG + sender, first + 99)];
    for trace in first..first + traces {
        spans.extend((0..=trace % 3).map(|number| span(trace, trace + (number << 32))));
    }
    request(&format!("sender {sender}"), spans)
}

/// Traces of which each request of a sender has a span.
const LONG: u64 = 1 << 40;

enum Client {
    Grpc(TraceServiceClient<tonic::transport::Channel>),
    Http(String, http1::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn grpc(running: &Running) -> Client {
        Client::Grpc(crate::server::client(&running.otlp).await)
    }

    async fn http(running: &Running) -> Client {
        let sender = connect(&running.otlp_http).await;
        Client::Http(running.otlp_http.clone(), sender)
    }

    /// `None` if there is no answer.
    async fn export(&mut self, request: &ExportTraceServiceRequest) -> Option<()> {
        match self {
            Client::Grpc(client) => {
                let answer = client.export(request.clone()).await.ok()?;
                assert_eq!(answer.into_inner().partial_success, None);
            }
            Client::Http(address, sender) => {
                let request = Request::post("/v1/traces")
                    .header(HOST, address.as_str())
                    .header("content-type", "application/x-protobuf")
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

pub(crate) async fn connect(address: &str) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn note(request: &ExportTraceServiceRequest, spans: &mut Spans) {
    for span in spans_of(&request.resource_spans) {
        let of_trace = spans.entry(span.trace_id.clone()).or_default();
        assert!(of_trace.insert(span.span_id.clone()));
    }
}

fn spans_of(
    resource_spans: &[opentelemetry_proto::tonic::trace::v1::ResourceSpans],
) -> impl Iterator<Item = &Span> {
    let scopes = resource_spans.iter().flat_map(|of| &of.scope_spans);
    scopes.flat_map(|of| &of.spans)
}

/// Reads traces over one connection: there are many.
struct Reader<'a> {
    running: &'a Running,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl<'a> Reader<'a> {
    async fn new(running: &'a Running) -> Reader<'a> {
        Reader {
            running,
            sender: connect(&running.http).await,
        }
    }

    /// The ids of the trace's spans.
    async fn found(&mut self, trace: &[u8]) -> BTreeSet<Vec<u8>> {
        let hex: String = trace.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = Request::get(format!("/api/traces/{hex}"))
            .header(HOST, self.running.http.as_str())
            .header("accept", "application/protobuf")
            .body(Full::default())
            .unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        match status {
            StatusCode::NOT_FOUND => BTreeSet::new(),
            _ => ids(status, body),
        }
    }
}

fn ids(status: StatusCode, body: Bytes) -> BTreeSet<Vec<u8>> {
    assert_eq!(status, StatusCode::OK);
    let trace = TracesData::decode(body).unwrap();
    let mut found = BTreeSet::new();
    for span in spans_of(&trace.resource_spans) {
        let number = u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap());
        assert_eq!(span.name, format!("span {number}"));
        assert_eq!(span.attributes, [text("number", &number.to_string())]);
        assert!(
            found.insert(span.span_id.clone()),
            "{span:?} is there twice"
        );
    }
    found
}

/// Everything that was acknowledged, whether it is known to be there after the last kill.
#[derive(Default)]
struct Known {
    spans: Spans,
    /// Those that changed in the last round.
    fresh: BTreeSet<Vec<u8>>,
    open: Vec<ExportTraceServiceRequest>,
}

impl Known {
    fn learn(&mut self, sent: Sent) {
        for request in &sent.acknowledged {
            note(request, &mut self.spans);
            let spans = spans_of(&request.resource_spans);
            self.fresh.extend(spans.map(|span| span.trace_id.clone()));
        }
        self.open.extend(sent.open);
    }

    /// Panics unless all is there and nothing else, as far as it is fresh; `all` looks at the rest
    /// too.
    async fn check(&mut self, running: &Running, all: bool, context: &str) {
        let mut reader = Reader::new(running).await;
        // A request without an answer may have been kept, but only whole.
        for request in std::mem::take(&mut self.open) {
            let spans: Vec<&Span> = spans_of(&request.resource_spans).collect();
            let mut kept = 0;
            for span in &spans {
                let found = reader.found(&span.trace_id).await;
                kept += usize::from(found.contains(&span.span_id));
            }
            assert!(
                kept == 0 || kept == spans.len(),
                "{context}: {kept} of {}",
                spans.len()
            );
            if kept > 0 {
                note(&request, &mut self.spans);
            }
        }
        let fresh = std::mem::take(&mut self.fresh);
        for (trace, spans) in &self.spans {
            if all || fresh.contains(trace) {
                assert_eq!(reader.found(trace).await, *spans, "{context}: {trace:02x?}");
            }
        }
        let usage = get(&running.http, "/status.json", &[]).await.json()["usage"].take();
        let spans: usize = self.spans.values().map(BTreeSet::len).sum();
        assert_eq!(usage["spans"], spans, "{context}: {usage}");
        assert_eq!(usage["evictedSpans"], 0, "{context}");
    }
}

/// How the process is set up, other than that it uses the folder.
const SETTINGS: [&[(&str, &str)]; 4] = [
    &[],
    // A sixteenth of it is sealed at once, which is soon.
    &[("MAX_MEMORY", "1MiB")],
    &[("FSYNC", "always")],
    &[("MAX_MEMORY", "1MiB"), ("FSYNC", "always")],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_after_a_kill_at_any_moment() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = env::var("KILL_SEED").map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("KILL_SEED={seed}");
    let mut random = Random(seed);
    let folder = TempDir::new().unwrap();
    let mut known = Known::default();
    let numbers = Arc::new(AtomicU64::new(1));
    for round in 0..rounds() {
        let settings = SETTINGS[random.below(4) as usize];
        let context = format!("KILL_SEED={seed}, round {round}, {settings:?}");
        if random.below(4) == 0 {
            kill_while_it_starts(folder.path(), settings, random.below(10)).await;
        }
        let mut running = start(&[settings, &[data(folder.path())]].concat());
        known.check(&running, false, &context).await;
        let mut senders = JoinSet::new();
        for sender in 0..4 {
            let client = match sender % 2 {
                0 => Client::http(&running).await,
                _ => Client::grpc(&running).await,
            };
            let numbers = Arc::clone(&numbers);
            senders.spawn(keep_sending(
                client,
                sender,
                numbers,
                random.below(u64::MAX),
            ));
        }
        // Half of the rounds end while spans are sealed.
        if random.below(2) == 0 {
            until_sealing(folder.path()).await;
            sleep(Duration::from_micros(random.below(8000))).await;
        } else {
            sleep(Duration::from_micros(random.below(40_000))).await;
        }
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        for sent in senders.join_all().await {
            known.learn(sent);
        }
    }
    let running = start(&[data(folder.path())]);
    known
        .check(&running, true, &format!("KILL_SEED={seed}, in the end"))
        .await;
    assert!(known.spans.len() as u64 > rounds(), "{}", known.spans.len());
}

fn data(folder: &Path) -> (&str, &str) {
    ("DATA", folder.to_str().unwrap())
}

/// Until the process begins another log, if it soon does: it seals what is in those before.
async fn until_sealing(folder: &Path) {
    let logs = || {
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_encoded_bytes());
        names.filter(|name| name.ends_with(b".log")).max()
    };
    let deadline = Instant::now() + Duration::from_millis(200);
    let before = logs();
    while Instant::now() < deadline && logs() == before {
        tokio::task::yield_now().await;
    }
}

async fn kill_while_it_starts(folder: &Path, settings: &[(&str, &str)], milliseconds: u64) {
    let mut child = program(&[settings, &[data(folder)]].concat())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(milliseconds)).await;
    child.kill().unwrap();
    child.wait().unwrap();
}
