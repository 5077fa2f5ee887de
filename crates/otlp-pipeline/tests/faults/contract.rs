//! The contract that the OpenTelemetry Collector holds its exporters to, for a whole pipeline: exact counts,
//! and nothing more after a collector has said what it thinks.

use std::collections::HashSet;

use faults::{Answer, Collector, Failure};
use otlp_pipeline::{FlushError, Pipeline};

use crate::{LONG, PROTOCOLS, config, end_spans, provider};

const SPANS: i64 = 1000;

/// How a receiver answers a random number of 0 to 9.
type Receiver = fn(u8) -> Answer;

const RECEIVERS: [(&str, Receiver); 5] = [
    ("always takes it", |_| Answer::Accept),
    ("fails for now", |n| match n {
        // The contrib testbed's share.
        0..7 => Answer::Fail(Failure::unavailable()),
        _ => Answer::Accept,
    }),
    ("fails for good", |n| match n {
        0..5 => Answer::Fail(Failure::invalid()),
        _ => Answer::Accept,
    }),
    ("fails in both ways", |n| match n {
        0..3 => Answer::Fail(Failure::unavailable()),
        3..6 => Answer::Fail(Failure::invalid()),
        _ => Answer::Accept,
    }),
    ("takes part of it", |n| match n {
        0..5 => Answer::Partial(1, "one of them is wrong".to_owned()),
        _ => Answer::Accept,
    }),
];

#[test]
fn every_span_is_settled_exactly_once() {
    for protocol in PROTOCOLS {
        for (seed, (name, receiver)) in (1..).zip(RECEIVERS) {
            let mut random = fastrand::Rng::with_seed(seed);
            let collector = Collector::start(move |_| receiver(random.u8(0..10)));
            let pipeline = Pipeline::start(config(protocol, collector.address())).unwrap();
            let provider = provider(&pipeline);
            end_spans(&provider, 0..SPANS);
            let stopped = pipeline.shutdown(LONG);

            let exports = collector.exports();
            let spans = |wanted: fn(&Answer) -> bool| {
                let found = exports.iter().filter(|export| wanted(&export.answer));
                u64::try_from(found.flat_map(faults::Export::test_ids).count()).unwrap()
            };
            let total = spans(|_| true);
            let permanent = spans(|answer| *answer == Answer::Fail(Failure::invalid()));
            let passing = spans(|answer| *answer == Answer::Fail(Failure::unavailable()));
            let success = spans(|answer| matches!(answer, Answer::Accept | Answer::Partial(..)));
            let rejecting = exports.iter().filter(|export| {
                // Of each such request one.
                matches!(export.answer, Answer::Partial(..))
            });
            let rejected = u64::try_from(rejecting.count()).unwrap();
            let sent = u64::try_from(SPANS).unwrap();
            assert_eq!(total, sent + passing, "{name}");
            assert_eq!(success, sent - permanent, "{name}");

            let accounts = pipeline.accounts();
            assert_eq!((accounts.started, accounts.ended), (sent, sent), "{name}");
            assert_eq!(accounts.exported, success - rejected, "{name}");
            assert_eq!(accounts.dropped.refused, permanent, "{name}");
            assert_eq!(accounts.dropped.rejected, rejected, "{name}");
            assert_eq!(accounts.dropped.total(), permanent + rejected, "{name}");
            assert_eq!(accounts.pending, 0, "{name}");
            match stopped {
                Ok(()) => assert_eq!(permanent + rejected, 0, "{name}"),
                Err(FlushError::Undelivered(told)) => {
                    assert_eq!(told.total(), permanent + rejected, "{name}");
                }
                Err(other) => panic!("{name}: {other}"),
            }

            let mut settled = HashSet::new();
            let mut open: Option<Vec<i64>> = None;
            for export in &exports {
                let ids: Vec<_> = export.test_ids().collect();
                assert!(ids.iter().all(|id| !settled.contains(id)), "{name}");
                // What is repeated is the same request, before any other.
                assert!(open.is_none_or(|open| open == ids), "{name}");
                if export.answer == Answer::Fail(Failure::unavailable()) {
                    open = Some(ids);
                } else {
                    open = None;
                    settled.extend(ids);
                }
            }
            assert_eq!(settled, (0..SPANS).collect(), "{name}");
        }
    }
}
