//! A collector that counts the spans it gets and forgets them, in a process of its own: what it costs is nobody's cost.
//!
//! It reads no further into a request than needed to count, lest it takes the CPU away from those that are measured.

use std::convert::Infallible;
use std::future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use ::faults::{Answer as Said, Authority, Collector, Fault, Proxy};
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::helper::{self, Helper};

/// Larger than any request of any subject.
const MAX_REQUEST: usize = 64 << 20;

/// How much may be on its way, in bytes: about what collectors in Go grow to.
const WINDOW: u32 = 4 << 20;

/// How much later each piece of a slow collector's answer comes.
const SLOW: Duration = Duration::from_secs(2);

/// How long a flapping collector is up, and then down.
const FLAP: Duration = Duration::from_millis(250);

/// How long a collector that is asked too much wants to be left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// After so many bytes of answers a connection is cut: those of its beginning, and a part of the first answer.
const CUT: usize = 80;

/// Nobody has it (RFC 6761, 6.4).
const NO_NAME: &str = "http://collector.invalid:4317";

/// What a collector does with those who call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Behaviour {
    /// Counts what they bring, at once.
    Well,
    /// Does not listen.
    Refused,
    /// Accepts connections and never reads.
    Blackhole,
    /// Each piece of its answer comes two seconds later.
    Slow,
    /// Is up and down in turns of a quarter of a second, and cuts connections when it goes down.
    Flapping,
    /// Answers seven of ten requests with UNAVAILABLE.
    Unavailable,
    /// Wants to be left alone for five seconds, whenever it is asked.
    Throttling,
    /// Takes nothing for what it can read.
    Refusing,
    /// Takes all but one span of each request.
    Rejecting,
    /// Cuts connections in the middle of an answer.
    Cutting,
    /// Speaks TLS, which those who call do not.
    Tls,
    /// Has a name that nobody knows.
    Unknown,
}

impl Behaviour {
    /// All but the one that is not.
    pub(crate) const IN_TROUBLE: [Self; 11] = [
        Self::Refused,
        Self::Blackhole,
        Self::Slow,
        Self::Flapping,
        Self::Unavailable,
        Self::Throttling,
        Self::Refusing,
        Self::Rejecting,
        Self::Cutting,
        Self::Tls,
        Self::Unknown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Refused => "refused",
            Self::Blackhole => "blackhole",
            Self::Slow => "slow",
            Self::Flapping => "flapping",
            Self::Unavailable => "unavailable",
            Self::Throttling => "throttling",
            Self::Refusing => "refusing",
            Self::Rejecting => "rejecting",
            Self::Cutting => "cutting",
            Self::Tls => "tls",
            Self::Unknown => "unknown",
        }
    }

    /// What lies between it and those who call, if there is more than a network that works.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Refused => Some(Fault::Refuse),
            Self::Blackhole => Some(Fault::Blackhole),
            Self::Slow => Some(Fault::Delay(SLOW)),
            Self::Flapping => Some(Fault::Flap(FLAP)),
            Self::Cutting => Some(Fault::CutAfter(CUT)),
            Self::Well
            | Self::Unavailable
            | Self::Throttling
            | Self::Refusing
            | Self::Rejecting
            | Self::Tls
            | Self::Unknown => None,
        }
    }

    /// What it says to its nth request, if that is not taken as a whole.
    fn refusal(self, nth: u64) -> Option<Result<Exported, Status>> {
        match self {
            Self::Unavailable if nth % 10 < 7 => Some(Err(Status::unavailable("not now"))),
            Self::Throttling => {
                let pause = ErrorDetails::with_retry_info(Some(PAUSE));
                let code = Code::ResourceExhausted;
                Some(Err(Status::with_error_details(code, "too much", pause)))
            }
            Self::Refusing => Some(Err(Status::invalid_argument("this is not for me"))),
            Self::Rejecting => Some(Ok(Exported {
                partial_success: Some(PartialSuccess {
                    rejected_spans: 1,
                    error_message: "one of them is wrong".to_owned(),
                }),
            })),
            _ => None,
        }
    }
}

/// What arrived so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arrived {
    pub(crate) spans: u64,
    /// Of the spans alone, uncompressed.
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

/// A running collector.
pub(crate) struct Sink {
    behaviour: Behaviour,
    helper: Helper,
    pub(crate) addr: SocketAddr,
}

