//! That memory and requests are bounded.

use bytes::Bytes;
use std::thread;

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::SdkTracer;

use super::{
    LONG,
    collector::{Answer, Collector, spans_in},
    end_spans, patient, start, tracer, until,
};
use crate::{Config, Pipeline};

fn end_large_span(tracer: &SdkTracer, bytes: usize) {
    let mut span = tracer.start("large");
    span.set_attribute(KeyValue::new("long", "x".repeat(bytes)));
    span.end();
}

#[test]
fn memory_is_bounded_while_the_collector_is_away_and_what_is_kept_arrives() {
    let collector = Collector::new(Answer::Fail);
    let config = Config {
        max_memory: 1_000_000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    let memory = &pipeline.shared().buffers.memory;
    let most = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| end_spans(&tracer, 30_000)))
            .collect();
        let mut most = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            most = most.max(memory.used());
        }
        most
    });
    assert!(most <= 750_000, "{most} bytes, and a request of 250,000");
    let accounts = pipeline.accounts();
    assert!(accounts.dropped.full > 0);
    assert_eq!(accounts.ended, 90_000);
    // Two thirds of the memory at least are spans, of about 60 bytes each.
    assert!(
        accounts.pending * 60 > 600_000,
        "{} are kept",
        accounts.pending
    );

    collector.answer(Answer::Accept);
    pipeline.flush(LONG).unwrap_err();
    assert_eq!(collector.len() as u64, accounts.pending);
    // And room is made for others.
    end_spans(&tracer, 1000);
    pipeline.flush(LONG).unwrap();
}

#[test]
fn all_memory_is_given_back() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_batch_size: Some(100),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, provider) = tracer(&pipeline);
    for round in 0..3 {
        thread::scope(|scope| {
            let writer = |_| scope.spawn(|| end_spans(&tracer, 3000));
            let writers: Vec<_> = (0..5).map(writer).collect();
            // The end of the scope alone does not wait for thread-locals to be destroyed.
            for writer in writers {
                writer.join().unwrap();
            }
        });
        end_large_span(&tracer, 100_000);
        let other = provider.tracer(format!("scope {round}"));
        end_spans(&other, 10);
        pipeline.flush(LONG).unwrap();
    }
    pipeline.shutdown(LONG).unwrap();
    let buffers = &pipeline.shared().buffers;
    buffers.memory.give_up_free_chunks();
    // The slot of this thread stays.
    assert_eq!(buffers.memory.used(), crate::buffers::SLOT);
}

#[test]
fn no_more_spans_are_kept_than_the_queue_holds() {
    let collector = Collector::new(Answer::Hang);
    for size in [1, 10, 100, 2048] {
        let config = Config {
            max_queue_size: Some(size),
            ..patient()
        };
        let pipeline = start(config, &collector);
        let (tracer, _provider) = tracer(&pipeline);
        let requests = collector.received().len();
        end_spans(&tracer, size + 50);
        let accounts = pipeline.accounts();
        assert_eq!((accounts.pending, accounts.dropped.full), (size as u64, 50));

        // Those on their way count too.
        let _ = pipeline.flush(std::time::Duration::from_millis(1));
        until("the request", || collector.received().len() > requests);
        end_spans(&tracer, 1);
        assert_eq!(pipeline.accounts().dropped.full, 51);

        collector.answer(Answer::Accept);
        pipeline.flush(LONG).unwrap_err();
        end_spans(&tracer, size);
        pipeline.flush(LONG).unwrap();
        collector.answer(Answer::Hang);
    }
}

#[test]
fn a_full_batch_is_sent_before_its_time() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_batch_size: Some(10),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 10);
    until("the batch", || collector.len() == 10);
}

#[test]
fn a_full_request_is_sent_before_its_time() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_request_bytes: 10_000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    until("the spans", || {
        end_spans(&tracer, 100);
        collector.len() > 0
    });
}

#[test]
fn a_queue_that_is_half_full_is_sent_before_its_time() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_queue_size: Some(100),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 60);
    until("the spans", || collector.len() > 0);
}

