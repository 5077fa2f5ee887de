//! What a layer measures of a request that it traces.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::{StringValue, trace::SpanContext};

use crate::{
    http::{exchange::Side, request},
    metrics::{Kind, Labels, Metrics, Observation},
};

/// What is known of a request at its start, for the labels of its measurement.
#[derive(Debug)]
pub(super) struct Measured {
    metrics: Metrics,
    pub(super) scheme: &'static str,
    /// Of a client, once there is a response.
    pub(super) version: &'static str,
    /// Where a client sends the request.
    pub(super) host: Option<StringValue>,
    /// Likewise, or 0.
    pub(super) port: u16,
    request_size: Option<u64>,
}

/// How long a request took, and what there was of its response.
#[derive(Debug)]
pub(super) struct Over<'a> {
    pub(super) duration: Duration,
    pub(super) end: SystemTime,
    pub(super) span: &'a SpanContext,
    pub(super) response_size: u64,
}

impl Measured {
    pub(super) fn new(metrics: &Metrics, scheme: &'static str, headers: &HeaderMap) -> Self {
        Self {
            metrics: metrics.clone(),
            scheme,
            version: "",
            host: None,
            port: 0,
            request_size: request::content_length(headers),
        }
    }

    /// A server has a request of HTTP to answer.
    pub(super) fn begun(&self, method: &'static str) {
        self.metrics.active().add(method, self.scheme, 1);
    }

    pub(super) fn over(&self, side: Side, labels: Labels<'_>, over: &Over<'_>) {
        let Self {
            scheme, version, ..
        } = *self;
        match (side, labels.is_call()) {
            (Side::Server, false) => {
                self.metrics.active().add(labels.method, scheme, -1);
                let labels = Labels {
                    scheme,
                    version,
                    ..labels
                };
                self.observe(Kind::HttpServer, &labels, over);
            }
            (Side::Client, false) => {
                let labels = Labels { version, ..labels };
                self.observe(Kind::HttpClient, &self.with_host(labels), over);
            }
            (Side::Server, true) => self.observe(Kind::RpcServer, &labels, over),
            (Side::Client, true) => self.observe(Kind::RpcClient, &self.with_host(labels), over),
        }
    }

    fn with_host<'l>(&'l self, labels: Labels<'l>) -> Labels<'l> {
        let host = self.host.as_ref().map_or("", StringValue::as_str).into();
        Labels {
            host,
            port: self.port,
            ..labels
        }
    }

    fn observe(&self, kind: Kind, labels: &Labels<'_>, over: &Over<'_>) {
        let observation = Observation {
            duration: over.duration,
            end: over.end,
            span: over.span,
            sizes: [self.request_size, Some(over.response_size)],
        };
        self.metrics.observe(kind, labels, &observation);
    }
}
