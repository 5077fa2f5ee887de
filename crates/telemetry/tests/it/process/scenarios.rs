//! What the other process does.

use std::{collections::HashMap, error::Error, fmt, io, io::Write as _, time::Duration};

use axum::{Router, extract::Path, routing::get};
use opentelemetry::{
    Array, Context, KeyValue, Value, global,
    propagation::TextMapPropagator as _,
    trace::{
        Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState,
        Tracer as _,
    },
};
use telemetry::http::ServerLayer;
use tokio::net::TcpListener;
use tracing::{debug, info, info_span};

pub(super) fn play(scenario: &str) {
    match scenario {
        "twice" => twice(),
        "package" => package(),
        "global" => of_the_global_api(),
        "logs" => logs(),
        "hostile" => hostile(),
        "overflow" => overflow(),
        "subscriber" => subscriber(),
        "many" => many(),
        "console" => console(),
        "bridge" => bridge(),
        "sent" => sent(),
        "dropped" => dropped(),
        "storm" => storm(),
        "paced" => paced(),
        "flushed" => flushed(),
        "bad_headers" => bad_headers(),
        "stop" => stop(Duration::ZERO),
        // A day: it ends by the second signal.
        "stop_late" => stop(Duration::from_secs(86_400)),
        "busy" => busy(),
        other => panic!("what is {other}?"),
    }
}

fn twice() {
    let first = telemetry::init!().unwrap();
    let second = telemetry::init!().unwrap_err();
    info!("{second}");
    let _ = first.shutdown_blocking();
    let third = telemetry::init!();
    assert!(third.is_err());
}

fn package() {
    let telemetry = telemetry::init!().unwrap();
    let version = telemetry.resource().get(&"service.version".into()).unwrap();
    info!(name = telemetry.service_name(), version = %version, "package");
    telemetry.shutdown_blocking().unwrap();
}

fn of_the_global_api() {
    let telemetry = telemetry::init!().unwrap();
    let span = global::tracer("t").start("s");
    let cx = Context::new().with_span(span);
    let mut headers = HashMap::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&cx, &mut headers));
    {
        let _current = cx.attach();
        info!("uber-trace-id" = headers["uber-trace-id"], "headers");
    }
    drop(telemetry);
}

#[derive(Debug)]
struct Outer(Inner);

#[derive(Debug)]
struct Inner;

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Error for Inner {}

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("inner")
    }
}

