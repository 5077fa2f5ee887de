//! What arrives at a collector, and what a shutdown says of it, from every shape of runtime.

use std::{
    net::TcpListener,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use faults::{Answer, Authority, Collector, Failure};
use opentelemetry::{
    Context,
    trace::{Span as _, Tracer as _},
};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};
use telemetry::{Builder, Outcome, ShutdownError, Telemetry};
use tokio::runtime::{self, Runtime};

use crate::recorder::builder;

/// More than any of this takes on a busy machine, and less than forever.
const LONG: Duration = Duration::from_secs(60);

fn to(endpoint: &str) -> Builder {
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}");
    builder(&[&endpoint]).shutdown_timeout(LONG)
}

fn start(collector: &Collector) -> Telemetry {
    to(&collector.grpc_endpoint()).build().unwrap()
}

fn spans(telemetry: &Telemetry, count: u64) {
    let tracer = telemetry.tracer("t");
    for _ in 0..count {
        tracer.start("s").end();
    }
}

fn arrived(collector: &Collector) -> usize {
    let exports = collector.exports();
    let taken = exports.iter().filter(|export| export.taken());
    taken.map(|export| export.spans().count()).sum()
}

fn current_thread() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn workers(count: usize) -> Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(count).enable_all().build().unwrap()
}

/// Runs what could hang on a thread of its own.
fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(what()));
    result.recv_timeout(2 * LONG).expect("it ends")
}

/// All of the spans arrived, and the shutdown knows it.
fn delivered(
    shape: &str,
    shut_down: impl FnOnce(Telemetry) -> Result<Outcome, ShutdownError> + Send + 'static,
) {
    let collector = Collector::start(|_| Answer::Accept);
    let telemetry = start(&collector);
    let accounts = in_time(move || shut_down(telemetry)).unwrap().spans;
    assert_eq!(
        (accounts.ended, accounts.exported, accounts.pending),
        (100, 100, 0),
        "{shape}"
    );
    assert_eq!(arrived(&collector), 100, "{shape}");
}

#[test]
fn a_shutdown_delivers_from_every_shape_of_runtime() {
    delivered("without a runtime", |telemetry| {
        spans(&telemetry, 100);
        telemetry.shutdown_blocking()
    });
    delivered("the main task of a runtime with one thread", |telemetry| {
        current_thread().block_on(async {
            spans(&telemetry, 100);
            telemetry.shutdown().await
        })
    });
    delivered("blocking the only thread of a runtime", |telemetry| {
        current_thread().block_on(async {
            spans(&telemetry, 100);
            telemetry.shutdown_blocking()
        })
    });
    delivered(
        "a blocking thread of a runtime with one thread",
        |telemetry| {
            current_thread().block_on(async {
                spans(&telemetry, 100);
                let stop = || telemetry.shutdown_blocking();
                tokio::task::spawn_blocking(stop).await.unwrap()
            })
        },
    );
    for count in [1, 2, 4] {
        delivered("the main task of a runtime", move |telemetry| {
            workers(count).block_on(async {
                spans(&telemetry, 100);
                telemetry.shutdown().await
            })
        });
        delivered("a task of a runtime", move |telemetry| {
            let runtime = workers(count);
            let task = runtime.spawn(async {
                spans(&telemetry, 100);
                telemetry.shutdown().await
            });
            runtime.block_on(task).unwrap()
        });
        delivered("a task that blocks", move |telemetry| {
            let runtime = workers(count);
            let task = runtime.spawn(async {
                spans(&telemetry, 100);
                telemetry.shutdown_blocking()
            });
            runtime.block_on(task).unwrap()
        });
        delivered("a task that yields and blocks", move |telemetry| {
            let runtime = workers(count);
            let task = runtime.spawn(async {
                spans(&telemetry, 100);
                tokio::task::yield_now().await;
                telemetry.shutdown_blocking()
            });
            runtime.block_on(task).unwrap()
        });
        delivered("a task that blocks in place", move |telemetry| {
            let runtime = workers(count);
            let task = runtime.spawn(async {
                spans(&telemetry, 100);
                tokio::task::block_in_place(|| telemetry.shutdown_blocking())
            });
            runtime.block_on(task).unwrap()
        });
    }
    delivered("outside of the runtime that it was used in", |telemetry| {
        let runtime = current_thread();
        runtime.block_on(async { spans(&telemetry, 50) });
        spans(&telemetry, 50);
        drop(runtime);
        telemetry.shutdown_blocking()
    });
}

