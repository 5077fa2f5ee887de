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

use ::faults::{Fault, Proxy};
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::helper::{self, Helper};

/// Larger than any request of any subject.
const MAX_REQUEST: usize = 64 << 20;

/// How much may be on its way, in bytes: about what collectors in Go grow to.
const WINDOW: u32 = 4 << 20;

/// How much later each piece of a slow collector's answer comes.
const SLOW: Duration = Duration::from_secs(2);

/// How long a flapping collector is up, and then down.
const FLAP: Duration = Duration::from_millis(250);

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
}

impl Behaviour {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Refused => "refused",
            Self::Blackhole => "blackhole",
            Self::Slow => "slow",
            Self::Flapping => "flapping",
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
    helper: Helper,
    pub(crate) addr: SocketAddr,
}

impl Sink {
    pub(crate) fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        let (helper, addr) = Helper::start(&["run-sink", behaviour.name()])?;
        Ok(Self { helper, addr })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
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
    let service = Counting(Arc::clone(&counts));
    thread::spawn(move || runtime.block_on(serve(listener, service)));
    let proxy = match behaviour {
        Behaviour::Well => None,
        Behaviour::Refused => Some(Fault::Refuse),
        Behaviour::Blackhole => Some(Fault::Blackhole),
        Behaviour::Slow => Some(Fault::Delay(SLOW)),
        Behaviour::Flapping => Some(Fault::Flap(FLAP)),
    };
    let proxy = proxy.map(|fault| Proxy::start(addr, fault));
    let addr = proxy.as_ref().map_or(addr, Proxy::address);
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

/// `ExportTraceServiceResponse` without a partial success: all is well.
#[derive(Clone, PartialEq, prost::Message)]
struct Exported {}

/// `opentelemetry.proto.collector.trace.v1.TraceService` over [`Export`].
#[derive(Clone)]
struct Counting(Arc<Counts>);

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
        self.0.add(request.get_ref());
        Box::pin(future::ready(Ok(Response::new(Exported {}))))
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