fn logs() {
    let telemetry = telemetry::init!().unwrap();
    let outer: &(dyn Error + 'static) = &Outer(Inner);
    info!(
        text = "a \"b\"",
        number = -1,
        big = u128::MAX,
        real = 0.5,
        none = f64::NAN,
        yes = true,
        debug = ?Some(1),
        error = outer,
        "outside"
    );
    let span = telemetry.tracer("t").start("s");
    let ids = span.span_context().clone();
    let cx = Context::new().with_span(span);
    let current = cx.attach();
    info!(
        trace = ids.trace_id().to_string(),
        span = ids.span_id().to_string(),
        "inside"
    );
    info!("inside");
    drop(current);
    debug!("too fine");
    log::warn!(target: "elsewhere", "of log");
    info!(name: "shop.opened", "named");
    drop(telemetry);
}

/// Five records, whatever is in them.
fn hostile() {
    let telemetry = telemetry::init!().unwrap();
    let forged =
        "a\n{\"trace_id\":\"forged\",\"level\":\"ERROR\"}\r\n\u{1b}[31m\u{85}\u{2028}\u{202e}\u{0}";
    info!("{forged}");
    info!(
        trace_id = "forged",
        level = "ERROR",
        "service.name" = forged,
        "fields"
    );
    let span = info_span!("span", trace_id = "forged", text = forged, shown = %forged);
    span.in_scope(|| info!("in a span"));
    log::info!("{forged}");
    log::info!(target: forged, "from a target");
    drop(telemetry);
}

/// As many contexts as the API has room for, and one more, of which it complains while it holds on to the current one.
fn overflow() {
    let telemetry = telemetry::init!().unwrap();
    let guards: Vec<_> = (0..=u16::MAX).map(|_| Context::new().attach()).collect();
    info!("it goes on");
    drop(guards);
    drop(telemetry);
}

fn subscriber() {
    let ours = tracing_subscriber::fmt().with_ansi(false);
    ours.with_env_filter("it=info,telemetry=info,opentelemetry_sdk=warn")
        .init();
    let telemetry = telemetry::init!().unwrap();
    info!("mine");
    drop(telemetry);
}

/// Begins when nobody reads any more.
fn many() {
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    let telemetry = telemetry::init!().unwrap();
    let tracer = telemetry.tracer("t");
    for nth in 0..1000 {
        let _span = tracer.start("s");
        info!(nth, "{}", "x".repeat(100));
    }
    telemetry.shutdown_blocking().unwrap();
    let _ = writeln!(io::stderr(), "many: all of it done");
}

fn console() {
    let telemetry = telemetry::init!().unwrap();
    let tracer = telemetry.tracer("t");
    let parent = tracer
        .span_builder("parent")
        .with_kind(SpanKind::Server)
        .start(&tracer);
    let cx = Context::new().with_span(parent);
    let mut child = tracer.start_with_context("child\nwith a line", &cx);
    child.set_attribute(KeyValue::new("a", 1));
    let list = Array::String(vec!["x".into(), "y".into()]);
    child.set_attribute(KeyValue::new("b", Value::Array(list)));
    child.set_attribute(KeyValue::new("c", "d"));
    child.add_event("e", vec![KeyValue::new("k", true)]);
    child.set_status(Status::error("broken"));
    child.end();
    cx.span().end();
    telemetry.shutdown_blocking().unwrap();
}

fn bridge() {
    let telemetry = telemetry::builder("shop", "").bridge().init().unwrap();
    {
        let outer = info_span!("outer", user = "bob").entered();
        let of_export = info_span!(target: "h2::client", "of the connection").entered();
        drop(of_export);
        let of_telemetry = info_span!(target: "otlp_pipeline", "of telemetry").entered();
        drop(of_telemetry);
        let too_fine = tracing::debug_span!("too fine").entered();
        drop(too_fine);
        info_span!("inner").in_scope(|| info!("inside"));
        let outer = outer.exit();
        info!(parent: &outer, "named");
    }
    telemetry.shutdown_blocking().unwrap();
}

fn sent() {
    let telemetry = telemetry::init!().unwrap();
    telemetry.tracer("t").start("s").end();
    match telemetry.shutdown_blocking() {
        Ok(outcome) => info!(exported = outcome.spans.exported, "sent"),
        Err(error) => info!(%error, "not sent"),
    }
}

fn dropped() {
    let telemetry = telemetry::init!().unwrap();
    let tracer = telemetry.tracer("t");
    for _ in 0..3 {
        tracer.start("s").end();
    }
}

fn storm() {
    let telemetry = telemetry::init!().unwrap();
    let tracer = telemetry.tracer("t");
    let caller = SpanContext::new(
        1.into(),
        2.into(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let cx = Context::new().with_remote_span_context(caller);
    let spans = (0..1000).map(|_| tracer.start_with_context("s", &cx));
    let sampled = spans
        .filter(|span| span.span_context().is_sampled())
        .count();
    info!(sampled, limited = telemetry.limited(), "counted");
}

/// Tells each step of a stop.
fn stop(delay: Duration) {
    let telemetry = telemetry::init!().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stop = telemetry::stop::Stop::on_signals(delay).unwrap();
        let readiness = stop.readiness();
        info!(ready = readiness.is_ready(), "listening");
        let unready = async {
            while readiness.is_ready() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            info!("unready");
        };
        tokio::join!(unready, stop.draining());
        info!("draining");
        telemetry.shutdown().await.unwrap();
    });
}

/// A service that answers no request before it is told to stop.
fn busy() {
    let telemetry = telemetry::init!().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stop = telemetry::stop::Stop::on_signals(Duration::ZERO).unwrap();
        let readiness = stop.readiness();
        let slow = async move |Path(nth): Path<u32>| {
            info!(nth, "asked");
            while readiness.is_ready() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            nth.to_string()
        };
        let app = Router::new()
            .route("/slow/{nth}", get(slow))
            .layer(ServerLayer::new(telemetry.tracer("t")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        info!(address = %listener.local_addr().unwrap(), "listening");
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.draining());
        served.await.unwrap();
        telemetry.shutdown().await.unwrap();
        info!("stopped");
    });
}

/// A span and a record at a time, each sent before the next.
fn paced() {
    let telemetry = telemetry::init!().unwrap();
    let tracer = telemetry.tracer("t");
    for nth in 1..=5 {
        tracer.start("s").end();
        info!(nth, "on its way");
        while telemetry.log_accounts().pending > 0 {
            std::thread::yield_now();
        }
    }
    let error = telemetry.shutdown_blocking().unwrap_err();
    let outcome = error.outcome();
    info!(
        error = error.to_string(),
        refused = outcome.logs.dropped.refused,
        spans = outcome.spans.exported,
        "ended"
    );
}

/// Spans and records that a flush is asked for, and others.
fn flushed() {
    let telemetry = telemetry::init!().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let tracer = telemetry.tracer("t");
    for nth in 1..=2 {
        tracer.start("s").end();
        info!(nth, "flushed");
        let outcome = runtime.block_on(telemetry.flush()).unwrap();
        info!(
            spans = outcome.spans.exported,
            logs = outcome.logs.exported,
            "so far"
        );
    }
    telemetry.shutdown_blocking().unwrap();
}

fn bad_headers() {
    let telemetry = telemetry::init!().unwrap();
    let headers = HashMap::from([("traceparent".to_owned(), "nonsense".to_owned())]);
    for _ in 0..1000 {
        telemetry.propagator().extract(&headers);
    }
    let total = telemetry.bad_contexts().total();
    info!(total, "counted");
}