#[test]
fn one_task_may_start_use_and_stop_telemetry_without_a_pause() {
    for count in [1, 2, 4] {
        let collector = Collector::start(|_| Answer::Accept);
        let endpoint = collector.grpc_endpoint();
        let accounts = in_time(move || {
            let runtime = workers(count);
            let task = runtime.spawn(async move {
                let telemetry = to(&endpoint).build().unwrap();
                spans(&telemetry, 100);
                telemetry.shutdown_blocking()
            });
            runtime.block_on(task).unwrap()
        });
        assert_eq!(accounts.unwrap().spans.exported, 100);
        assert_eq!(arrived(&collector), 100);
    }
}

#[test]
fn dropping_telemetry_delivers_too_whoever_else_has_its_provider() {
    let collector = Collector::start(|_| Answer::Accept);
    let telemetry = start(&collector);
    let (tracer, other) = (telemetry.tracer("t"), telemetry.thread_tracer("t"));
    spans(&telemetry, 100);
    in_time(move || current_thread().block_on(async { drop(telemetry) }));
    assert_eq!(arrived(&collector), 100);
    // Who still makes spans does no harm.
    tracer.start("late").end();
    other.start("late").end();
    drop((tracer, other));
    assert_eq!(arrived(&collector), 100);
}

#[test]
fn what_ends_too_late_is_told_after_the_guard_is_gone() {
    let collector = Collector::start(|_| Answer::Accept);
    let telemetry = start(&collector);
    let (tracer, ledger) = (telemetry.tracer("t"), telemetry.ledger());
    tracer.start("s").end();
    let open = tracer.start("open");
    telemetry.shutdown_blocking().unwrap();
    drop(open);
    tracer.start("late").end();
    let spans = ledger.outcome().spans;
    assert_eq!((spans.ended, spans.exported), (3, 1), "{spans:?}");
    assert_eq!(spans.dropped.late, 2, "{spans:?}");
}

#[test]
fn spans_of_all_threads_and_providers_arrive() {
    let collector = Collector::start(|_| Answer::Accept);
    let telemetry = start(&collector);
    thread::scope(|scope| {
        for _ in 0..4 {
            let tracer = telemetry.thread_tracer("worker");
            scope.spawn(move || {
                for _ in 0..250 {
                    tracer.start("s").end();
                }
            });
        }
    });
    let accounts = telemetry.shutdown_blocking().unwrap().spans;
    assert_eq!(
        (accounts.started, accounts.ended, accounts.exported),
        (1000, 1000, 1000)
    );
    assert_eq!(arrived(&collector), 1000);
    let exports = collector.exports();
    let resources = exports
        .iter()
        .flat_map(|export| &export.request.resource_spans);
    for resource in resources {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        assert!(
            attributes
                .iter()
                .any(|attribute| attribute.key == "service.name")
        );
        assert_eq!(
            resource.schema_url,
            opentelemetry_semantic_conventions::SCHEMA_URL
        );
    }
}

#[test]
fn without_a_collector_a_shutdown_says_what_was_lost() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let telemetry = to(&format!("http://{closed}"))
        .shutdown_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    spans(&telemetry, 100);
    let begun = Instant::now();
    let lost = in_time(move || current_thread().block_on(telemetry.shutdown())).unwrap_err();
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(lost.undelivered().unwrap().total(), 100, "{lost}");
    let accounts = lost.outcome().spans;
    assert_eq!((accounts.ended, accounts.exported), (100, 0));
    assert_eq!(
        accounts.dropped.total() + accounts.pending,
        100,
        "{accounts:?}"
    );
    assert!(
        lost.to_string().starts_with("100 spans were not delivered"),
        "{lost}"
    );
}

