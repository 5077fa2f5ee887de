//! Traces to send.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link, SpanKind},
        status::StatusCode,
    },
};

/// 2026-11-21T09:00:00Z, in nanoseconds since the Unix epoch.
pub(crate) const NINE: u64 = 1_795_251_600_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

pub(crate) const CHAIN: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const EVERYTHING: &str = "00000000000000000abcdef012345678";

/// One request through the edge, uservice3 and uservice4, as three processes send it.
pub(crate) fn chain() -> ExportTraceServiceRequest {
    let trace = id(CHAIN);
    let at = |id: u8, parent: u8, name: &str, kind: SpanKind, start: u64, end: u64| Span {
        trace_id: trace.clone(),
        span_id: span_id(id),
        parent_span_id: if parent == 0 {
            Vec::new()
        } else {
            span_id(parent)
        },
        flags: 0x101,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: NINE + start * MS,
        end_time_unix_nano: NINE + end * MS + 123_456,
        status: Some(Status::default()),
        ..Span::default()
    };
    let edge = vec![
        Span {
            attributes: vec![
                text("http.request.method", "GET"),
                int("http.response.status_code", 200),
                text("url.path", "/"),
                text("server.address", "uservice3.localhost"),
            ],
            ..at(1, 0, "GET", SpanKind::Server, 0, 1710)
        },
        at(2, 1, "ReverseProxy", SpanKind::Client, 1, 1709),
    ];
    let uservice3 = vec![
        Span {
            attributes: vec![
                text("http.request.method", "GET"),
                text("example", "\u{1F980}"),
            ],
            events: vec![Event {
                time_unix_nano: NINE + 4 * MS,
                name: "Request decoded!".to_owned(),
                attributes: vec![int("headers", 9)],
                ..Event::default()
            }],
            ..at(3, 2, "handle_incoming_call", SpanKind::Server, 3, 1707)
        },
        at(4, 3, "redis_call", SpanKind::Internal, 5, 148),
        Span {
            attributes: vec![
                text("server.address", "uservice4"),
                int("server.port", 7878),
            ],
            ..at(5, 3, "other_uservice_call", SpanKind::Client, 149, 1706)
        },
    ];
    let uservice4 = vec![
        at(6, 5, "handle_incoming_call", SpanKind::Server, 151, 1704),
        Span {
            status: Some(Status {
                message: "timed out: <img onerror=alert(1)>".to_owned(),
                code: StatusCode::Error.into(),
            }),
            ..at(7, 6, "database_call", SpanKind::Internal, 152, 1703)
        },
    ];
    ExportTraceServiceRequest {
        resource_spans: vec![
            from_service("edge", edge),
            from_service("uservice3", uservice3),
            from_service("uservice4", uservice4),
        ],
    }
}

