//! Says what was removed to make room: once in a while, not for each trace.

use serde_json::json;
use tokio::time::{Instant, interval_at};

use crate::{
    output::{self, PAUSE, counted},
    store::{Evicted, Logs, Store},
};

/// Writes at most one line of its kind in 10 seconds. Does not end.
pub(crate) async fn report(store: &Store, logs: &Logs) {
    let mut told = Told::default();
    let mut told_records = 0;
    let mut ticks = interval_at(Instant::now() + PAUSE, PAUSE);
    loop {
        ticks.tick().await;
        if let Some(more) = told.news(store.evicted()) {
            output::info(
                &message(more),
                json!({ "traces": more.traces, "spans": more.spans }),
            );
        }
        let evicted = logs.evicted();
        let more = evicted - std::mem::replace(&mut told_records, evicted);
        if more > 0 {
            let records = counted(more, "log record");
            output::info(
                &format!("evicted {records}, the oldest, to stay within the limits"),
                json!({ "log_records": more }),
            );
        }
    }
}

/// What has been said so far.
#[derive(Default)]
struct Told(Evicted);

impl Told {
    /// What was evicted since.
    fn news(&mut self, now: Evicted) -> Option<Evicted> {
        let before = std::mem::replace(&mut self.0, now);
        let more = Evicted {
            traces: now.traces - before.traces,
            spans: now.spans - before.spans,
        };
        (more != Evicted::default()).then_some(more)
    }
}

fn message(more: Evicted) -> String {
    let (traces, spans) = (counted(more.traces, "trace"), counted(more.spans, "span"));
    format!("evicted {traces} with {spans}, the oldest, to stay within the limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_evicted_is_told_once_and_added_up() {
        let mut told = Told::default();
        let evicted = |traces, spans| Evicted { traces, spans };
        assert_eq!(told.news(evicted(0, 0)), None);
        let first = told.news(evicted(1, 1200)).unwrap();
        assert_eq!(
            message(first),
            "evicted 1 trace with 1,200 spans, the oldest, to stay within the limits"
        );
        assert_eq!(told.news(evicted(1, 1200)), None);
        assert_eq!(told.news(evicted(4, 1210)), Some(evicted(3, 10)));
    }
}
