//! What is in the log of a service, and that nothing of it is traced.

use std::sync::{Mutex, OnceLock};

use opentelemetry::Context;
use otlp_pipeline::Pipeline;
use tonic::Code;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer,
    layer::{Context as LayerContext, SubscriberExt},
};

use crate::{
    LONG,
    collector::{Answer, Collector},
    end_spans,
    line::Line,
    patient, provider, until,
};

/// Keeps the lines of all pipelines in the process, and looks whether what the exporter does could be traced.
struct Log;

#[derive(Debug, Default)]
struct Lines {
    of_pipelines: Vec<Line>,
    /// Events and spans of the exporters' threads.
    by_exporters: usize,
    traced: Vec<&'static str>,
}

static LINES: Mutex<Option<Lines>> = Mutex::new(None);

fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let subscriber = tracing_subscriber::registry().with(Log);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

fn with_lines<T>(f: impl FnOnce(&mut Lines) -> T) -> T {
    f(LINES.lock().unwrap().get_or_insert_default())
}

fn messages(collector: &Collector) -> Vec<String> {
    with_lines(|lines| {
        let ours = lines.of_pipelines.iter();
        let ours = ours.filter(|line| line.endpoint == collector.endpoint());
        ours.map(|line| line.message.clone()).collect()
    })
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        look(event.metadata().target());
        if let Some(line) = Line::of(event) {
            with_lines(|lines| lines.of_pipelines.push(line));
        }
    }

    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::Id,
        _: LayerContext<'_, S>,
    ) {
        look(attributes.metadata().target());
    }
}

fn look(target: &'static str) {
    if std::thread::current().name() == Some("otlp-pipeline") {
        with_lines(|lines| {
            lines.by_exporters += 1;
            if !Context::is_current_telemetry_suppressed() {
                lines.traced.push(target);
            }
        });
    }
}

#[test]
fn the_log_tells_of_a_failure_its_end_the_drops_and_the_accounts_and_no_more() {
    listen();
    let collector = Collector::new(Answer::Fail(Code::Unavailable));
    let mut config = patient(collector.endpoint());
    config.retry.initial = std::time::Duration::from_millis(1);
    config.retry.max = std::time::Duration::from_millis(1);
    config.max_queue_size = Some(10);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 10);
    until("ten attempts", || collector.attempts() >= 10);
    let failing = "spans cannot be sent, and wait";
    assert_eq!(messages(&collector), [failing]);

    end_spans(&provider, 1000);
    let dropping = "spans are dropped";
    until("the drops", || messages(&collector) == [failing, dropping]);

    collector.answer(Answer::Accept);
    pipeline.flush(LONG).unwrap_err();
    let again = "spans are sent again";
    assert_eq!(messages(&collector), [failing, dropping, again]);

    end_spans(&provider, 5);
    pipeline.shutdown(LONG).unwrap();
    let last = "not all spans that ended were delivered";
    assert_eq!(messages(&collector), [failing, dropping, again, last]);
}

#[test]
fn a_service_without_trouble_has_one_line_at_its_end() {
    listen();
    let collector = Collector::new(Answer::Accept);
    let pipeline = Pipeline::start(patient(collector.endpoint())).unwrap();
    let provider = provider(&pipeline);
    for _ in 0..10 {
        end_spans(&provider, 10);
        pipeline.flush(LONG).unwrap();
    }
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(
        messages(&collector),
        ["all spans that ended were delivered"]
    );
}

#[test]
fn nothing_that_the_exporter_does_is_traced() {
    listen();
    let collector = Collector::new(Answer::FailOnce(Code::Unavailable));
    // A name, so that the resolver is at work too.
    let endpoint = collector.endpoint().replace("127.0.0.1", "localhost");
    let pipeline = Pipeline::start(patient(&endpoint)).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 10);
    provider.shutdown().unwrap();
    with_lines(|lines| {
        // Those of hyper and h2, which a subscriber for everything gets to see.
        assert!(lines.by_exporters > 10, "{} events", lines.by_exporters);
        assert!(lines.traced.is_empty(), "{:?}", lines.traced);
    });
}
