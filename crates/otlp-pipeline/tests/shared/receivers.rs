//! The four receivers that the OpenTelemetry Collector tries its exporters with, for the tests of two programs.

use faults::{Answer, Failure};

/// How a receiver answers a random number of 0 to 9.
pub(crate) type Receiver = fn(u8) -> Answer;

pub(crate) const RECEIVERS: [(&str, Receiver); 4] = [
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
];
