//! That the end is told as it was.

use std::{
    convert::Infallible,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opentelemetry::{
    global,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{error::OTelSdkError, trace::SpanProcessor as _};

use super::{
    LONG,
    collector::{Answer, Collector},
    end_spans, patient, provider, start, tracer, until,
};
use crate::{
    Config, Dropped, FlushError, Pipeline,
    exporter::Courier,
    pipeline::GRACE,
    transport::{Event, Outcome},
};

#[test]
fn a_shutdown_sends_all_and_what_ends_later_is_late() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    let mut open = tracer.start("open");
    end_spans(&tracer, 3);
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(collector.len(), 3);
    open.end();
    let other = thread::spawn(move || end_spans(&tracer, 1));
    other.join().unwrap();
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.started, accounts.ended, accounts.exported),
        (5, 5, 3)
    );
    assert_eq!(
        accounts.dropped,
        Dropped {
            late: 2,
            ..Dropped::default()
        }
    );
    assert_eq!(accounts.pending, 0);
}

#[test]
fn a_second_shutdown_is_told_so_at_once() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (_, provider) = tracer(&pipeline);
    provider.shutdown().unwrap();
    assert!(matches!(
        provider.shutdown(),
        Err(OTelSdkError::AlreadyShutdown)
    ));
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(pipeline.shutdown(LONG), Err(FlushError::AlreadyShutdown));
    assert_eq!(pipeline.flush(LONG), Err(FlushError::AlreadyShutdown));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let told = runtime.block_on(pipeline.shutdown_async(LONG));
    assert_eq!(told, Err(FlushError::AlreadyShutdown));
    let processor = pipeline.processor();
    assert!(matches!(
        processor.force_flush(),
        Err(OTelSdkError::AlreadyShutdown)
    ));
}

#[test]
fn the_last_provider_ends_a_pipeline_without_handles_and_the_others_flush_it() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (a, b) = (provider(&pipeline, "a"), provider(&pipeline, "b"));
    drop(pipeline);
    a.tracer("scope").start("a").end();
    a.shutdown().unwrap();
    assert_eq!(collector.names(), ["a"]);
    b.tracer("scope").start("b").end();
    b.shutdown().unwrap();
    assert_eq!(collector.names(), ["a", "b"]);
    // The exporter had the other copy.
    until("the end of the thread", || collector.is_alone());
}

#[test]
fn providers_that_come_and_go_leave_the_pipeline_to_those_who_have_a_handle() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let dropped = provider(&pipeline, "dropped");
    dropped.tracer("scope").start("a").end();
    drop(dropped);
    assert_eq!(collector.names(), ["a"]);
    let shut_down = provider(&pipeline, "shut down");
    shut_down.tracer("scope").start("b").end();
    shut_down.shutdown().unwrap();
    assert_eq!(collector.names(), ["a", "b"]);
    let (_, third) = tracer(&pipeline);
    third.tracer("scope").start("c").end();
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(collector.names(), ["a", "b", "c"]);
    assert_eq!(pipeline.accounts().dropped, Dropped::default());
}

#[test]
fn a_shutdown_that_takes_too_long_tells_how_many_spans_are_lost_and_why() {
    let collector = Collector::new(Answer::Fail);
    let pipeline = start(patient(), &collector);
    let (tracer, provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let _ = pipeline.flush(Duration::ZERO);
    until("the request", || collector.received().len() == 1);
    let short = Duration::from_millis(20);
    let told = provider.shutdown_with_timeout(short).unwrap_err();
    let text = "3 spans were not delivered: 3 pending (says the test)";
    assert!(told.to_string().contains(text), "{told}");
    let told = pipeline.shutdown(short).unwrap_err();
    let text = "3 spans were not delivered: 3 unsent when the time for the shutdown was over (says the test)";
    assert!(told.to_string().contains(text), "{told}");
    let accounts = pipeline.accounts();
    assert_eq!(
        accounts.dropped,
        Dropped {
            unflushed: 3,
            ..Dropped::default()
        }
    );
    assert_eq!(accounts.pending, 0);
}

#[test]
fn spans_that_wait_behind_a_request_are_lost_with_it_when_time_is_over() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 2);
    let _ = pipeline.flush(Duration::from_millis(1));
    end_spans(&tracer, 3);
    pipeline.shutdown(Duration::from_millis(20)).unwrap_err();
    assert_eq!(pipeline.accounts().dropped.unflushed, 5);
    assert_eq!(collector.received().len(), 1);
}

