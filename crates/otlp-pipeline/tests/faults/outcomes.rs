//! What becomes of every span while a collector fails, asks for patience or cannot be understood, over both protocols
//! (reliability f5, f6, f10).

use std::time::{Duration, Instant};

use faults::{Answer, Authority, Collector, Failure};
use otlp_pipeline::{Accounts, Config, FlushError, Pipeline, Protocol, Retry, Undelivered};

use crate::{LONG, PROTOCOLS, config, end_spans, once, provider};

const SPANS: u64 = 20;

/// A fault, and what is to become of 20 spans in requests of seven.
struct Case {
    name: &'static str,
    collector: fn(Protocol) -> Collector,
    change: fn(&mut Config),
    /// For the shutdown.
    timeout: Duration,
    exported: u64,
    gave_up: u64,
    unflushed: u64,
    /// A part of it, if anything is lost.
    cause: &'static str,
    /// What collectors that understood them got.
    requests: usize,
}

/// None of these times is waited for in full, but where all is lost in the end.
const CASES: [Case; 6] = [
    Case {
        name: "f5: seven of ten requests fail, with the default pauses",
        collector: |_| {
            let mut taken = "...+..+..+".chars().map(|answer| answer == '+');
            Collector::start(move |_| match taken.next() {
                Some(false) => Answer::Fail(Failure::unavailable()),
                _ => Answer::Accept,
            })
        },
        change: |config| config.retry = Retry::default(),
        timeout: Duration::from_secs(10),
        exported: SPANS,
        gave_up: 0,
        unflushed: 0,
        cause: "",
        requests: 10,
    },
    Case {
        name: "f6: a pause that is shorter than the time to give up",
        collector: |_| throttling(Duration::from_secs(1)),
        change: |_| {},
        timeout: LONG,
        exported: SPANS,
        gave_up: 0,
        unflushed: 0,
        cause: "",
        requests: 4,
    },
    Case {
        name: "f6: a pause that is longer than the time to give up",
        collector: |_| throttling(Duration::from_secs(600)),
        change: |_| {},
        timeout: Duration::from_millis(300),
        exported: 0,
        gave_up: 7,
        unflushed: SPANS - 7,
        cause: "too much (gave up after 1 attempt",
        requests: 1,
    },
    Case {
        name: "f10: TLS to a collector without",
        collector: |_| Collector::start(|_| Answer::Accept),
        change: |config| config.endpoint = config.endpoint.replace("http:", "https:"),
        timeout: Duration::from_millis(300),
        exported: 0,
        gave_up: 0,
        unflushed: SPANS,
        cause: "the server does not speak TLS",
        requests: 0,
    },
    Case {
        name: "f10: no TLS to a collector with it",
        collector: |_| over_tls(&["h2", "http/1.1"]),
        change: |_| {},
        timeout: Duration::from_millis(300),
        exported: 0,
        gave_up: 0,
        unflushed: SPANS,
        cause: "the server speaks TLS",
        requests: 0,
    },
    Case {
        name: "f10: a collector of another protocol",
        collector: |protocol| match protocol {
            Protocol::Grpc => over_tls(&["http/1.1"]),
            _ => over_tls(&["h2"]),
        },
        change: |config| {
            config.endpoint = config.endpoint.replace("http:", "https:");
        },
        timeout: Duration::from_millis(300),
        exported: 0,
        gave_up: 0,
        unflushed: SPANS,
        cause: "",
        requests: 0,
    },
];

/// One that asks to be left alone when it is first asked, and would take all that follows.
fn throttling(pause: Duration) -> Collector {
    let mut answers = vec![Answer::Fail(Failure::throttled(Some(pause)))].into_iter();
    Collector::start(move |_| answers.next().unwrap_or(Answer::Accept))
}

fn over_tls(protocols: &[&str]) -> Collector {
    let server = Authority::new("ours").issue(&["127.0.0.1"]);
    Collector::start_with(Some(server.server(protocols, None)), |_| Answer::Accept)
}

#[test]
fn every_span_has_one_outcome_whatever_the_collector_does() {
    for protocol in PROTOCOLS {
        for case in CASES {
            check(protocol, &case);
        }
    }
}

fn check(protocol: Protocol, case: &Case) {
    let name = format!("{}, {protocol:?}", case.name);
    let collector = (case.collector)(protocol);
    let mut config = config(protocol, collector.address());
    // All of it waits until the shutdown.
    config.schedule_delay = Duration::from_secs(3600);
    config.max_batch_size = Some(7);
    (case.change)(&mut config);
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    end_spans(&provider, 0..i64::try_from(SPANS).unwrap());
    let begun = Instant::now();
    let stopped = pipeline.shutdown(case.timeout);
    // The exporter answers at the deadline: six seconds are more than a busy machine takes.
    assert!(
        begun.elapsed() < case.timeout + Duration::from_secs(6),
        "{name}"
    );

    let Accounts {
        started,
        ended,
        exported,
        dropped,
        pending,
        ..
    } = pipeline.accounts();
    assert_eq!((started, ended, pending), (SPANS, SPANS, 0), "{name}");
    assert_eq!(exported, case.exported, "{name}");
    let lost = case.gave_up + case.unflushed;
    assert_eq!(
        (dropped.gave_up, dropped.unflushed, dropped.total()),
        (case.gave_up, case.unflushed, lost),
        "{name}"
    );
    match stopped {
        Ok(()) => assert_eq!(lost, 0, "{name}"),
        Err(FlushError::Undelivered(Undelivered {
            dropped: told,
            pending: 0,
            cause,
            ..
        })) => {
            assert_eq!(told, dropped, "{name}");
            let cause = cause.unwrap_or_default();
            assert!(cause.contains(case.cause), "{name}: {cause}");
        }
        Err(other) => panic!("{name}: {other:?}"),
    }

    let exports = collector.exports();
    assert_eq!(exports.len(), case.requests, "{name}");
    let taken = i64::try_from(case.exported).unwrap();
    assert_eq!(collector.taken(), once(0..taken), "{name}");
    for pair in exports.windows(2) {
        if let Answer::Fail(Failure {
            pause: Some(pause), ..
        }) = &pair[0].answer
        {
            let waited = pair[1].at - pair[0].at;
            assert!(waited >= *pause, "{name}: {waited:?}");
        }
    }
}
