//! Shutdowns that stall, lose spans or hang for ever with the stock pipeline: on each kind of runtime, from each kind of
//! place, all spans arrive and the result says so.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use opentelemetry::{
    global,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{error::OTelSdkError, trace::SdkTracerProvider};
use otlp_pipeline::{FlushError, Pipeline};
use tokio::runtime::{Builder, Runtime};

use crate::{
    LONG,
    collector::{Answer, Collector},
    end_spans, is_failing, nobody, patient, provider, start, until,
};

const SPANS: usize = 1000;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn workers(count: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(count).enable_all().build().unwrap()
}

/// Runs `test` on a thread that may hang for ever, with a collector that is asked afterwards.
fn delivers(what: &str, test: impl FnOnce(&Collector) + Send + 'static) {
    let collector = Arc::new(Collector::new(Answer::Accept));
    let (done, is_done) = mpsc::channel();
    let in_thread = Arc::clone(&collector);
    let running = thread::spawn(move || {
        test(&in_thread);
        done.send(()).unwrap();
    });
    match is_done.recv_timeout(LONG) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => running.join().unwrap(),
        Ok(()) => {}
    }
    assert_eq!(collector.len(), SPANS, "{what}");
}

/// All of a service's life: a pipeline, its spans, and its end.
fn whole_life(collector: &Collector) {
    let (pipeline, provider) = start(collector);
    end_spans(&provider, SPANS);
    shutdown(&pipeline, &provider);
}

fn shutdown(pipeline: &Pipeline, provider: &SdkTracerProvider) {
    // As long as the default, in which the stock pipeline does not manage it.
    provider.shutdown().unwrap();
    let accounts = pipeline.accounts();
    let all = SPANS as u64;
    assert_eq!(
        (accounts.started, accounts.ended, accounts.exported),
        (all, all, all)
    );
}

#[test]
fn a_shutdown_on_a_current_thread_runtime() {
    delivers("block_on", |collector| {
        current_thread().block_on(async { whole_life(collector) });
    });
    delivers("a spawned task", |collector| {
        let (pipeline, provider) = start(collector);
        let life = async move {
            end_spans(&provider, SPANS);
            shutdown(&pipeline, &provider);
        };
        current_thread().block_on(async { tokio::spawn(life).await.unwrap() });
    });
    delivers("spawn_blocking", |collector| {
        let (pipeline, provider) = start(collector);
        current_thread().block_on(async {
            end_spans(&provider, SPANS);
            let end = move || shutdown(&pipeline, &provider);
            tokio::task::spawn_blocking(end).await.unwrap();
        });
    });
}

#[test]
fn a_shutdown_on_a_runtime_with_workers() {
    for count in [1, 2, 4] {
        delivers("block_on", move |collector| {
            workers(count).block_on(async { whole_life(collector) });
        });
        for warm in [false, true] {
            delivers("a spawned task", move |collector| {
                let endpoint = collector.endpoint().to_owned();
                let life = async move {
                    let pipeline = Pipeline::start(patient(&endpoint)).unwrap();
                    let provider = provider(&pipeline);
                    end_spans(&provider, SPANS - 1);
                    if warm {
                        pipeline.flush_async(LONG).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    end_spans(&provider, 1);
                    shutdown(&pipeline, &provider);
                };
                workers(count).block_on(async { tokio::spawn(life).await.unwrap() });
            });
        }
        delivers("block_in_place", move |collector| {
            let (pipeline, provider) = start(collector);
            let life = async move {
                end_spans(&provider, SPANS);
                tokio::task::block_in_place(|| shutdown(&pipeline, &provider));
            };
            workers(count).block_on(async { tokio::spawn(life).await.unwrap() });
        });
    }
}

#[test]
fn a_shutdown_outside_of_any_runtime() {
    delivers("a thread", whole_life);
    delivers("a pipeline of a runtime that is gone", |collector| {
        let (pipeline, provider) = current_thread().block_on(async { start(collector) });
        end_spans(&provider, SPANS);
        shutdown(&pipeline, &provider);
    });
}

#[test]
fn a_shutdown_that_is_awaited() {
    for runtime in [current_thread(), workers(1), workers(2)] {
        delivers("the main task", move |collector| {
            let (pipeline, provider) = start(collector);
            runtime.block_on(async {
                end_spans(&provider, SPANS);
                pipeline.shutdown_async(LONG).await.unwrap();
            });
        });
    }
    delivers("a spawned task", |collector| {
        let (pipeline, provider) = start(collector);
        let life = async move {
            end_spans(&provider, SPANS);
            pipeline.shutdown_async(LONG).await.unwrap();
        };
        workers(1).block_on(async { tokio::spawn(life).await.unwrap() });
    });
}

#[test]
fn spans_that_end_anywhere_are_sent_without_being_asked_for() {
    let soon = |collector: &Collector| {
        let mut config = patient(collector.endpoint());
        config.schedule_delay = Duration::from_millis(1);
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        (pipeline, provider)
    };
    for runtime in [current_thread(), workers(1), workers(2), workers(4)] {
        delivers("a spawned task", move |collector| {
            let (_pipeline, provider) = soon(collector);
            let life = async move { end_spans(&provider, SPANS) };
            runtime.block_on(async { tokio::spawn(life).await.unwrap() });
            until("the spans", || collector.len() == SPANS);
        });
    }
    delivers("outside of block_on", move |collector| {
        let (_pipeline, provider) = soon(collector);
        let runtime = current_thread();
        let _entered = runtime.enter();
        end_spans(&provider, SPANS);
        until("the spans", || collector.len() == SPANS);
    });
}

#[test]
fn a_collector_that_refuses_connections_is_no_success() {
    let pipeline = Pipeline::start(patient(&nobody())).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 3);
    until("a failure", || is_failing(&pipeline));
    let told = pipeline.shutdown(Duration::from_millis(300)).unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("3 spans were not delivered: 3 unsent"),
        "{told}"
    );
    assert!(told.contains("refused"), "{told}");
    assert_eq!(pipeline.accounts().dropped.unflushed, 3);
}