impl Sink {
    pub(crate) fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        let (helper, addr) = Helper::start(&["run-sink", behaviour.name()])?;
        Ok(Self {
            behaviour,
            helper,
            addr,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        match self.behaviour {
            Behaviour::Unknown => NO_NAME.to_owned(),
            _ => format!("http://{}", self.addr),
        }
    }

    pub(crate) fn arrived(&mut self) -> anyhow::Result<Arrived> {
        self.helper.ask(&())
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.helper.stop()
    }
}

/// The process of a collector, and of the trouble between it and those who call.
pub(crate) fn run(behaviour: Behaviour) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    let service = Counting(behaviour, Arc::clone(&counts));
    thread::spawn(move || runtime.block_on(serve(listener, service)));
    let proxy = behaviour.fault().map(|fault| Proxy::start(addr, fault));
    // Nothing gets through to it that it would have to remember.
    let over_tls = (behaviour == Behaviour::Tls).then(|| {
        let certified = Authority::new("bench").issue(&["127.0.0.1"]);
        Collector::start_with(Some(certified.server(&["h2"], None)), |_| Said::Accept)
    });
    let addr = proxy.as_ref().map_or(addr, Proxy::address);
    let addr = over_tls.as_ref().map_or(addr, Collector::address);
    helper::serve(&addr, |(): ()| Ok(counts.read()))
}

async fn serve(listener: TcpListener, service: Counting) -> anyhow::Result<()> {
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener))
        .await?;
    Ok(())
}

#[derive(Default)]
struct Counts {
    spans: AtomicU64,
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Counts {
    fn read(&self) -> Arrived {
        Arrived {
            spans: self.spans.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            requests: self.requests.load(Relaxed),
        }
    }

    fn add(&self, request: &Export) {
        let scopes = request.resource_spans.iter();
        let scopes = scopes.flat_map(|resource| &resource.scope_spans);
        let (mut spans, mut bytes) = (0, 0);
        for span in scopes.flat_map(|scope| &scope.spans) {
            spans += 1;
            bytes += span.len() as u64;
        }
        self.spans.fetch_add(spans, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }
}

/// OTLP's `ExportTraceServiceRequest`, as deep as needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    spans: Vec<Bytes>,
}

/// `ExportTraceServiceResponse`: all is well, without a partial success.
#[derive(Clone, PartialEq, prost::Message)]
struct Exported {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `opentelemetry.proto.collector.trace.v1.TraceService` over [`Export`].
#[derive(Clone)]
struct Counting(Behaviour, Arc<Counts>);

impl NamedService for Counting {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<http::Request<Body>> for Counting {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let counting = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Exported, Export>::new();
            let mut grpc = Grpc::new(codec)
                .max_decoding_message_size(MAX_REQUEST)
                .accept_compressed(CompressionEncoding::Gzip);
            Ok(grpc.unary(counting, request).await)
        })
    }
}

impl UnaryService<Export> for Counting {
    type Response = Exported;
    type Future = Answer<Response<Exported>, Status>;

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        let Self(behaviour, counts) = self;
        counts.add(request.get_ref());
        let nth = counts.requests.load(Relaxed);
        let answer = behaviour.refusal(nth);
        let answer = answer.unwrap_or_else(|| Ok(Exported::default()));
        Box::pin(future::ready(answer.map(Response::new)))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1 as trace;
    use prost::Message as _;

    use super::{Counts, Export};

    #[test]
    fn spans_of_all_resources_and_scopes_are_counted() {
        let span = trace::Span {
            name: "GET /work".to_owned(),
            ..Default::default()
        };
        let scope = |spans| trace::ScopeSpans {
            spans: vec![span.clone(); spans],
            ..Default::default()
        };
        let resource = |scope_spans| trace::ResourceSpans {
            scope_spans,
            ..Default::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![
                resource(vec![scope(2), scope(1)]),
                resource(vec![scope(0), scope(4)]),
            ],
        };
        let counts = Counts::default();
        counts.add(&Export::decode(&request.encode_to_vec()[..]).unwrap());
        let arrived = counts.read();
        assert_eq!(arrived.spans, 7);
        assert_eq!(arrived.bytes, 7 * span.encoded_len() as u64);
        assert_eq!(arrived.requests, 1);
    }
}
