//! Says which traces are too long for queries that look at whole traces.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use super::fragments::MAX_TRACE_SPANS;
use crate::{output, span::TraceId};

/// Nothing is said more often.
const PAUSE: Duration = Duration::from_secs(60);

/// When something was said last, and how often a trace was left out since.
static SAID: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));

pub(super) fn leave_out(trace: TraceId) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let (last, times) = &mut *said;
    *times += 1;
    if last.is_some_and(|last| last.elapsed() < PAUSE) {
        return;
    }
    let text = format!(
        "trace {trace} has more than {MAX_TRACE_SPANS} spans: queries that look at whole traces leave it out"
    );
    let fields = json!({ "trace_id": trace.to_string(), "times": *times });
    (*last, *times) = (Some(Instant::now()), 0);
    drop(said);
    output::warn(&text, fields);
}
