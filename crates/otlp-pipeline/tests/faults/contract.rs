//! The contract that the OpenTelemetry Collector holds its exporters to, for a whole pipeline: exact counts,
//! and nothing more after a collector has said what it thinks.

use std::collections::HashSet;

use faults::{Answer, Collector, Failure};
use otlp_pipeline::{FlushError, Pipeline};

use crate::{
    LONG, PROTOCOLS, config, end_spans, provider,
    receivers::{RECEIVERS, Receiver},
};

const SPANS: i64 = 1000;

/// And one that takes part of some requests.
const PARTIAL: (&str, Receiver) = ("takes part of it", |n| match n {
    0..5 => Answer::Partial(1, "one of them is wrong".to_owned()),
    _ => Answer::Accept,
});

#[test]
fn every_span_is_settled_exactly_once() {
    for protocol in PROTOCOLS {
        for (seed, (name, receiver)) in (1..).zip(RECEIVERS.into_iter().chain([PARTIAL])) {
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
