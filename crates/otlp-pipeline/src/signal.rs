//! Spans or log records: all in which a pipeline for the one differs from a pipeline for the other.

/// What a pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Spans,
    LogRecords,
}

impl Signal {
    /// The method that takes them (OTLP/gRPC, "Export").
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::LogRecords => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// Where a collector takes them by default (OTLP/HTTP, "Request").
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Spans => "/v1/traces",
            Self::LogRecords => "/v1/logs",
        }
    }

    pub(crate) const fn one(self) -> &'static str {
        match self {
            Self::Spans => "span",
            Self::LogRecords => "log record",
        }
    }

    pub(crate) const fn many(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::LogRecords => "log records",
        }
    }
}
