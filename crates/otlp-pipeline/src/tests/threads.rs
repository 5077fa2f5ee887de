//! That threads come and go.

use std::{cell::RefCell, sync::mpsc, thread};

use opentelemetry::trace::Tracer as _;
use opentelemetry_sdk::trace::Span;

use super::{
    LONG,
    collector::{Answer, Collector},
    end_spans, patient, start, tracer, until,
};
use crate::{Config, Pipeline};

#[test]
fn spans_of_threads_that_have_ended_arrive_and_their_buffers_go() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    for _ in 0..100 {
        let tracer = tracer.clone();
        thread::spawn(move || end_spans(&tracer, 2)).join().unwrap();
    }
    assert_eq!(slots(&pipeline), 100);
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 200);
    assert_eq!(slots(&pipeline), 0);
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.started, accounts.ended, accounts.exported),
        (200, 200, 200)
    );
}

#[test]
fn buffers_of_dead_threads_go_while_the_collector_is_away() {
    let collector = Collector::new(Answer::Fail);
    let config = Config {
        max_memory: 400_000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 1);
    let _ = pipeline.flush(std::time::Duration::from_millis(1));
    for _ in 0..5 {
        for _ in 0..200 {
            let tracer = tracer.clone();
            thread::spawn(move || end_spans(&tracer, 1)).join().unwrap();
        }
        until("the exporter", || slots(&pipeline) == 1);
    }
    // A chunk for each would be 512 bytes for 60.
    let used = pipeline.shared().buffers.memory.used();
    assert!(used < 100_000, "{used} bytes");
    collector.answer(Answer::Accept);
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 1001);
}

#[test]
fn the_first_span_of_a_thread_does_not_wait_for_the_exporter() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    let (done, finished) = mpsc::channel();
    // As the exporter has it while it walks over what all threads have.
    let ledger = pipeline.shared().buffers.ledger();
    thread::spawn(move || {
        end_spans(&tracer, 1);
        done.send(()).unwrap();
    });
    finished.recv_timeout(LONG).unwrap();
    drop(ledger);
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 1);
}

#[test]
fn a_thread_that_is_new_after_the_shutdown_is_late() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    pipeline.shutdown(LONG).unwrap();
    thread::spawn(move || end_spans(&tracer, 2)).join().unwrap();
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.started, accounts.dropped.late, accounts.pending),
        (2, 2, 0)
    );
}

#[test]
fn a_thread_that_does_little_does_not_wait_for_those_that_do_much() {
    let collector = Collector::new(Answer::Fail);
    let config = Config {
        schedule_delay: std::time::Duration::from_millis(1),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    // On its way as long as the test wants.
    end_spans(&tracer, 1);
    until("the request", || collector.received().len() == 1);
    end_spans(&tracer, 1);
    until("the span", || {
        pipeline.shared().buffers.ledger().backlog_spans() == 1
    });
}

#[test]
fn more_threads_than_there_is_memory_for_share_a_buffer() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_memory: 20_000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    for _ in 0..100 {
        let tracer = tracer.clone();
        thread::spawn(move || end_spans(&tracer, 1)).join().unwrap();
    }
    let accounts = pipeline.accounts();
    assert!(slots(&pipeline) < 50);
    assert_eq!(accounts.started, 100);
    assert_eq!(accounts.ended, 100);
    let _ = pipeline.flush(LONG);
    assert_eq!(collector.len() as u64, accounts.exported + accounts.pending);
}

#[test]
fn a_span_that_ends_while_its_thread_is_destroyed_arrives() {
    thread_local! {
        static OPEN: RefCell<Vec<Span>> = const { RefCell::new(Vec::new()) };
    }
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    thread::spawn(move || {
        // Thread-locals are destroyed in the order in which they were first used, or in the other: one of the two is
        // dropped after the slots are.
        OPEN.with(|open| open.borrow_mut().push(tracer.start("open")));
        thread_local! {
            static LATER: RefCell<Vec<Span>> = const { RefCell::new(Vec::new()) };
        }
        LATER.with(|later| later.borrow_mut().push(tracer.start("later")));
    })
    .join()
    .unwrap();
    pipeline.flush(LONG).unwrap();
    let mut names = collector.names();
    names.sort();
    assert_eq!(names, ["later", "open"]);
    let accounts = pipeline.accounts();
    assert_eq!(
        (accounts.started, accounts.ended, accounts.exported),
        (2, 2, 2)
    );
}

#[test]
fn pipelines_of_one_process_do_not_mix() {
    let (one, two) = (
        Collector::new(Answer::Accept),
        Collector::new(Answer::Accept),
    );
    let first = start(patient(), &one);
    let second = start(patient(), &two);
    let (tracer_one, _provider_one) = tracer(&first);
    let (tracer_two, _provider_two) = tracer(&second);
    end_spans(&tracer_one, 1);
    end_spans(&tracer_two, 2);
    first.flush(LONG).unwrap();
    second.flush(LONG).unwrap();
    assert_eq!((one.len(), two.len()), (1, 2));
}

#[test]
fn a_thread_that_outlives_many_pipelines_keeps_nothing_of_them() {
    for _ in 0..20 {
        let collector = Collector::new(Answer::Accept);
        let pipeline = start(patient(), &collector);
        let (tracer, _provider) = tracer(&pipeline);
        end_spans(&tracer, 1);
        pipeline.shutdown(LONG).unwrap();
        // The exporter may still hold the last one.
        assert!(crate::buffers::slots_of_this_thread() <= 2);
    }
}

fn slots(pipeline: &Pipeline) -> usize {
    pipeline.shared().buffers.ledger().slots()
}