/// Every field and every kind of value, with what is unusual but allowed.
pub(crate) fn everything() -> ExportTraceServiceRequest {
    let value = |value| AnyValue { value: Some(value) };
    let attributes = vec![
        text("string", "a \"quoted\" <tag> & \u{2028}\u{e9}"),
        text("", "the key is empty"),
        text("empty", ""),
        text("twice", "first"),
        text("twice", "second"),
        attribute("false", Value::BoolValue(false)),
        int("zero", 0),
        int("least", i64::MIN),
        int("greatest", i64::MAX),
        attribute("whole", Value::DoubleValue(3.0)),
        attribute("fraction", Value::DoubleValue(0.1)),
        attribute("minus zero", Value::DoubleValue(-0.0)),
        attribute("large", Value::DoubleValue(1e300)),
        attribute("small", Value::DoubleValue(5e-324)),
        attribute("nan", Value::DoubleValue(f64::NAN)),
        attribute("infinity", Value::DoubleValue(f64::INFINITY)),
        attribute("minus infinity", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("bytes", Value::BytesValue(vec![0, 0xff, 0xfe])),
        attribute("no bytes", Value::BytesValue(Vec::new())),
        attribute("no array", Value::ArrayValue(ArrayValue::default())),
        attribute("no map", Value::KvlistValue(KeyValueList::default())),
        attribute(
            "array",
            Value::ArrayValue(ArrayValue {
                values: vec![
                    value(Value::StringValue("a".to_owned())),
                    value(Value::IntValue(-1)),
                    value(Value::ArrayValue(ArrayValue {
                        values: vec![value(Value::BoolValue(true))],
                    })),
                ],
            }),
        ),
        attribute(
            "map",
            Value::KvlistValue(KeyValueList {
                values: vec![text("k", "v"), attribute("d", Value::DoubleValue(2.5))],
            }),
        ),
        KeyValue {
            key: "unset".to_owned(),
            value: Some(AnyValue { value: None }),
            ..KeyValue::default()
        },
    ];
    let whole = Span {
        trace_id: id(EVERYTHING),
        span_id: span_id(0xab),
        trace_state: "vendor=1,other=2".to_owned(),
        parent_span_id: Vec::new(),
        flags: 0x300,
        name: "everything".to_owned(),
        kind: SpanKind::Producer.into(),
        start_time_unix_nano: NINE,
        end_time_unix_nano: NINE + 1,
        attributes,
        dropped_attributes_count: 1,
        events: vec![
            Event {
                time_unix_nano: NINE + 2,
                name: "later".to_owned(),
                attributes: vec![text("k", "v")],
                dropped_attributes_count: 2,
            },
            Event {
                time_unix_nano: NINE + 1,
                ..Event::default()
            },
        ],
        dropped_events_count: 3,
        links: vec![
            Link {
                trace_id: id(CHAIN),
                span_id: span_id(7),
                trace_state: "l=1".to_owned(),
                attributes: vec![int("n", 1)],
                dropped_attributes_count: 4,
                flags: 1,
            },
            Link {
                trace_id: id(EVERYTHING),
                span_id: span_id(1),
                ..Link::default()
            },
        ],
        dropped_links_count: 5,
        status: Some(Status {
            message: String::new(),
            code: StatusCode::Ok.into(),
        }),
    };
    let bare = Span {
        trace_id: id(EVERYTHING),
        span_id: span_id(0xac),
        parent_span_id: span_id(0xab),
        start_time_unix_nano: NINE + 1,
        end_time_unix_nano: NINE + 1,
        ..Span::default()
    };
    let consumer = Span {
        span_id: span_id(0xad),
        kind: SpanKind::Consumer.into(),
        ..bare.clone()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "everything"), int("process.pid", 1)],
                dropped_attributes_count: 6,
                ..Resource::default()
            }),
            scope_spans: vec![
                ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "scope".to_owned(),
                        version: "1.0".to_owned(),
                        attributes: vec![text("s", "t")],
                        dropped_attributes_count: 7,
                    }),
                    spans: vec![consumer, whole],
                    schema_url: "https://opentelemetry.io/schemas/1.37.0".to_owned(),
                },
                ScopeSpans {
                    spans: vec![bare],
                    ..ScopeSpans::default()
                },
            ],
            schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
        }],
    }
}

/// A span with nothing but ids, a name and times: it starts at nine and takes a millisecond.
pub(crate) fn plain(trace: &str, span: u8, name: &str) -> Span {
    Span {
        trace_id: id(trace),
        span_id: span_id(span),
        name: name.to_owned(),
        start_time_unix_nano: NINE,
        end_time_unix_nano: NINE + MS,
        ..Span::default()
    }
}

pub(crate) fn from_service(service: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", service)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: service.to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

pub(crate) fn request(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![from_service(service, spans)],
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(crate) fn id(hex: &str) -> Vec<u8> {
    u128::from_str_radix(hex, 16)
        .unwrap()
        .to_be_bytes()
        .to_vec()
}

pub(crate) fn span_id(last: u8) -> Vec<u8> {
    vec![0xf0, 0, 0, 0, 0, 0, 0, last]
}