#[test]
fn a_flush_that_waits_and_the_shutdown_both_tell_of_the_loss() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 2);
    thread::scope(|scope| {
        let flush = scope.spawn(|| pipeline.flush(LONG));
        until("the flush", || collector.received().len() == 1);
        let shutdown = pipeline.shutdown(Duration::from_millis(20));
        for told in [flush.join().unwrap(), shutdown] {
            let told = told.unwrap_err().to_string();
            let text =
                "2 spans were not delivered: 2 unsent when the time for the shutdown was over";
            assert_eq!(told, text);
        }
    });
}

#[test]
fn what_a_flush_tells_nobody_is_told_by_the_shutdown() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 2);
    drop(pipeline.flush_async(LONG));
    until("the request", || collector.received().len() == 1);
    collector.answer(Answer::Refuse);
    until("the refusal", || pipeline.accounts().dropped.refused == 2);
    let told = pipeline.shutdown(LONG).unwrap_err().to_string();
    let text = "2 spans were not delivered: 2 refused by the collector (says the test)";
    assert_eq!(told, text);
}

#[test]
fn the_last_handle_flushes_though_the_provider_is_held_for_ever() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, provider) = tracer(&pipeline);
    global::set_tracer_provider(provider);
    end_spans(&tracer, 3);
    let clone = pipeline.clone();
    drop(pipeline);
    assert_eq!(collector.len(), 0, "a clone is the same pipeline");
    drop(clone);
    assert_eq!(collector.len(), 3);
    // It goes on for those who still have a provider.
    end_spans(&tracer, 2);
    global::tracer_provider()
        .tracer("scope")
        .start("last")
        .end();
}

#[test]
fn a_provider_that_outlives_the_handle_sends_what_it_has_when_it_is_dropped() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, provider) = tracer(&pipeline);
    drop(pipeline);
    end_spans(&tracer, 3);
    drop(tracer);
    drop(provider);
    assert_eq!(collector.len(), 3);
}

#[test]
fn a_processor_that_no_provider_shuts_down_sends_what_it_has_when_it_is_dropped() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let processor = pipeline.processor();
    drop(pipeline);
    processor.on_end(crate::encode::tests::any::simple("span"));
    drop(processor);
    assert_eq!(collector.names(), ["span"]);
}

#[test]
fn a_pipeline_without_a_provider_ends_when_it_is_dropped() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    drop(pipeline);
    // The exporter had the other copy.
    until("the end of the thread", || collector.is_alone());
}

#[test]
fn the_thread_ends_with_the_shutdown() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    pipeline.shutdown(LONG).unwrap();
    until("the end of the thread", || collector.is_alone());
}

/// Runs `f` in a task, on a runtime that has as many workers, and then none but the exporter to make progress.
fn in_task(workers: usize, f: impl FnOnce() + Send + 'static) {
    let runtime = match workers {
        0 => tokio::runtime::Builder::new_current_thread().build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .build(),
    };
    let runtime = runtime.unwrap();
    runtime.block_on(async { tokio::spawn(async { f() }).await.unwrap() });
}

#[test]
fn every_step_works_within_one_task_of_any_runtime() {
    for workers in [0, 1, 2, 4] {
        let (done, finished) = mpsc::channel();
        in_task(workers, move || {
            let collector = Collector::new(Answer::Accept);
            let pipeline = start(patient(), &collector);
            let (tracer, provider) = tracer(&pipeline);
            end_spans(&tracer, 3);
            provider.force_flush().unwrap();
            end_spans(&tracer, 2);
            provider.shutdown().unwrap();
            done.send(collector.len()).unwrap();
        });
        assert_eq!(finished.recv_timeout(LONG), Ok(5), "{workers} workers");
    }
}

