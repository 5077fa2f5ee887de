//! Spans of a shape, as each subject makes them.

use std::borrow::Cow;
use std::hint::black_box;

use fastrace::collector::SpanContext;
use fastrace::prelude::LocalSpan;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, TraceContextExt as _, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use serde::{Deserialize, Serialize};

/// What a span carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// So many attributes.
    Attributes(usize),
    /// Seven attributes, and an event that has one.
    Event,
    /// A root with ten children, all without attributes.
    Family,
}

const CHILDREN: u64 = 10;

/// Names of the semantic conventions, and what stands behind the first seven stands behind the others again.
const KEYS: [&str; 32] = [
    "http.request.method",
    "url.path",
    "url.scheme",
    "http.route",
    "network.peer.address",
    "network.peer.port",
    "http.response.status_code",
    "server.address",
    "user_agent.original",
    "network.protocol.name",
    "network.protocol.version",
    "client.address",
    "client.port",
    "server.port",
    "http.request.method_original",
    "url.query",
    "url.fragment",
    "url.template",
    "network.local.address",
    "network.local.port",
    "http.response.body.size",
    "db.system.name",
    "db.query.text",
    "db.namespace",
    "db.collection.name",
    "db.operation.name",
    "messaging.message.body.size",
    "db.operation.batch.size",
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "error.type",
];

impl Shape {
    /// How many spans one call makes.
    pub(crate) fn spans(self) -> u64 {
        match self {
            Self::Family => 1 + CHILDREN,
            Self::Attributes(_) | Self::Event => 1,
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Attributes(n) => format!("{n} attributes"),
            Self::Event => "7 attributes, 1 event".to_owned(),
            Self::Family => "root and 10 children".to_owned(),
        }
    }
}

/// Two of seven are strings of their own, as what comes out of a request is.
fn value(index: usize) -> Value {
    match index % 7 {
        0 => Value::from("GET"),
        1 => Value::from(String::from("/work/item/1234")),
        2 => Value::from("http"),
        3 => Value::from("/work/{id}"),
        4 => Value::from(String::from("127.0.0.1")),
        5 => Value::from(45678),
        _ => Value::from(200),
    }
}

fn attributes(count: usize) -> Vec<KeyValue> {
    let keys = KEYS[..count].iter().enumerate();
    keys.map(|(i, key)| KeyValue::new(*key, value(i))).collect()
}

/// With the tracer of an SDK, or of none.
pub(crate) fn opentelemetry<T>(tracer: &T, root: &Context, shape: Shape)
where
    T: Tracer<Span: Send + Sync + 'static>,
{
    let builder = SpanBuilder::from_name("GET /work").with_kind(SpanKind::Server);
    match shape {
        Shape::Attributes(0) => tracer.build_with_context(builder, root).end(),
        Shape::Attributes(count) => {
            let builder = builder.with_attributes(attributes(count));
            tracer.build_with_context(builder, root).end();
        }
        Shape::Event => {
            let builder = builder.with_attributes(attributes(7));
            let mut span = tracer.build_with_context(builder, root);
            span.add_event("decoded", vec![KeyValue::new("happened", true)]);
            span.end();
        }
        Shape::Family => {
            let span = tracer.build_with_context(builder, root);
            let _guard = root.with_span(span).attach();
            for _ in 0..CHILDREN {
                tracer.start("child").end();
            }
        }
    }
}

/// Which shapes the macros below can make: their attributes stand in the source.
pub(crate) fn tracing_makes(shape: Shape) -> bool {
    !matches!(shape, Shape::Attributes(count) if ![0, 7, 20].contains(&count))
}

/// With macros; what is borrowed here, `tracing` makes strings of.
///
/// # Panics
/// On a shape that [`tracing_makes`] denies.
pub(crate) fn tracing(shape: Shape) {
    match shape {
        Shape::Attributes(0) => {
            let span = tracing::info_span!(parent: None, "GET /work", otel.kind = "server");
            drop(span.entered());
        }
        Shape::Attributes(7) => drop(seven().entered()),
        Shape::Attributes(20) => {
            let span = tracing::info_span!(
                parent: None,
                "GET /work",
                otel.kind = "server",
                http.request.method = "GET",
                url.path = black_box("/work/item/1234"),
                url.scheme = "http",
                http.route = "/work/{id}",
                network.peer.address = black_box("127.0.0.1"),
                network.peer.port = 45678_i64,
                http.response.status_code = 200_i64,
                server.address = "GET",
                user_agent.original = black_box("/work/item/1234"),
                network.protocol.name = "http",
                network.protocol.version = "/work/{id}",
                client.address = black_box("127.0.0.1"),
                client.port = 45678_i64,
                server.port = 200_i64,
                http.request.method_original = "GET",
                url.query = black_box("/work/item/1234"),
                url.fragment = "http",
                url.template = "/work/{id}",
                network.local.address = black_box("127.0.0.1"),
                network.local.port = 45678_i64,
            );
            drop(span.entered());
        }
        Shape::Event => {
            let _span = seven().entered();
            tracing::info!(happened = true, "decoded");
        }
        Shape::Family => {
            let root = tracing::info_span!(parent: None, "GET /work", otel.kind = "server");
            let _root = root.entered();
            for _ in 0..CHILDREN {
                drop(tracing::info_span!("child").entered());
            }
        }
        Shape::Attributes(count) => unreachable!("no macro with {count} attributes"),
    }
}

fn seven() -> tracing::Span {
    tracing::info_span!(
        parent: None,
        "GET /work",
        otel.kind = "server",
        http.request.method = "GET",
        url.path = black_box("/work/item/1234"),
        url.scheme = "http",
        http.route = "/work/{id}",
        network.peer.address = black_box("127.0.0.1"),
        network.peer.port = 45678_i64,
        http.response.status_code = 200_i64,
    )
}

/// With fastrace, whose properties are strings.
pub(crate) fn fastrace(shape: Shape) {
    let root = || fastrace::Span::root("GET /work", SpanContext::random());
    match shape {
        Shape::Attributes(0) => drop(root()),
        Shape::Attributes(count) => drop(root().with_properties(|| properties(count))),
        Shape::Event => {
            let span = root().with_properties(|| properties(7));
            let event = fastrace::Event::new("decoded");
            span.add_event(event.with_property(|| ("happened", "true")));
        }
        Shape::Family => {
            let root = root();
            let _guard = root.set_local_parent();
            for _ in 0..CHILDREN {
                drop(LocalSpan::enter_with_local_parent("child"));
            }
        }
    }
}

fn properties(count: usize) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
    let value = |index| match index % 7 {
        0 => Cow::from("GET"),
        1 => Cow::from(String::from("/work/item/1234")),
        2 => Cow::from("http"),
        3 => Cow::from("/work/{id}"),
        4 => Cow::from(String::from("127.0.0.1")),
        5 => Cow::from("45678"),
        _ => Cow::from("200"),
    };
    let keys = KEYS[..count].iter().enumerate();
    keys.map(move |(i, key)| (*key, value(i)))
}
