//! What the layers add to a request, in nanoseconds and allocations: `cargo bench -p telemetry`.
//!
//! The span processor drops what it gets, so this is the price of making spans and not of sending them. Each figure
//! is the least of many rounds, with the price of the bare service, which is shown as well, taken off.

#![expect(clippy::print_stdout, reason = "a report is what a measurement is for")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Bytes;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use telemetry::{
    http::{ClientLayer, ServerLayer},
    metrics::Metrics,
};
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 200;
const REQUESTS: usize = 1000;

#[derive(Debug)]
struct Dropping;

impl SpanProcessor for Dropping {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        black_box(span);
    }

    fn force_flush(&self) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(
        &self,
        _: std::time::Duration,
    ) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
}

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn answer(request: Request<()>) -> Answer {
    black_box(request);
    ready(Ok(Response::new(Full::from("hello"))))
}

/// What a service behind a proxy gets.
fn received() -> Request<()> {
    let request = Request::get("/books/17")
        .header("host", "books.example:8080")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "*/*")
        .header("x-forwarded-for", "10.0.0.1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    request.body(()).expect("a good request")
}

fn sent() -> Request<()> {
    let request = Request::get("http://books.example:8080/books/17");
    request.body(()).expect("a good request")
}

/// Sends a request and reads the body of its response.
fn exchange<S, B>(service: &mut S, request: Request<()>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let response = pin!(service.call(request)).poll(&mut cx);
    let Poll::Ready(Ok(response)) = response else {
        unreachable!("the service is ready");
    };
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        drop(black_box(frame));
        if body.is_end_stream() {
            break;
        }
    }
}

/// Nanoseconds and allocations of a request.
fn measure<S, B>(mut service: S, request: fn() -> Request<()>) -> (f64, f64)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut least = f64::INFINITY;
    let mut requests: Vec<Request<()>> = Vec::with_capacity(REQUESTS);
    for _ in 0..ROUNDS {
        requests.extend((0..REQUESTS).map(|_| request()));
        let start = Instant::now();
        for request in requests.drain(..) {
            exchange(&mut service, request);
        }
        least = least.min(start.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }
    requests.extend((0..REQUESTS).map(|_| request()));
    let counted = allocation_counter::measure(|| {
        for request in requests.drain(..) {
            exchange(&mut service, request);
        }
    });
    (least, counted.count_total as f64 / REQUESTS as f64)
}

fn main() {
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Dropping)
        .build();
    let unsampled = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOff)
        .build();
    let (tracer, unsampled) = (provider.tracer("bench"), unsampled.tracer("bench"));
    let metrics = Metrics::new();
    let peer = ([127, 0, 0, 1], 4321).into();
    let server = |tracer| {
        ServerLayer::new(tracer)
            .propagator(TraceContextPropagator::new())
            .route(|_, path| path.starts_with("/books/").then_some("/books/{id}"))
            .peer(peer)
    };
    let client = |tracer| ClientLayer::new(tracer).propagator(TraceContextPropagator::new());

    let bare = measure(service_fn(answer), received);
    let bare_sent = measure(service_fn(answer), sent);
    let show = |what: &str, (ns, allocations): (f64, f64), bare: (f64, f64)| {
        println!(
            "{what:<28} {:>6.0} ns {:>5.1} allocations",
            ns - bare.0,
            allocations - bare.1
        );
    };
    let service = || service_fn(answer);
    show("bare service", bare, (0.0, 0.0));
    show(
        "server",
        measure(server(tracer.clone()).layer(service()), received),
        bare,
    );
    let measured = server(tracer.clone()).metrics(&metrics);
    show(
        "server, measured",
        measure(measured.layer(service()), received),
        bare,
    );
    let silent = server(tracer.clone()).without_traceresponse();
    show(
        "server, no traceresponse",
        measure(silent.layer(service()), received),
        bare,
    );
    let excluded = server(tracer.clone()).exclude(["/healthz", "/books/*"]);
    show(
        "server, excluded",
        measure(excluded.layer(service()), received),
        bare,
    );
    show(
        "server, unsampled",
        measure(server(unsampled.clone()).layer(service()), received),
        bare,
    );
    show(
        "client",
        measure(client(tracer.clone()).layer(service()), sent),
        bare_sent,
    );
    let measured = client(tracer).metrics(&metrics);
    show(
        "client, measured",
        measure(measured.layer(service()), sent),
        bare_sent,
    );
    show(
        "client, unsampled",
        measure(client(unsampled).layer(service()), sent),
        bare_sent,
    );
}
