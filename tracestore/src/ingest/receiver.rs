//! What all receivers have in common, whatever they speak: turns, and the way into the store.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    Form,
    arrival::{Admission, Turn},
    build::{Decoded, Refused, Rejected},
};
use crate::{
    metrics::{BadId, Metrics, Outcome, Protocol},
    output::Limited,
    store::{Accepted, Store, Unavailable},
};

/// Requests that are kept at once, over all connections of all receivers: together with
/// [`Receiver::max_message_bytes`] this bounds the memory for what they become. More wait their turn.
pub(super) const MAX_CALLS: u32 = 8;

/// How long a request may wait for its turn, and how long it may take to arrive.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(super) store: Arc<Store>,
    /// Of one message, before and after decompression.
    pub(super) max_message_bytes: usize,
    /// One permit for each request that is being kept.
    pub(super) calls: Arc<Semaphore>,
    pub(super) admission: Admission,
    pub(super) metrics: Arc<Metrics>,
    refusals: Arc<Limited>,
}

/// Why nothing of a request is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKept {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// With how many bytes it may take.
    #[error("the request takes more than {}, which --max-request-size allows", in_mebibytes(*.0))]
    TooLong(usize),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Other requests took up the time.
    #[error("too many requests at once")]
    Busy,
    #[error("the request took too long to arrive")]
    Late,
    /// The connection was lost, or something in it made no sense.
    #[error("the body broke off: {0}")]
    BrokeOff(String),
    /// The panic itself is on standard error.
    #[error("an internal error of the store")]
    Panicked,
}

/// For people.
fn in_mebibytes(bytes: usize) -> String {
    match bytes % (1 << 20) {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

impl Receiver {
    pub(crate) fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        max_message_bytes: usize,
    ) -> Receiver {
        Receiver {
            store,
            max_message_bytes,
            calls: Arc::new(Semaphore::new(MAX_CALLS as usize)),
            admission: Admission::new(),
            metrics,
            refusals: Arc::new(Limited::new()),
        }
    }

    /// Waits until nothing more is on its way into the store, even for senders that have gone.
    pub(crate) async fn idle(&self) {
        let _ = self.calls.acquire_many(MAX_CALLS).await;
    }

    /// Counts and logs a request of which nothing is kept. `why` was said to the sender too.
    pub(super) fn refused(&self, protocol: Protocol, outcome: Outcome, why: &str) {
        self.metrics.request(protocol, outcome);
        self.log_refusal(protocol.name(), why);
    }

    /// `what` is the protocol, `why` was said to the sender too.
    pub(super) fn log_refusal(&self, what: &str, why: &str) {
        self.refusals
            .line(&format!("refused a request over {what}: {why}"));
    }
}

/// Runs what computes for long or writes to a disk where no connection waits for it. Once begun,
/// it ends, and has its turn until then, even if nobody waits for the result any more.
///
/// # Errors
/// `Panicked`.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotKept> {
    let work = move || {
        let _turn = turn;
        work()
    };
    spawn_blocking(work).await.map_err(|_| NotKept::Panicked)
}

/// Decodes a message and keeps its spans, which is counted; what is refused is counted by the
/// caller. Blocks.
pub(super) fn keep(
    store: &Store,
    metrics: &Metrics,
    protocol: Protocol,
    body: &[u8],
) -> Result<Rejected, NotKept> {
    metrics.bytes(protocol, body.len());
    let form = Form::of(protocol);
    let Decoded { batches, rejected } = super::decode(form, body)?;
    let spans: usize = batches.iter().map(|batch| batch.spans.len()).sum();
    if !batches.is_empty() {
        let accepted = Accepted {
            form: form as u8,
            body,
            batches,
            received: SystemTime::now(),
        };
        store.append(&accepted)?;
        metrics.kept(&accepted);
    }
    metrics.accepted_spans(protocol, spans as u64);
    for (reason, spans) in rejected.by_reason() {
        let id = match reason {
            reason if reason.contains("parent_span_id") => BadId::Parent,
            reason if reason.contains("span_id") => BadId::Span,
            _ => BadId::Trace,
        };
        metrics.rejected_spans(protocol, id, spans);
    }
    let outcome = match rejected.spans() {
        0 => Outcome::Accepted,
        _ => Outcome::Partial,
    };
    metrics.request(protocol, outcome);
    Ok(rejected)
}

/// Unset means that everything was kept.
pub(super) fn partial_success(rejected: &Rejected) -> Option<ExportTracePartialSuccess> {
    (rejected.spans() > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: rejected.spans().cast_signed(),
        error_message: rejected.message(),
    })
}