#[test]
fn a_collector_that_says_nothing_cannot_hold_a_shutdown_up() {
    let collector = Collector::start(|_| Answer::Silence);
    for variables in [vec![], vec!["OTEL_EXPORTER_OTLP_TIMEOUT=100".to_owned()]] {
        let mut variables = variables;
        variables.push(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT={}",
            collector.grpc_endpoint()
        ));
        let variables: Vec<_> = variables.iter().map(String::as_str).collect();
        let telemetry = builder(&variables).shutdown_timeout(Duration::from_millis(400));
        let telemetry = telemetry.build().unwrap();
        spans(&telemetry, 10);
        let lost = in_time(move || telemetry.shutdown_blocking()).unwrap_err();
        assert_eq!(lost.undelivered().unwrap().total(), 10, "{lost}");
    }
}

#[test]
fn a_collector_that_was_not_ready_gets_all_in_the_end() {
    let mut nth = 0;
    let collector = Collector::start(move |_| {
        nth += 1;
        match nth {
            1 => Answer::Fail(Failure::unavailable()),
            2 => Answer::BreakOff,
            _ => Answer::Accept,
        }
    });
    let telemetry = start(&collector);
    spans(&telemetry, 100);
    let accounts = telemetry.shutdown_blocking().unwrap().spans;
    assert_eq!((accounts.ended, accounts.exported), (100, 100));
    assert!(collector.exports().len() >= 3);
}

#[test]
fn what_the_collector_refuses_is_told() {
    let collector = Collector::start(|_| Answer::Fail(Failure::invalid()));
    let telemetry = start(&collector);
    spans(&telemetry, 7);
    let lost = telemetry.shutdown_blocking().unwrap_err();
    assert_eq!(lost.outcome().spans.dropped.refused, 7);
    assert!(lost.to_string().contains("this is not for me"), "{lost}");
}

#[test]
fn variables_reach_the_wire() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start(|_| Answer::Accept);
        let variables = [
            format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.grpc_endpoint()),
            format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}"),
            "OTEL_EXPORTER_OTLP_HEADERS=x-tok=a%20b,authorization=Bearer%20z".to_owned(),
            "OTEL_EXPORTER_OTLP_COMPRESSION=gzip".to_owned(),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=10".to_owned(),
            "OTEL_SERVICE_NAME=elsewhere".to_owned(),
        ];
        let variables: Vec<_> = variables.iter().map(String::as_str).collect();
        let telemetry = builder(&variables).build().unwrap();
        assert_eq!(telemetry.problems(), []);
        spans(&telemetry, 25);
        telemetry.shutdown_blocking().unwrap();
        let exports = collector.exports();
        assert_eq!(arrived(&collector), 25, "{protocol}");
        for export in &exports {
            assert!(export.compressed, "{protocol}");
            assert_eq!(export.headers["x-tok"], "a b", "{protocol}");
            assert_eq!(export.headers["authorization"], "Bearer z", "{protocol}");
            assert!(export.spans().count() <= 10, "{protocol}");
        }
        let path = match protocol {
            "grpc" => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            _ => "/v1/traces",
        };
        assert_eq!(exports[0].path, path);
    }
}

#[test]
fn a_full_queue_is_counted_to_the_span() {
    let collector = Collector::start(|_| Answer::Silence);
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.grpc_endpoint());
    let telemetry = builder(&[&endpoint, "OTEL_BSP_MAX_QUEUE_SIZE=100"]);
    let telemetry = telemetry
        .shutdown_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    spans(&telemetry, 1000);
    let accounts = telemetry.accounts();
    assert_eq!((accounts.started, accounts.ended), (1000, 1000));
    assert_eq!(accounts.dropped.full, 900);
    let lost = telemetry.shutdown_blocking().unwrap_err();
    assert_eq!(lost.undelivered().unwrap().total(), 1000, "{lost}");
}

#[test]
fn a_shutdown_tells_that_export_never_started() {
    let impossible = "OTEL_EXPORTER_OTLP_ENDPOINT=https://a..b:4317";
    let telemetry = builder(&[impossible]).build().unwrap();
    spans(&telemetry, 3);
    let failed = telemetry.shutdown_blocking().unwrap_err();
    assert_eq!(failed.undelivered(), None);
    assert_eq!(
        failed.to_string(),
        "nothing was exported: OTEL_EXPORTER_OTLP_ENDPOINT: `https://a..b:4317` names a host that no certificate can be for; \
         using no export of spans"
    );
    // Who wants none has nothing to hear of.
    let telemetry = builder(&[impossible, "OTEL_TRACES_EXPORTER=none"]);
    telemetry.build().unwrap().shutdown_blocking().unwrap();
}

