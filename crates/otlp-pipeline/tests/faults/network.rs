//! What networks and collectors do, and what arrives all the same (reliability f1 to f11).

use std::time::{Duration, Instant};

use faults::{Answer, Collector, Failure, Fault, Proxy};
use otlp_pipeline::{FlushError, Pipeline, Protocol};

use crate::{LONG, PROTOCOLS, config, end_spans, once, provider};

/// For an attempt to fail. It decides nothing: what it ends is repeated.
const SHORT: Duration = Duration::from_millis(200);

/// Waits until an attempt has failed for that cause.
pub(crate) fn wait_for_failure(pipeline: &Pipeline, expected: &str) {
    let begun = Instant::now();
    loop {
        let flushed = pipeline.flush(Duration::from_millis(1));
        let Err(FlushError::Undelivered(told)) = flushed else {
            panic!("nothing can be delivered: {flushed:?}");
        };
        let cause = told.cause.unwrap_or_default();
        if !cause.is_empty() && cause.contains(expected) {
            return;
        }
        assert!(begun.elapsed() < LONG, "waited for {expected}: {cause}");
    }
}

/// Ends spans before, during and after a fault that stops everything, and checks that all of them arrive.
///
/// Some may arrive twice: a collector may have taken those whose answer did not come.
fn check_mended(protocol: Protocol, fault: Fault, timeout: Duration, cause: &str) {
    let collector = Collector::start(|_| Answer::Accept);
    let proxy = Proxy::start(collector.address(), Fault::None);
    let mut config = config(protocol, proxy.address());
    config.timeout = timeout;
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 0..100);
    pipeline.flush(LONG).unwrap();
    proxy.set(fault);
    end_spans(&provider, 100..300);
    wait_for_failure(&pipeline, cause);
    end_spans(&provider, 300..400);
    assert_eq!(pipeline.accounts().dropped.total(), 0);
    proxy.set(Fault::None);
    end_spans(&provider, 400..500);
    pipeline.shutdown(LONG).unwrap();

    let accounts = pipeline.accounts();
    assert_eq!((accounts.ended, accounts.exported), (500, 500));
    let mut taken = collector.taken();
    assert_eq!(taken.len(), 500, "{fault:?}");
    if let Fault::Refuse | Fault::Reset = fault {
        // No attempt that failed had reached the collector.
        taken.retain(|_, times| *times > 1);
        assert!(taken.is_empty(), "{fault:?}: {taken:?}");
    }
}

#[test]
fn what_was_not_dropped_arrives_after_the_port_was_closed() {
    for protocol in PROTOCOLS {
        check_mended(protocol, Fault::Refuse, LONG, "Connection refused");
    }
}

#[test]
fn what_was_not_dropped_arrives_after_silence() {
    for protocol in PROTOCOLS {
        check_mended(protocol, Fault::Blackhole, SHORT, " within 200ms");
    }
}

#[test]
fn what_was_not_dropped_arrives_after_answers_that_came_too_late() {
    for protocol in PROTOCOLS {
        let fault = Fault::Delay(Duration::from_secs(40));
        check_mended(protocol, fault, SHORT, " within 200ms");
    }
}

#[test]
fn what_was_not_dropped_arrives_after_resets() {
    for protocol in PROTOCOLS {
        check_mended(protocol, Fault::Reset, LONG, "");
    }
}

#[test]
fn what_was_not_dropped_arrives_after_answers_that_broke_off() {
    for protocol in PROTOCOLS {
        check_mended(protocol, Fault::CutAfter(20), LONG, "");
    }
}

#[test]
fn a_flapping_port_loses_nothing() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Flap(Duration::from_millis(20)));
        let pipeline = Pipeline::start(config(protocol, proxy.address())).unwrap();
        let provider = provider(&pipeline);
        end_spans(&provider, 0..1000);
        pipeline.shutdown(LONG).unwrap();
        assert_eq!(pipeline.accounts().exported, 1000);
        assert_eq!(collector.taken().len(), 1000);
    }
}

