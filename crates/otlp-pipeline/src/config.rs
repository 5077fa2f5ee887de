//! How and where spans are sent.

use std::{borrow::Cow, fmt, time::Duration};

use crate::signal::Signal;

/// How and where spans are sent. Change what should differ from [`Config::default`].
///
/// Reads no environment: what `OTEL_*` variables say is for the caller to put in here.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Set by whoever starts the pipeline.
    pub(crate) signal: Signal,
    /// Whom to send to: `http://host:port`, or with `https` over TLS. Default `http://localhost:4317`.
    ///
    /// With [`Protocol::HttpProtobuf`] the whole URL, e.g. `http://localhost:4318/v1/traces`: without a path, as the default
    /// is, it is a mistake. gRPC ignores a path.
    pub endpoint: String,
    /// Default [`Protocol::Grpc`].
    pub protocol: Protocol,
    /// Sent with every request, as metadata or as HTTP headers, in printable ASCII; that of a `-bin` header in base64.
    ///
    /// A `user-agent` is put before this crate's own. Those that the protocols set, e.g. `content-type`, are refused.
    pub headers: Vec<(String, String)>,
    /// Default [`Compression::None`].
    pub compression: Compression,
    /// Used if the endpoint's scheme is `https`, and checked in any case.
    pub tls: Tls,
    /// How long one attempt may take, a connection included if it needs one. Default 10 s.
    pub timeout: Duration,
    /// What happens after an attempt that may be repeated.
    pub retry: Retry,
    /// How long a span may wait for company before it is sent. Default 5 s.
    pub schedule_delay: Duration,
    /// Most bytes of a request before compression, or a quarter of `max_memory` or 64 MiB if that is less; at least 1 KiB.
    /// A span that is larger is dropped. Default 1 MiB.
    pub max_request_bytes: usize,
    /// Most spans of a request, at least one. A thread with so many does not let them wait. Default unlimited:
    /// `max_request_bytes` rules.
    pub max_batch_size: Option<usize>,
    /// Most bytes that are allocated for encoded spans, the request on its way included; at least 16 KiB. The transport has
    /// a copy of that request while it sends it. Default 10 MB.
    pub max_memory: usize,
    /// Most spans that are kept, the request on its way included; at least one. Each thread has up to 64 of the places at
    /// a time, so that the last few may be left empty. Default unlimited: `max_memory` rules.
    pub max_queue_size: Option<usize>,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

/// Whom to trust, and who to be.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// Certificates to trust, in PEM, in place of the system's. Those are found where OpenSSL looks for them,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` included.
    pub certificate: Option<Vec<u8>>,
    /// What to show to a server that asks who is calling.
    pub identity: Option<Identity>,
}

/// A client's certificate and its private key, both in PEM.
#[derive(Clone)]
#[non_exhaustive]
pub struct Identity {
    /// The certificate, and those that it was signed with.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// What happens after an attempt that may be repeated (OTLP, "Failures").
///
/// Those are: no connection, no answer in time or one that breaks off; of gRPC's statuses `CANCELLED`,
/// `DEADLINE_EXCEEDED`, `ABORTED`, `OUT_OF_RANGE`, `UNAVAILABLE`, `DATA_LOSS`, and `RESOURCE_EXHAUSTED` with a
/// `RetryInfo`; of HTTP's 429, 502, 503, 504. An answer that breaks off is not known to be a success, so
/// spans can arrive twice.
///
/// A collector that says how long to wait is obeyed, up to an hour, and by all requests: it is not asked earlier.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// Before the second attempt; doubles before each further one. Each pause is shortened at random, by a half at
    /// most, so that many processes do not come back at once. Default 100 ms.
    pub initial: Duration,
    /// Longest pause that is chosen here, an hour at most. Default 2 s.
    pub max: Duration,
    /// How long after the first attempt others may begin, before the spans are dropped. Default 5 min.
    ///
    /// Given up earlier if it is certain that none can: the collector asked for a longer pause. That costs the one
    /// request; others wait until the pause is over, and then have all their time. Zero means that nothing is repeated.
    pub give_up_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            signal: Signal::Spans,
            endpoint: "http://localhost:4317".to_owned(),
            protocol: Protocol::Grpc,
            headers: Vec::new(),
            compression: Compression::None,
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
            retry: Retry::default(),
            schedule_delay: Duration::from_secs(5),
            max_request_bytes: 1 << 20,
            max_batch_size: None,
            max_memory: 10_000_000,
            max_queue_size: None,
        }
    }
}

impl fmt::Debug for Config {
    /// Keeps values of headers, and a password in the endpoint, out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            signal: _,
            endpoint,
            protocol,
            headers,
            compression,
            tls,
            timeout,
            retry,
            schedule_delay,
            max_request_bytes,
            max_batch_size,
            max_memory,
            max_queue_size,
        } = self;
        let headers: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Config")
            .field("endpoint", &without_user(endpoint))
            .field("protocol", protocol)
            .field("headers", &headers)
            .field("compression", compression)
            .field("tls", tls)
            .field("timeout", timeout)
            .field("retry", retry)
            .field("schedule_delay", schedule_delay)
            .field("max_request_bytes", max_request_bytes)
            .field("max_batch_size", max_batch_size)
            .field("max_memory", max_memory)
            .field("max_queue_size", max_queue_size)
            .finish()
    }
}

/// An endpoint as it may be shown: what stands before an @ may be a password.
pub(crate) fn without_user(endpoint: &str) -> Cow<'_, str> {
    match endpoint.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}").into(),
        None => endpoint.into(),
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(2),
            give_up_after: Duration::from_secs(300),
        }
    }
}

impl Identity {
    /// A certificate, those that it was signed with, and its private key.
    pub fn new(certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
        }
    }
}

impl fmt::Debug for Identity {
    /// Keeps the key out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
