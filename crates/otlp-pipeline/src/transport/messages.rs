//! The few messages that an answer may hold.
//!
//! Strings are bytes here: one that is not UTF-8 must not hide the rest of its message.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse`, or that of logs, which looks the same.
#[derive(Message)]
pub(super) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess`, or that of logs.
#[derive(Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected: i64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) error_message: Bytes,
}

/// `google.rpc.Status`
#[derive(Message)]
pub(super) struct Status {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) message: Bytes,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Message)]
struct Any {
    #[prost(bytes = "bytes", tag = "1")]
    type_url: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`
#[derive(Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Status {
    /// How long to wait, if there is a `RetryInfo`; without a delay, or with one in the past, zero.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let info = self
            .details
            .iter()
            .filter(|any| any.type_url.ends_with(b"/google.rpc.RetryInfo"))
            .find_map(|any| RetryInfo::decode(any.value.clone()).ok())?;
        let delay = info.retry_delay.unwrap_or_default();
        let seconds = u64::try_from(delay.seconds).ok();
        let nanos = u32::try_from(delay.nanos).ok();
        let delay = seconds.zip(nanos).map(|(seconds, nanos)| {
            Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))
        });
        Some(delay.unwrap_or_default())
    }
}
