//! What is counted of log records.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::Registry,
};

use super::{BadId, Labels, Outcome, Protocol, describe};
use crate::store::Logs;

/// What came over the protocols that have logs. All series are there from the start.
pub(super) struct LogCounts {
    received: [ReceivedLogs; PROTOCOLS.len()],
    dropped_trace_ids: Counter,
    dropped_span_ids: Counter,
}

/// What came over one protocol.
pub(super) struct ReceivedLogs {
    pub(super) requests: [Counter; Outcome::ALL.len()],
    pub(super) bytes: Counter,
    pub(super) accepted: Counter,
    pub(super) rejected: Counter,
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol::OtlpGrpc,
    Protocol::OtlpHttpProtobuf,
    Protocol::OtlpHttpJson,
];

impl LogCounts {
    pub(super) fn new(registry: &mut Registry) -> LogCounts {
        let requests: Family<Labels<2>, Counter> = Family::default();
        registry.register(
            "log_requests",
            "Requests with log records by what became of them, in the words of tracestore_requests",
            requests.clone(),
        );
        let bytes: Family<Labels<1>, Counter> = Family::default();
        registry.register(
            "log_received_bytes",
            "Bytes of messages with log records, after decompression",
            bytes.clone(),
        );
        let accepted: Family<Labels<1>, Counter> = Family::default();
        registry.register(
            "log_records_accepted",
            "Log records that were kept when they arrived",
            accepted.clone(),
        );
        let rejected: Family<Labels<2>, Counter> = Family::default();
        registry.register(
            "log_records_rejected",
            "Log records that were not kept, in requests that otherwise were, by what was wrong with them",
            rejected.clone(),
        );
        let dropped: Family<Labels<1>, Counter> = Family::default();
        registry.register(
            "log_ids_dropped",
            "Trace ids and span ids of the wrong length, which were left out of log records that were kept",
            dropped.clone(),
        );
        let received = PROTOCOLS.map(|protocol| {
            let protocol = ("protocol", protocol.label());
            ReceivedLogs {
                requests: Outcome::ALL.map(|outcome| {
                    requests.get_or_create_owned(&[protocol, ("outcome", outcome.label())])
                }),
                bytes: bytes.get_or_create_owned(&[protocol]),
                accepted: accepted.get_or_create_owned(&[protocol]),
                rejected: rejected.get_or_create_owned(&[protocol, ("reason", "too_large")]),
            }
        });
        let of = |id: BadId| dropped.get_or_create_owned(&[("reason", id.label())]);
        LogCounts {
            received,
            dropped_trace_ids: of(BadId::Trace),
            dropped_span_ids: of(BadId::Span),
        }
    }

    /// Thrift has no logs, and is not asked for.
    pub(super) fn of(&self, protocol: Protocol) -> &ReceivedLogs {
        &self.received[match protocol {
            Protocol::OtlpGrpc | Protocol::JaegerThrift => 0,
            Protocol::OtlpHttpProtobuf => 1,
            Protocol::OtlpHttpJson => 2,
        }]
    }

    pub(super) fn dropped_ids(&self, traces: u64, spans: u64) {
        self.dropped_trace_ids.inc_by(traces);
        self.dropped_span_ids.inc_by(spans);
    }
}

/// What the store says of its log records when it is asked.
#[derive(Debug)]
pub(super) struct KeptLogs(pub(super) Arc<Logs>);

impl Collector for KeptLogs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (usage, options) = (self.0.usage(), self.0.options());
        let age = match usage.oldest_unix_nano {
            0 => Duration::ZERO,
            nanos => {
                let oldest = UNIX_EPOCH + Duration::from_nanos(nanos);
                oldest.elapsed().unwrap_or_default()
            }
        };
        let disk_limit = match self.0.is_on_disk() {
            true => options.max_disk,
            false => 0,
        };
        for (name, help, value) in [
            (
                "log_records",
                "Log records that are kept",
                usage.records as f64,
            ),
            (
                "log_memory_bytes",
                "Memory that kept log records take, without requests and answers in the making",
                usage.memory_bytes as f64,
            ),
            (
                "log_memory_limit_bytes",
                "What --max-log-memory allows kept log records to take",
                options.max_memory as f64,
            ),
            (
                "log_disk_bytes",
                "Disk space that kept log records take",
                usage.disk_bytes as f64,
            ),
            (
                "log_disk_limit_bytes",
                "What --max-log-disk allows kept log records to take, 0 if they are kept in memory only",
                disk_limit as f64,
            ),
            (
                "log_oldest_age_seconds",
                "How long ago the oldest of the kept log records arrived",
                age.as_secs_f64(),
            ),
            (
                "log_age_limit_seconds",
                "How long log records are kept at most: what --max-log-age says",
                options.max_age.as_secs_f64(),
            ),
            (
                "log_damaged_pieces",
                "Pieces of log data that could not be read since the start and were dropped or left out",
                usage.damaged.count as f64,
            ),
        ] {
            describe(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        for (name, help, value) in [
            (
                "log_records_evicted",
                "Log records that were removed to stay within the limits, the oldest first",
                usage.evicted,
            ),
            (
                "log_store_refusals",
                "Requests with log records that were good and yet not kept, because the store could not",
                usage.refused_requests,
            ),
            (
                "log_requests_repeated",
                "Requests with log records that had come before, and are kept once",
                usage.repeated_requests,
            ),
        ] {
            describe(&mut encoder, name, help, &ConstCounter::new(value))?;
        }
        Ok(())
    }
}