#[test]
fn requests_keep_to_their_limits() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_batch_size: Some(100),
        max_request_bytes: 5000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, provider) = tracer(&pipeline);
    let other = provider.tracer("other");
    for i in 0..500 {
        end_spans(if i % 3 == 0 { &other } else { &tracer }, 1);
        end_large_span(&tracer, i * 4);
    }
    pipeline.flush(LONG).unwrap();
    assert_eq!(collector.len(), 1000);
    for request in collector.received() {
        assert!(request.len() <= 5000, "{} bytes", request.len());
        assert!(spans_in(&request) <= 100);
    }
    // How many there are depends on how often the exporter came, but a hundred spans fill some.
    let received = collector.received();
    let is_full = |request: &Bytes| request.len() > 4000 || spans_in(request) == 100;
    assert!(received.iter().any(is_full), "{} requests", received.len());
}

#[test]
fn a_batch_of_one_is_possible() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_batch_size: Some(1),
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 3);
    pipeline.flush(LONG).unwrap();
    let spans: Vec<_> = collector.received().iter().map(spans_in).collect();
    assert_eq!(spans, [1, 1, 1]);
}

#[test]
fn a_span_that_fits_no_request_is_dropped_alone() {
    let collector = Collector::new(Answer::Accept);
    let config = Config {
        max_request_bytes: 5000,
        ..patient()
    };
    let pipeline = start(config, &collector);
    let (tracer, _provider) = tracer(&pipeline);
    end_spans(&tracer, 1);
    end_large_span(&tracer, 5000);
    end_large_span(&tracer, 4000);
    let told = pipeline.flush(LONG).unwrap_err().to_string();
    assert_eq!(told, "1 span was not delivered: 1 too large for a request");
    assert_eq!(collector.names(), ["span", "large"]);
}

#[test]
fn many_scopes_do_not_add_up() {
    let collector = Collector::new(Answer::Accept);
    let pipeline = start(patient(), &collector);
    let (_, provider) = tracer(&pipeline);
    for round in 0..50 {
        for i in 0..20 {
            end_spans(&provider.tracer(format!("scope {round} {i}")), 1);
        }
        pipeline.flush(LONG).unwrap();
    }
    assert_eq!(collector.len(), 1000);
    let used = pipeline.shared().buffers.memory.used();
    assert!(used < 20_000, "{used} bytes");
}

#[test]
fn limits_under_which_nothing_could_be_sent_are_refused_all_at_once() {
    let config = Config {
        endpoint: "collector".to_owned(),
        max_request_bytes: 1023,
        max_batch_size: Some(0),
        max_memory: 0,
        max_queue_size: Some(0),
        ..Config::default()
    };
    let told = Pipeline::start(config).unwrap_err().to_string();
    let limits = "max_request_bytes: `1023` is less than 1024 bytes; max_memory: `0` is less than 16384 bytes; \
                  max_batch_size: `0` leaves no room for a span; max_queue_size: `0` leaves no room for a span";
    assert!(told.starts_with("endpoint: "), "{told}");
    assert!(told.ends_with(limits), "{told}");
}

#[test]
fn what_fills_a_request_is_sent_soon_however_much_there_was_before() {
    let collector = Collector::new(Answer::Hang);
    let pipeline = start(patient(), &collector);
    let (tracer, _provider) = tracer(&pipeline);
    // Much waits while a request is on its way.
    let (many, bytes) = (2000, 3000);
    for _ in 0..many {
        end_large_span(&tracer, bytes);
    }
    until("the request", || !collector.received().is_empty());
    collector.answer(Answer::Accept);
    until("all that waited", || {
        // The last of it is less than a request, and waits for more.
        pipeline.accounts().pending < 400
    });
    // As much as two requests, beside the chunks that were emptied and are filled first.
    let before = collector.len();
    let more = 3 * (1 << 20) / bytes;
    for _ in 0..more {
        end_large_span(&tracer, bytes);
    }
    until("what came since", || collector.len() > before + 400);
    assert_eq!(pipeline.accounts().dropped.total(), 0);
}