#[test]
fn a_task_that_awaits_the_shutdown_does_not_block_its_runtime() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let told = runtime.block_on(async {
        // On one thread: if the shutdown blocked it, nobody would accept.
        let accept = async { collector.answer(Answer::Accept) };
        let shutdown = pipeline.shutdown_async(LONG);
        tokio::join!(shutdown, accept).0
    });
    assert_eq!(told, Ok(()));
    assert_eq!(collector.len(), 3);
}

#[test]
fn a_shutdown_that_nobody_awaits_goes_on() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    drop(pipeline.shutdown_async(LONG));
    until("the spans", || collector.len() == 3);
}

#[test]
fn the_last_handle_waits_for_a_shutdown_that_nobody_awaits() {
    for with_provider in [false, true] {
        let collector = Collector::new(Answer::Hang);
        let pipeline = start(patient(), &collector);
        let (tracer, provider) = tracer(&pipeline);
        end_spans(&tracer, 3);
        drop(tracer);
        let pending = pipeline.shutdown_async(LONG);
        let provider = with_provider.then_some(provider);
        until("the request", || collector.received().len() == 1);
        drop(pending);
        thread::scope(|scope| {
            scope.spawn(|| {
                // So that a drop that does not wait is over by then; one that does may find the answer there.
                thread::sleep(Duration::from_millis(50));
                collector.answer(Answer::Accept);
            });
            drop(pipeline);
            // Of the exporter nothing is left, so that the process may end.
            assert!(collector.is_alone(), "with a provider: {with_provider}");
        });
        assert_eq!(collector.len(), 3);
        drop(provider);
    }
}

#[test]
fn a_shutdown_does_not_take_longer_than_it_may() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let timeout = Duration::from_millis(50);
    let begin = Instant::now();
    pipeline.shutdown(timeout).unwrap_err();
    let took = begin.elapsed();
    // An exporter that is late answers within the grace; the rest is for a machine that is busy.
    let slack = Duration::from_secs(4);
    assert!(
        (timeout..timeout + GRACE + slack).contains(&took),
        "{took:?}"
    );
}

/// Keeps the exporter's thread for as long as the other end is there.
struct Blocking(mpsc::Receiver<Infallible>);

impl Courier for Blocking {
    async fn deliver(&mut self, _: Bytes, _: &mut dyn FnMut(Event)) -> Outcome {
        let _ = self.0.recv();
        Outcome::Accepted {
            rejected: 0,
            message: String::new(),
        }
    }

    fn again(&self, _: &Config) -> Option<Self> {
        None
    }
}

#[test]
fn a_task_does_not_wait_longer_than_it_may_for_an_exporter_that_is_blocked() {
    let (blocked, released) = mpsc::channel();
    let pipeline = Pipeline::start_with(patient(), Blocking(released)).unwrap();
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    let (done, told) = mpsc::channel();
    let task = {
        let pipeline = pipeline.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let timeout = Duration::from_millis(50);
            for _ in 0..2 {
                let told = runtime.block_on(pipeline.flush_async(timeout));
                done.send(told).unwrap();
            }
            done.send(runtime.block_on(pipeline.shutdown_async(timeout)))
                .unwrap();
        }
    };
    let task = thread::spawn(task);
    for _ in 0..3 {
        let told = told.recv_timeout(LONG).unwrap();
        let Err(FlushError::Undelivered(undelivered)) = told else {
            panic!("{told:?}");
        };
        assert_eq!(undelivered.pending, 3);
        let cause = undelivered.cause.unwrap();
        assert_eq!(cause, "the exporter does not answer");
    }
    task.join().unwrap();
    drop(blocked);
}