#[test]
fn a_collector_that_is_slower_than_the_shutdown_is_no_success() {
    let collector = Collector::new(Answer::Hang);
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 3);
    let _ = pipeline.flush(Duration::ZERO);
    until("the request", || collector.attempts() == 1);
    let told = pipeline.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(
        told.to_string()
            .contains("3 spans were not delivered: 3 unsent"),
        "{told}"
    );
    assert_eq!(pipeline.accounts().dropped.unflushed, 3);
    assert_eq!(collector.attempts(), 1);
}

#[test]
fn a_collector_that_is_slower_than_the_timeout_of_an_attempt_is_no_success() {
    let collector = Collector::new(Answer::Hang);
    let mut config = patient(collector.endpoint());
    config.timeout = Duration::from_millis(50);
    config.retry.initial = Duration::from_millis(1);
    config.retry.give_up_after = Duration::from_millis(200);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 3);
    let told = provider.shutdown_with_timeout(LONG).unwrap_err();
    let text = "3 spans were not delivered: 3 given up after retries";
    assert!(told.to_string().contains(text), "{told}");
}

#[test]
fn a_slow_collector_is_waited_for_as_long_as_the_caller_wants() {
    let collector = Collector::new(Answer::Hang);
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 3);
    thread::scope(|scope| {
        let shutdown = scope.spawn(|| provider.shutdown_with_timeout(LONG));
        until("the request", || collector.attempts() == 1);
        collector.answer(Answer::Accept);
        shutdown.join().unwrap().unwrap();
    });
    assert_eq!(pipeline.accounts().exported, 3);
}

#[test]
fn the_end_of_main_sends_what_the_global_provider_has() {
    delivers("a provider that is never dropped", |collector| {
        // `main` has the pipeline, and `global` the provider.
        let (_pipeline, provider) = start(collector);
        global::set_tracer_provider(provider);
        let tracer = global::tracer("scope");
        for _ in 0..SPANS {
            tracer.start("span").end();
        }
    });
    delivers("a tracer that is never dropped", |collector| {
        let (_pipeline, provider) = start(collector);
        let tracer = provider.tracer("scope");
        drop(provider);
        for _ in 0..SPANS {
            tracer.start("span").end();
        }
        std::mem::forget(tracer);
    });
}

#[test]
fn a_second_shutdown_says_that_it_is() {
    let collector = Collector::new(Answer::Accept);
    let (pipeline, provider) = start(&collector);
    end_spans(&provider, 3);
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(pipeline.shutdown(LONG), Err(FlushError::AlreadyShutdown));
    // To the provider it is the first one, and so it hears of it as a mistake.
    let told = provider.shutdown().unwrap_err();
    assert!(told.to_string().contains("AlreadyShutdown"), "{told}");
    assert!(matches!(
        provider.shutdown(),
        Err(OTelSdkError::AlreadyShutdown)
    ));
}
