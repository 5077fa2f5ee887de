//! What all receivers have in common, whatever they speak.

use std::{sync::Arc, time::Duration};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use tokio::sync::Semaphore;

use super::build::Rejected;
use crate::{output::Limited, store::Store};

/// Bytes of one message, after decompression.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Requests that are read at once, over all connections of all receivers: together with
/// `MAX_MESSAGE_BYTES` this bounds the memory for messages. More wait their turn.
const MAX_CALLS: usize = 8;

/// How long a request may take to arrive.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(super) store: Arc<Store>,
    /// One permit for each request that is read.
    pub(super) calls: Arc<Semaphore>,
    refusals: Arc<Limited>,
}

impl Receiver {
    pub(crate) fn new(store: Arc<Store>) -> Receiver {
        Receiver {
            store,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            refusals: Arc::new(Limited::new()),
        }
    }

    /// `what` is the protocol, `why` was said to the sender too.
    pub(super) fn log_refusal(&self, what: &str, why: &str) {
        self.refusals
            .line(&format!("refused a request over {what}: {why}"));
    }
}

/// Unset means that everything was kept.
pub(super) fn partial_success(rejected: &Rejected) -> Option<ExportTracePartialSuccess> {
    (rejected.spans() > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: rejected.spans().cast_signed(),
        error_message: rejected.message(),
    })
}
