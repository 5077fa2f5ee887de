//! That every span is accounted for.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use super::{
    LONG,
    collector::{Answer, Collector, spans_in},
    end_spans, patient, provider, start, tracer, until,
};
use crate::{Accounts, Config, Dropped, FlushError, Undelivered, signal::Signal};

fn undelivered(dropped: Dropped, pending: u64) -> Result<(), FlushError> {
    let cause = Some("says the test".to_owned());
    Err(FlushError::Undelivered(Undelivered {
        dropped,
        pending,
        cause,
        signal: Signal::Spans,
    }))
}

#[test]
fn spans_of_several_providers_and_scopes_keep_their_resource_and_scope() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (a, b) = (provider(&pipeline, "a"), provider(&pipeline, "b"));
    let versioned = || InstrumentationScope::builder("y").with_version("2").build();
    for _ in 0..2 {
        a.tracer("x").start("a x").end();
        b.tracer("x").start("b x").end();
        a.tracer_with_scope(versioned()).start("a y").end();
    }
    pipeline.flush(LONG).unwrap();

    let mut found = Vec::new();
    for of_resource in collector.resource_spans() {
        let service = &of_resource.resource.as_ref().unwrap().attributes[0];
        assert_eq!(service.key, "service.name");
        let service = service.value.clone().unwrap().value.unwrap();
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.unwrap();
            let names: Vec<_> = of_scope.spans.into_iter().map(|span| span.name).collect();
            found.push((service.clone(), scope.name, scope.version, names));
        }
    }
    let row = |service: &str, scope: &str, version: &str, name: &str| {
        let names = vec![name.to_owned(), name.to_owned()];
        (
            Value::StringValue(service.to_owned()),
            scope.to_owned(),
            version.to_owned(),
            names,
        )
    };
    assert_eq!(collector.received().len(), 1);
    assert_eq!(
        found,
        [
            row("a", "x", "", "a x"),
            row("a", "y", "2", "a y"),
            row("b", "x", "", "b x")
        ]
    );
}

#[test]
fn the_books_balance_while_spans_come_and_go() {
    const THREADS: usize = 4;
    const SPANS: usize = 20_000;
    let collector = Collector::new(Answer::Accept);
    // Little memory, so that some are dropped.
    let config = Config {
        max_memory: 200_000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Relaxed) {
                let Accounts {
                    started,
                    ended,
                    exported,
                    dropped,
                    pending,
                } = pipeline.accounts();
                assert_eq!(ended, exported + dropped.total() + pending);
                assert!(started >= ended, "{started} started, {ended} ended");
                looks.fetch_add(1, Relaxed);
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| end_spans(&tracer, SPANS)))
            .collect();
        for answer in [
            Answer::Hang,
            Answer::Accept,
            Answer::Refuse,
            Answer::Reject(7),
            Answer::GiveUp,
        ] {
            collector.answer(answer);
            let _ = pipeline.flush(std::time::Duration::from_millis(1));
            let before = looks.load(Relaxed);
            until("a look", || looks.load(Relaxed) > before + 2);
        }
        collector.answer(Answer::Accept);
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Relaxed);
        reader.join().unwrap();
    });
    let _ = pipeline.flush(LONG);

    let accounts = pipeline.accounts();
    let all = (THREADS * SPANS) as u64;
    assert_eq!(
        (accounts.started, accounts.ended, accounts.pending),
        (all, all, 0)
    );
    assert_eq!(accounts.exported + accounts.dropped.total(), all);
    let reached: usize = collector.received().iter().map(spans_in).sum();
    assert_eq!(reached as u64, all - accounts.dropped.full);
    // Those of a partial success are not in `len`.
    assert!(accounts.exported >= collector.len() as u64);
    assert_eq!(pipeline.shutdown(LONG), Ok(()));
}

#[test]
fn spans_that_are_not_sampled_are_neither_counted_nor_sent() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let provider = SdkTracerProvider::builder()
        .with_sampler(RecordOnly)
        .with_span_processor(pipeline.processor())
        .build();
    let mut span = provider.tracer("scope").start("span");
    assert!(span.is_recording());
    span.end();
    pipeline.flush(LONG).unwrap();
    assert_eq!(pipeline.accounts(), Accounts::default());
    assert_eq!(collector.received().len(), 0);
}

#[derive(Clone, Debug)]
struct RecordOnly;

