//! Losses that the stock pipeline passes over: each is counted, told, and avoided where it can be.

use std::time::Duration;

use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use otlp_pipeline::{FlushError, Pipeline, Undelivered};
use tonic::Code;

use crate::{
    LONG,
    collector::{Answer, Collector},
    end_spans, is_failing, patient, provider, start, until,
};

fn undelivered(told: Result<(), FlushError>) -> Undelivered {
    match told {
        Err(FlushError::Undelivered(told)) => told,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_queue_is_counted_exactly_and_at_any_time() {
    let collector = Collector::new(Answer::Hang);
    let mut config = patient(collector.endpoint());
    config.max_queue_size = Some(2048);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 20_000);
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.ended, accounts.pending, accounts.dropped.full),
        (20_000, 2048, 17_952)
    );
    collector.answer(Answer::Accept);
    let told = undelivered(pipeline.shutdown(LONG));
    assert_eq!(told.dropped, accounts.dropped);
    assert_eq!(collector.len(), 2048);
}

#[test]
fn a_request_that_fails_is_repeated_until_it_arrives() {
    for code in [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::Cancelled,
        Code::OutOfRange,
        Code::DataLoss,
    ] {
        let collector = Collector::new(Answer::FailOnce(code));
        let (pipeline, provider) = start(&collector);
        end_spans(&provider, 1000);
        provider.shutdown().unwrap();
        assert_eq!(
            (collector.len(), collector.attempts()),
            (1000, 2),
            "{code:?}"
        );
        assert_eq!(pipeline.accounts().exported, 1000);
    }
}

#[test]
fn spans_end_and_wait_while_a_request_is_repeated() {
    let collector = Collector::new(Answer::Fail(Code::Unavailable));
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 10);
    until("a failure", || is_failing(&pipeline));
    let told = undelivered(pipeline.flush(Duration::from_millis(1)));
    assert_eq!(told.pending, 10);
    assert!(told.cause.unwrap().contains("says the test"));
    end_spans(&provider, 10);
    collector.answer(Answer::Accept);
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 20);
}

#[test]
fn what_a_collector_refuses_is_not_repeated() {
    let collector = Collector::new(Answer::Fail(Code::PermissionDenied));
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 10);
    let told = undelivered(pipeline.flush(LONG));
    assert_eq!((told.dropped.refused, told.total()), (10, 10));
    assert!(told.cause.unwrap().contains("says the test"));
    assert_eq!(collector.attempts(), 1);
}

#[test]
fn an_early_loss_is_told_by_a_later_flush() {
    let collector = Collector::new(Answer::Fail(Code::PermissionDenied));
    let mut config = patient(collector.endpoint());
    config.max_batch_size = Some(10);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 10);
    until("the refusal", || pipeline.accounts().dropped.refused == 10);
    collector.answer(Answer::Accept);
    end_spans(&provider, 10);
    until("the rest", || collector.len() == 10);
    // Of the last request alone there would be nothing to tell.
    let told = provider.shutdown().unwrap_err();
    assert!(
        told.to_string()
            .contains("10 spans were not delivered: 10 refused"),
        "{told}"
    );
}

#[test]
fn a_partial_success_is_counted_and_told() {
    let collector = Collector::new(Answer::Reject(3));
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 10);
    let told = undelivered(pipeline.flush(LONG));
    assert_eq!(
        (told.dropped.rejected, told.cause.as_deref()),
        (3, Some("too old"))
    );
    let accounts = pipeline.accounts();
    assert_eq!((accounts.exported, accounts.dropped.rejected), (7, 3));
    assert_eq!(collector.attempts(), 1);
}

#[test]
fn a_time_limit_for_retries_is_kept() {
    let collector = Collector::new(Answer::Fail(Code::Unavailable));
    let mut config = patient(collector.endpoint());
    config.retry.initial = Duration::from_millis(1);
    config.retry.give_up_after = Duration::from_millis(100);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 10);
    let told = undelivered(pipeline.flush(LONG));
    assert_eq!((told.dropped.gave_up, told.total()), (10, 10));
}

#[test]
fn times_that_are_absurd_are_as_good_as_long_ones() {
    let collector = Collector::new(Answer::FailOnce(Code::Unavailable));
    let mut config = patient(collector.endpoint());
    config.schedule_delay = Duration::MAX;
    config.timeout = Duration::MAX;
    config.retry.give_up_after = Duration::MAX;
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 1);
    assert_eq!(pipeline.flush(LONG), Ok(()));
    end_spans(&provider, 1);
    assert_eq!(pipeline.shutdown(Duration::MAX), Ok(()));
    assert_eq!((collector.len(), pipeline.accounts().exported), (2, 2));
}

#[test]
fn another_processor_of_the_provider_gets_its_spans_too() {
    #[derive(Debug)]
    struct Nobody;
    impl SpanExporter for Nobody {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Ok(())
        }
    }
    let collector = Collector::new(Answer::Accept);
    let pipeline = Pipeline::start(patient(collector.endpoint())).unwrap();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(Nobody)
        .with_span_processor(pipeline.processor())
        .build();
    end_spans(&provider, 10);
    provider.shutdown().unwrap();
    assert_eq!(collector.len(), 10);
}
