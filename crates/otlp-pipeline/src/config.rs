//! How and where spans are sent.

use std::time::Duration;

/// How and where spans are sent. Change what should differ from [`Config::default`].
///
/// Reads no environment: what `OTEL_*` variables say is for the caller to put in here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whom to send to: `http://host:port`, or with `https` over TLS. Default `http://localhost:4317`.
    ///
    /// With [`Protocol::HttpProtobuf`] the whole URL, e.g. `http://localhost:4318/v1/traces`; gRPC ignores a path.
    pub endpoint: String,
    /// Default [`Protocol::Grpc`].
    pub protocol: Protocol,
    /// Sent with every request, as metadata or as HTTP headers.
    pub headers: Vec<(String, String)>,
    /// Default [`Compression::None`].
    pub compression: Compression,
    /// Used if the endpoint's scheme is `https`.
    pub tls: Tls,
    /// How long one attempt may take. Default 10 s.
    pub timeout: Duration,
    /// What happens after an attempt that may be repeated.
    pub retry: Retry,
    /// How long a span may wait for company before it is sent. Default 5 s.
    pub schedule_delay: Duration,
    /// Most bytes of a request before compression. Default 1 MiB.
    pub max_request_bytes: usize,
    /// Most spans of a request. Default unlimited: `max_request_bytes` rules.
    pub max_batch_size: Option<usize>,
    /// Most bytes of encoded spans that are kept, the request on its way included. Default 10 MB.
    pub max_memory: usize,
    /// Most spans that are kept, the request on its way included. Default unlimited: `max_memory` rules.
    pub max_queue_size: Option<usize>,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Certificates to trust, in PEM, in place of the system's.
    pub certificate: Option<Vec<u8>>,
    /// What to show to a server that asks who is calling.
    pub identity: Option<Identity>,
}

/// A client's certificate and its private key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and those that it was signed with.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// What happens after an attempt that may be repeated (OTLP, "Failures").
///
/// A collector that says how long to wait is obeyed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// Before the second attempt; doubles before each further one, and varies by a random half. Default 100 ms.
    pub initial: Duration,
    /// Longest pause that is chosen here. Default 2 s.
    pub max: Duration,
    /// How long a request is tried before its spans are dropped. Default 5 min.
    pub give_up_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
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

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(2),
            give_up_after: Duration::from_secs(300),
        }
    }
}

impl std::fmt::Debug for Identity {
    /// Keeps the key out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