#[test]
fn a_slow_network_loses_nothing() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Throttle(100_000));
        let mut config = config(protocol, proxy.address());
        config.max_batch_size = None;
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        end_spans(&provider, 0..1000);
        pipeline.shutdown(LONG).unwrap();
        assert_eq!(pipeline.accounts().exported, 1000);
        assert_eq!(collector.taken(), once(0..1000));
    }
}

#[test]
fn a_long_outage_drops_what_has_no_room_and_delivers_the_rest() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Refuse);
        let mut config = config(protocol, proxy.address());
        config.max_queue_size = Some(300);
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        end_spans(&provider, 0..1000);
        wait_for_failure(&pipeline, "Connection refused");
        let during = pipeline.accounts();
        assert_eq!(during.dropped.total(), during.dropped.full);
        assert!((700..1000).contains(&during.dropped.full), "{during:?}");
        proxy.set(Fault::None);
        // Of what was dropped the flushes have told.
        pipeline.shutdown(LONG).unwrap();
        let accounts = pipeline.accounts();
        assert_eq!(accounts.dropped, during.dropped);
        assert_eq!(accounts.exported + accounts.dropped.full, 1000);
        let taken = collector.taken();
        assert_eq!(u64::try_from(taken.len()).unwrap(), accounts.exported);
        assert!(taken.values().all(|times| *times == 1));
    }
}

#[test]
fn spans_that_are_given_up_are_counted_and_later_ones_arrive() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Refuse);
        let mut config = config(protocol, proxy.address());
        config.retry.give_up_after = Duration::from_millis(5);
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        end_spans(&provider, 0..20);
        let Err(FlushError::Undelivered(told)) = pipeline.flush(LONG) else {
            panic!("nobody was there");
        };
        assert_eq!((told.dropped.gave_up, told.total()), (20, 20));
        proxy.set(Fault::None);
        end_spans(&provider, 20..40);
        pipeline.shutdown(LONG).unwrap();
        let accounts = pipeline.accounts();
        assert_eq!((accounts.exported, accounts.dropped.gave_up), (20, 20));
        assert_eq!(collector.taken(), once(20..40));
    }
}

#[test]
fn a_shutdown_without_a_collector_tells_what_was_lost() {
    for protocol in PROTOCOLS {
        for fault in [Fault::Refuse, Fault::Blackhole] {
            let collector = Collector::start(|_| Answer::Accept);
            let proxy = Proxy::start(collector.address(), fault);
            let pipeline = Pipeline::start(config(protocol, proxy.address())).unwrap();
            let provider = provider(&pipeline);
            end_spans(&provider, 0..100);
            let Err(FlushError::Undelivered(told)) = pipeline.shutdown(Duration::from_millis(100))
            else {
                panic!("nobody was there");
            };
            assert_eq!((told.dropped.unflushed, told.total()), (100, 100));
            let accounts = pipeline.accounts();
            assert_eq!((accounts.exported, accounts.pending), (0, 0));
            assert_eq!(collector.taken(), once(0..0));
        }
    }
}

#[test]
fn a_collector_that_asks_for_patience_gets_it() {
    let pause = Duration::from_millis(300);
    let mut answers = vec![Answer::Fail(Failure::throttled(Some(pause)))].into_iter();
    let collector = Collector::start(move |_| answers.next().unwrap_or(Answer::Accept));
    let pipeline = Pipeline::start(config(Protocol::Grpc, collector.address())).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 0..100);
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(collector.taken(), once(0..100));
    let exports = collector.exports();
    assert!(exports[1].at - exports[0].at >= pause);
}

#[test]
fn a_service_starts_without_a_name_to_send_to() {
    for protocol in PROTOCOLS {
        let mut config = config(protocol, ([127, 0, 0, 1], 4317).into());
        config.endpoint = config.endpoint.replace("127.0.0.1", "collector.invalid");
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        end_spans(&provider, 0..10);
        wait_for_failure(&pipeline, "cannot connect to collector.invalid:4317: ");
        assert_eq!(pipeline.accounts().pending, 10);
        let Err(FlushError::Undelivered(told)) = pipeline.shutdown(Duration::ZERO) else {
            panic!("nobody was there");
        };
        assert_eq!((told.dropped.unflushed, told.total()), (10, 10));
    }
}