#[derive(Debug)]
struct Failing;

impl SpanProcessor for Failing {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        Err(OTelSdkError::Timeout(timeout))
    }
}

#[test]
fn a_shutdown_tells_what_a_processor_says() {
    let telemetry = builder(&[]).processor(Failing).shutdown_timeout(LONG);
    let failed = telemetry.build().unwrap().shutdown_blocking().unwrap_err();
    let told = failed.to_string();
    assert!(
        told.starts_with("the processor of spans failed: "),
        "{told}"
    );
    assert!(told.contains("60s"), "{told}");
}

#[test]
fn what_the_pipeline_cannot_work_with_is_reported_and_left_out() {
    let collector = Collector::start(|_| Answer::Accept);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nonsense.pem");
    std::fs::write(
        &file,
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let variables = [
        format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.grpc_endpoint()),
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS=host=a,x=1,content-type=b".to_owned(),
        format!("OTEL_EXPORTER_OTLP_CERTIFICATE={}", file.display()),
    ];
    let variables: Vec<_> = variables.iter().map(String::as_str).collect();
    let telemetry = builder(&variables).build().unwrap();
    let problems: Vec<_> = telemetry
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    for told in [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS: `host` is set by the protocol; using the other headers",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS: `content-type` is set by the protocol; using the other headers",
    ] {
        assert!(problems.contains(&told.to_owned()), "{problems:#?}");
    }
    let certificate = problems
        .iter()
        .find(|told| told.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: "));
    assert!(
        certificate
            .unwrap()
            .ends_with("; using the certificates of the system"),
        "{problems:#?}"
    );
    spans(&telemetry, 1);
    telemetry.shutdown_blocking().unwrap();
    assert_eq!(collector.exports()[0].headers["x"], "1");
}

#[test]
fn certificates_of_the_environment_are_shown_and_trusted() {
    let authority = Authority::new("ours");
    let (server, client) = (
        authority.issue(&["127.0.0.1"]),
        authority.issue(&["client"]),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    for protocol in ["grpc", "http/protobuf"] {
        let tls = server.server(&["h2", "http/1.1"], Some(&authority));
        let collector = Collector::start_with(Some(tls), |_| Answer::Accept);
        let endpoint = match protocol {
            // Without a scheme it is TLS, by the specification.
            "grpc" => collector.address().to_string(),
            _ => collector.grpc_endpoint(),
        };
        let variables = [
            format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol}"),
            format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}"),
            format!(
                "OTEL_EXPORTER_OTLP_CERTIFICATE={}",
                file("ca", &authority.certificate())
            ),
            format!(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE={}",
                file("cert", &client.certificate)
            ),
            format!("OTEL_EXPORTER_OTLP_CLIENT_KEY={}", file("key", &client.key)),
        ];
        let variables: Vec<_> = variables.iter().map(String::as_str).collect();
        let telemetry = builder(&variables).shutdown_timeout(LONG).build().unwrap();
        assert_eq!(telemetry.problems(), []);
        spans(&telemetry, 3);
        assert_eq!(
            telemetry.shutdown_blocking().unwrap().spans.exported,
            3,
            "{protocol}"
        );
        assert_eq!(arrived(&collector), 3, "{protocol}");
    }
}

#[test]
fn an_endpoint_without_a_scheme_is_spoken_to_in_the_clear_if_it_is_to_be_insecure() {
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.address());
    let insecure = "OTEL_EXPORTER_OTLP_INSECURE=true";
    let telemetry = builder(&[&endpoint, insecure])
        .shutdown_timeout(LONG)
        .build()
        .unwrap();
    spans(&telemetry, 3);
    assert_eq!(telemetry.shutdown_blocking().unwrap().spans.exported, 3);
    assert_eq!(arrived(&collector), 3);
}