impl opentelemetry_sdk::trace::ShouldSample for RecordOnly {
    fn should_sample(
        &self,
        parent: Option<&opentelemetry::Context>,
        trace: opentelemetry::TraceId,
        name: &str,
        kind: &opentelemetry::trace::SpanKind,
        attributes: &[KeyValue],
        links: &[opentelemetry::trace::Link],
    ) -> opentelemetry_sdk::trace::SamplingResult {
        let decision = opentelemetry_sdk::trace::SamplingDecision::RecordOnly;
        let on = Sampler::AlwaysOn.should_sample(parent, trace, name, kind, attributes, links);
        opentelemetry_sdk::trace::SamplingResult { decision, ..on }
    }
}

#[test]
fn a_flush_tells_what_was_lost_since_the_last_one() {
    let collector = Collector::new(Answer::Refuse);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    let none = Dropped::default();

    end_spans(&tracer, 3);
    let lost = Dropped { refused: 3, ..none };
    assert_eq!(pipeline.flush(LONG), undelivered(lost, 0));
    assert_eq!(pipeline.flush(LONG), Ok(()), "it was told already");

    collector.answer(Answer::Reject(2));
    end_spans(&tracer, 3);
    let lost = Dropped {
        rejected: 2,
        ..none
    };
    assert_eq!(pipeline.flush(LONG), undelivered(lost, 0));

    collector.answer(Answer::GiveUp);
    end_spans(&tracer, 5);
    let lost = Dropped { gave_up: 5, ..none };
    let told = pipeline.flush(LONG);
    assert_eq!(told, undelivered(lost, 0));
    let text = told.unwrap_err().to_string();
    assert_eq!(
        text,
        "5 spans were not delivered: 5 given up after retries (says the test)"
    );

    collector.answer(Answer::Accept);
    end_spans(&tracer, 7);
    assert_eq!(pipeline.flush(LONG), Ok(()));
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.ended, accounts.exported, accounts.dropped.total()),
        (18, 8, 10)
    );
}

#[test]
fn a_collector_that_rejects_more_than_it_was_sent_is_not_believed() {
    let collector = Collector::new(Answer::Reject(u64::MAX));
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let rejected = Dropped {
        rejected: 3,
        ..Dropped::default()
    };
    assert_eq!(pipeline.flush(LONG), undelivered(rejected, 0));
}

#[test]
fn a_flush_that_takes_too_long_tells_how_many_wait_and_they_are_sent_later() {
    let collector = Collector::new(Answer::Fail);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let short = std::time::Duration::from_millis(10);
    let _ = pipeline.flush(short);
    until("the request", || collector.received().len() == 1);
    assert_eq!(pipeline.flush(short), undelivered(Dropped::default(), 3));
    // These are not what the first flush waits for.
    end_spans(&tracer, 2);
    assert_eq!(pipeline.flush(short), undelivered(Dropped::default(), 5));
    let accounts = pipeline.accounts();
    assert_eq!((accounts.ended, accounts.pending), (5, 5));

    collector.answer(Answer::Accept);
    assert_eq!(pipeline.flush(LONG), Ok(()));
    assert_eq!(collector.len(), 5);
}

#[test]
fn a_flush_does_not_wait_for_what_ends_after_it() {
    let collector = Collector::new(Answer::Hang);
    let config = Config {
        max_batch_size: Some(2),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 2);
    until("the first request", || collector.received().len() == 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let flush = pipeline.flush_async(LONG);
    // Goes to the exporter after the first one, which has the spans of the first request only.
    until("the exporter", || {
        pipeline.flush(std::time::Duration::ZERO).is_err()
    });
    end_spans(&tracer, 2);
    collector.answer(Answer::Accept);
    runtime.block_on(flush).unwrap();
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 4);
}

#[test]
fn spans_wait_for_company_and_no_longer_than_they_may() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        schedule_delay: std::time::Duration::from_millis(1),
        ..Config::default()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 1);
    until("the span", || collector.len() == 1);
}

#[test]
fn a_panic_of_the_exporter_is_counted_and_not_its_end() {
    let collector = Collector::new(Answer::Panic);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let Err(FlushError::Undelivered(told)) = pipeline.flush(LONG) else {
        panic!("the spans were lost");
    };
    assert_eq!(
        told.dropped,
        Dropped {
            panicked: 3,
            ..Dropped::default()
        }
    );
    assert_eq!(
        told.cause.unwrap(),
        "the exporter panicked: as the test wants it"
    );

    collector.answer(Answer::Accept);
    end_spans(&tracer, 2);
    assert_eq!(pipeline.flush(LONG), Ok(()));
    assert_eq!(collector.len(), 2);
    assert_eq!(pipeline.accounts().pending, 0);
}
