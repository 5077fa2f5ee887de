use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::advance;
use tracing::subscriber::DefaultGuard;

use super::{DROPS_OVER, FAILURE_AGAIN, Report};
use crate::{
    Accounts, Dropped,
    signal::Signal,
    transport::{Event, Outcome},
};

/// The lines of the log while it lives.
struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn new() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        Self { lines, _guard }
    }

    /// Those since the last call.
    fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed() -> Event {
    Event::Failed {
        cause: "connection refused".to_owned(),
        again_in: Duration::from_millis(100),
    }
}

fn accepted() -> Outcome {
    said("")
}

fn said(message: &str) -> Outcome {
    Outcome::Accepted {
        rejected: 0,
        message: message.to_owned(),
    }
}

fn pending(pending: u64) -> Accounts {
    Accounts {
        pending,
        ..Accounts::default()
    }
}

fn full(full: u64) -> Accounts {
    Accounts {
        dropped: Dropped {
            full,
            ..Dropped::default()
        },
        ..Accounts::default()
    }
}

const FAILING: &str = r#"WARN otlp_pipeline: spans cannot be sent, and wait endpoint="http://c:4317" cause="connection refused" again_in_ms=100"#;

#[tokio::test(start_paused = true)]
async fn a_failure_is_one_line_however_often_it_is_repeated_and_its_end_is_another() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    report.settled(accepted(), &pending(0));
    assert_eq!(log.take(), [""; 0]);
    for _ in 0..100 {
        report.hear(failed());
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(log.take(), [FAILING]);
    assert_eq!(report.cause().as_deref(), Some("connection refused"));
    report.settled(accepted(), &pending(17));
    report.settled(accepted(), &pending(0));
    let again = r#"INFO otlp_pipeline: spans are sent again endpoint="http://c:4317" after_ms=100000 waiting=17"#;
    assert_eq!(log.take(), [again]);
    assert_eq!(report.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_comes_and_goes_does_not_fill_the_log() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    for _ in 0..1000 {
        report.hear(failed());
        report.settled(accepted(), &pending(0));
        advance(Duration::from_millis(100)).await;
    }
    let times = 100 / FAILURE_AGAIN.as_secs() as usize;
    assert_eq!(log.take().len(), 2 * times);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lasts_is_told_though_another_was_just_before() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    report.hear(failed());
    report.settled(accepted(), &pending(0));
    assert_eq!(log.take().len(), 2);
    for _ in 0..60 {
        report.hear(failed());
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(log.take(), [FAILING]);
    report.settled(accepted(), &pending(17));
    let again = r#"INFO otlp_pipeline: spans are sent again endpoint="http://c:4317" after_ms=60000 waiting=17"#;
    assert_eq!(log.take(), [again]);
}

#[tokio::test(start_paused = true)]
async fn drops_are_a_line_when_they_begin_and_when_they_are_over() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    report.hear(failed());
    log.take();
    for count in [2, 5, 5, 9] {
        report.look(&full(count));
        advance(DROPS_OVER / 2).await;
    }
    let begin = r#"WARN otlp_pipeline: spans are dropped endpoint="http://c:4317" reason="without room" cause="connection refused" dropped=2"#;
    assert_eq!(log.take(), [begin]);
    advance(DROPS_OVER / 2).await;
    report.look(&full(9));
    report.look(&full(9));
    let end = r#"INFO otlp_pipeline: spans are not dropped any more endpoint="http://c:4317" reason="without room" dropped=9"#;
    assert_eq!(log.take(), [end]);
    report.look(&full(10));
    assert_eq!(log.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_with_what_the_collector_said() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    let mut accounts = Accounts::default();
    for _ in 0..3 {
        accounts.dropped.refused += 10;
        let cause = "permission denied".to_owned();
        report.settled(Outcome::Refused { cause }, &accounts);
        report.look(&accounts);
    }
    let line = r#"WARN otlp_pipeline: spans are dropped endpoint="http://c:4317" reason="refused by the collector" cause="permission denied" dropped=10"#;
    assert_eq!(log.take(), [line]);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_refuses_whatever_comes_is_one_line_however_seldom_that_is() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::LogRecords));
    let mut accounts = Accounts::default();
    for _ in 0..5 {
        accounts.dropped.refused += 1;
        let cause = "c:4317 answered UNIMPLEMENTED".to_owned();
        report.settled(Outcome::Refused { cause }, &accounts);
        report.look(&accounts);
        advance(2 * DROPS_OVER).await;
        report.look(&accounts);
    }
    let line = r#"WARN otlp_pipeline: log records are dropped endpoint="http://c:4317" reason="refused by the collector" cause="c:4317 answered UNIMPLEMENTED" dropped=1"#;
    assert_eq!(log.take(), [line]);
    report.settled(accepted(), &accounts);
    report.look(&accounts);
    let end = r#"INFO otlp_pipeline: log records are not dropped any more endpoint="http://c:4317" reason="refused by the collector" dropped=5"#;
    assert_eq!(log.take(), [end]);
}

#[tokio::test(start_paused = true)]
async fn a_warning_of_the_collector_is_passed_on_once() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    for _ in 0..3 {
        report.settled(said("use gzip"), &pending(0));
    }
    // Each of them new, as one with a number in it would be.
    for i in 0..100 {
        report.settled(said(&i.to_string()), &pending(0));
        advance(FAILURE_AGAIN / 10).await;
    }
    let lines = log.take();
    let first = r#"WARN otlp_pipeline: the collector took spans, with a warning endpoint="http://c:4317" warning="use gzip""#;
    assert_eq!(lines[0], first);
    assert_eq!(lines.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_last_line_has_the_accounts() {
    let (log, mut report) = (Log::new(), Report::new("http://c:4317", Signal::Spans));
    let mut accounts = Accounts {
        started: 12,
        ended: 11,
        exported: 11,
        ..Accounts::default()
    };
    report.stopped(&accounts);
    accounts.exported = 8;
    accounts.dropped.gave_up = 2;
    accounts.dropped.full = 1;
    report.settled(
        Outcome::GaveUp {
            cause: "connection refused".to_owned(),
        },
        &accounts,
    );
    report.stopped(&accounts);
    let all = r#"INFO otlp_pipeline: all spans that ended were delivered endpoint="http://c:4317" started=12 ended=11 exported=11"#;
    let some = r#"WARN otlp_pipeline: not all spans that ended were delivered endpoint="http://c:4317" started=12 ended=11 exported=8 dropped=3 full=1 oversized=0 rejected=0 refused=0 gave_up=2 unflushed=0 panicked=0 cause="connection refused""#;
    assert_eq!(log.take(), [all, some]);
}

#[test]
fn a_password_is_not_logged() {
    for (endpoint, logged) in [
        ("http://c:4317", "http://c:4317"),
        (
            "https://me:secret@c:4317/v1/traces",
            "https://c:4317/v1/traces",
        ),
        (
            "https://c:4317/v1/traces?to=a@b",
            "https://c:4317/v1/traces?to=a@b",
        ),
        ("https://me:se@cret@c:4317?x", "https://c:4317?x"),
    ] {
        assert_eq!(Report::new(endpoint, Signal::Spans).endpoint, logged);
    }
}
