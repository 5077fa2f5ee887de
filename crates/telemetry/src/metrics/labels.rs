//! What a series is told apart by.

use std::{borrow::Cow, fmt};

use opentelemetry::trace::{SpanId, TraceId};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// The labels of a request. What is empty, or 0, is no label.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Labels<'a> {
    /// Of what came after there were too many.
    pub(crate) overflow: bool,
    /// `http.route`, or `rpc.method`.
    pub(crate) target: Cow<'a, str>,
    /// `http.request.method`, or nothing for a call of gRPC.
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    /// `rpc.response.status_code`.
    pub(crate) code: &'static str,
    pub(crate) error: Cow<'a, str>,
    pub(crate) scheme: &'static str,
    pub(crate) version: &'static str,
    /// `server.address`.
    pub(crate) host: Cow<'a, str>,
    /// `server.port`.
    pub(crate) port: u16,
}

impl Labels<'_> {
    pub(super) fn overflow() -> Labels<'static> {
        Labels {
            overflow: true,
            ..Labels::default()
        }
    }

    /// Whether these are the same, as `==` has it, but quickly: most are empty, and `memcmp` takes its time for those,
    /// since with AVX-512 it reads under a mask from wherever an empty string points to.
    pub(super) fn is(&self, other: &Labels<'_>) -> bool {
        let same =
            |one: &str, other: &str| one.len() == other.len() && (one.is_empty() || one == other);
        self.status == other.status
            && self.port == other.port
            && self.overflow == other.overflow
            && same(&self.target, &other.target)
            && same(self.method, other.method)
            && same(self.code, other.code)
            && same(&self.error, &other.error)
            && same(self.scheme, other.scheme)
            && same(self.version, other.version)
            && same(&self.host, &other.host)
    }

    pub(super) fn into_owned(self) -> Labels<'static> {
        let Labels {
            overflow,
            target,
            method,
            status,
            code,
            error,
            scheme,
            version,
            host,
            port,
        } = self;
        let (target, error, host) = (target.into_owned(), error.into_owned(), host.into_owned());
        let (target, error, host) = (target.into(), error.into(), host.into());
        Labels {
            overflow,
            target,
            method,
            status,
            code,
            error,
            scheme,
            version,
            host,
            port,
        }
    }

    pub(crate) fn is_call(&self) -> bool {
        !self.code.is_empty()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut text = |name: &'static str, value: &str| match value {
            "" => Ok(()),
            value => (name, value).encode(encoder.encode_label()),
        };
        if self.overflow {
            return text("otel_metric_overflow", "true");
        }
        text("http_request_method", self.method)?;
        if self.is_call() {
            text("rpc_system_name", "grpc")?;
            text("rpc_method", &self.target)?;
            text("rpc_response_status_code", self.code)?;
        } else {
            text("http_route", &self.target)?;
        }
        text("url_scheme", self.scheme)?;
        text("network_protocol_version", self.version)?;
        text("server_address", &self.host)?;
        text("error_type", &self.error)?;
        let mut number = |name: &'static str, value: u16| match value {
            0 => Ok(()),
            value => (name, value).encode(encoder.encode_label()),
        };
        number("server_port", self.port)?;
        number("http_response_status_code", self.status)
    }
}

/// What an exemplar leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanIds {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

impl EncodeLabelSet for SpanIds {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("trace_id", self.trace.to_string()).encode(encoder.encode_label())?;
        ("span_id", self.span.to_string()).encode(encoder.encode_label())
    }
}
