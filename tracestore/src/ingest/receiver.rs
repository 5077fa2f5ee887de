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
    build::{Decoded, DecodedLogs, Refused, Rejected},
};
use crate::{
    metrics::{BadId, Metrics, Outcome, Protocol, Signal},
    output::Limited,
    store::{Accepted, AcceptedLogs, Logs, Store, Unavailable},
};

/// Requests that are kept at once, over all connections of all receivers: together with
/// [`Receiver::max_message_bytes`] this bounds the memory for what they become. More wait their turn.
pub(super) const MAX_CALLS: u32 = 8;

/// How long a request may wait for its turn, and how long it may take to arrive.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Receiver {
    store: Arc<Store>,
    logs: Arc<Logs>,
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
        logs: Arc<Logs>,
        metrics: Arc<Metrics>,
        max_message_bytes: usize,
    ) -> Receiver {
        Receiver {
            store,
            logs,
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
    pub(super) fn refused(&self, signal: Signal, protocol: Protocol, outcome: Outcome, why: &str) {
        self.metrics.request(signal, protocol, outcome);
        self.log_refusal(protocol.name(), why);
    }

    /// Decodes a message and keeps what it holds, which is counted; what is refused is counted by
    /// the caller. Blocks.
    pub(super) fn keep(
        &self,
        signal: Signal,
        protocol: Protocol,
        body: &[u8],
    ) -> Result<Rejected, NotKept> {
        self.metrics.bytes(signal, protocol, body.len());
        let rejected = match signal {
            Signal::Traces => self.keep_spans(protocol, body)?,
            Signal::Logs => self.keep_logs(protocol, body)?,
        };
        let outcome = match rejected.total() {
            0 => Outcome::Accepted,
            _ => Outcome::Partial,
        };
        self.metrics.request(signal, protocol, outcome);
        Ok(rejected)
    }

    fn keep_spans(&self, protocol: Protocol, body: &[u8]) -> Result<Rejected, NotKept> {
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
            self.store.append(&accepted)?;
            self.metrics.kept(&accepted);
        }
        self.metrics
            .accepted(Signal::Traces, protocol, spans as u64);
        for (reason, spans) in rejected.by_reason() {
            let id = match reason {
                reason if reason.contains("parent_span_id") => BadId::Parent,
                reason if reason.contains("span_id") => BadId::Span,
                _ => BadId::Trace,
            };
            self.metrics.rejected_spans(protocol, id, spans);
        }
        Ok(rejected)
    }

    fn keep_logs(&self, protocol: Protocol, body: &[u8]) -> Result<Rejected, NotKept> {
        let form = Form::of(protocol);
        let DecodedLogs {
            batches,
            rejected,
            dropped_ids,
        } = super::decode_logs(form, body)?;
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        if !batches.is_empty() {
            self.logs.append(&AcceptedLogs {
                form: form as u8,
                body,
                batches,
                received: SystemTime::now(),
            })?;
        }
        self.metrics
            .accepted(Signal::Logs, protocol, records as u64);
        self.metrics.rejected_logs(protocol, rejected.total());
        self.metrics
            .dropped_ids(dropped_ids.traces, dropped_ids.spans);
        Ok(rejected)
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

/// Unset means that everything was kept. For logs it is another message with the same fields:
/// `ExportLogsPartialSuccess` has `rejected_log_records` where this one has `rejected_spans`.
pub(super) fn partial_success(
    signal: Signal,
    rejected: &Rejected,
) -> Option<ExportTracePartialSuccess> {
    (rejected.total() > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: rejected.total().cast_signed(),
        error_message: rejected.message(signal),
    })
}
