//! The contract that the OpenTelemetry Collector holds its exporters to: four receivers, exact counts.

use std::collections::HashSet;

use faults::{Answer, Collector, Failure};

use crate::{
    ACCEPTED, PROTOCOLS, config, deliver,
    receivers::RECEIVERS,
    transport::{Outcome, Transport},
};

const REQUESTS: i64 = 200;
const SPANS: i64 = 3;

#[tokio::test]
async fn every_span_is_settled_exactly_once() {
    for protocol in PROTOCOLS {
        for (seed, (name, receiver)) in (1..).zip(RECEIVERS) {
            let mut random = fastrand::Rng::with_seed(seed);
            let collector = Collector::start(move |_| receiver(random.u8(0..10)));
            let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
            let (mut accepted, mut refused, mut repeated) = (0, 0, 0);
            for first in (0..REQUESTS).map(|request| request * SPANS) {
                let (outcome, causes) = deliver(&mut transport, first..first + SPANS).await;
                repeated += causes.len();
                match outcome {
                    Outcome::Refused { cause } => {
                        assert!(cause.ends_with(": this is not for me"), "{cause}");
                        refused += 1;
                    }
                    outcome => {
                        assert_eq!(outcome, ACCEPTED);
                        accepted += 1;
                    }
                }
            }

            let exports = collector.exports();
            let count = |wanted| {
                let found = exports.iter().filter(|export| export.answer == wanted);
                found.count()
            };
            let permanent = count(Answer::Fail(Failure::invalid()));
            let passing = count(Answer::Fail(Failure::unavailable()));
            let success = count(Answer::Accept);
            let sent = usize::try_from(REQUESTS).unwrap();
            assert_eq!(exports.len(), sent + passing, "{name}");
            assert_eq!(success, sent - permanent, "{name}");
            assert_eq!((accepted, refused, repeated), (success, permanent, passing));
            assert!(
                collector.taken().values().all(|&times| times == 1),
                "{name}"
            );

            let mut settled = HashSet::new();
            for export in &exports {
                assert!(export.test_ids().all(|id| !settled.contains(&id)), "{name}");
                if export.answer != Answer::Fail(Failure::unavailable()) {
                    settled.extend(export.test_ids());
                }
            }
            assert_eq!(settled.len(), sent * usize::try_from(SPANS).unwrap());
        }
    }
}
