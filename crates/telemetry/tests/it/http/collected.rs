//! Spans that arrived, as text.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, SpanData},
};
use telemetry::http::{ClientLayer, ServerLayer};

#[derive(Clone)]
pub(crate) struct Collected {
    provider: SdkTracerProvider,
    spans: InMemorySpanExporter,
}

impl Collected {
    pub(crate) fn new() -> Self {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        Self { provider, spans }
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("test")
    }

    pub(crate) fn server(&self) -> ServerLayer {
        ServerLayer::new(self.tracer()).propagator(TraceContextPropagator::new())
    }

    pub(crate) fn client(&self) -> ClientLayer {
        ClientLayer::new(self.tracer()).propagator(TraceContextPropagator::new())
    }

    pub(crate) fn now(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    /// Waits for as many spans, since a server ends its own after the client has its answer.
    pub(crate) async fn wait(&self, count: usize) -> Vec<SpanData> {
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            let spans = self.now();
            if spans.len() >= count {
                assert_eq!(spans.len(), count, "{}", trees(&spans));
                return spans;
            }
            assert!(Instant::now() < patience, "only {}", trees(&spans));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn trees(&self, count: usize) -> String {
        trees(&self.wait(count).await)
    }
}

/// Each span below its parent, with everything that it tells but for ids, times and ports.
fn trees(spans: &[SpanData]) -> String {
    let ids: HashSet<SpanId> = spans
        .iter()
        .map(|span| span.span_context.span_id())
        .collect();
    let mut text = String::new();
    for span in spans
        .iter()
        .filter(|span| !ids.contains(&span.parent_span_id))
    {
        if span.parent_span_id != SpanId::INVALID {
            let _ = writeln!(
                text,
                "of {} {}",
                span.span_context.trace_id(),
                span.parent_span_id
            );
        }
        tree(&mut text, spans, span, 0);
    }
    text
}

fn tree(text: &mut String, spans: &[SpanData], span: &SpanData, depth: usize) {
    let indent = "    ".repeat(depth);
    let kind = match span.span_kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        _ => "internal",
    };
    let status = match &span.status {
        Status::Unset => "",
        Status::Ok => " ok",
        Status::Error { description } if description.is_empty() => " ERROR",
        Status::Error { .. } => " ERROR with a description",
    };
    assert!(span.end_time >= span.start_time);
    let _ = writeln!(text, "{indent}{kind} {:?}{status}", span.name);
    for link in span.links.iter() {
        let linked = &link.span_context;
        let _ = writeln!(
            text,
            "{indent}  linked to {} {}",
            linked.trace_id(),
            linked.span_id()
        );
    }
    let mut keys = BTreeSet::new();
    for attribute in &span.attributes {
        let key = attribute.key.as_str();
        assert!(keys.insert(key), "{key} occurs twice");
    }
    for key in keys {
        let value = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key);
        let value = value.unwrap().value.as_str();
        let value = match key {
            "server.port" | "network.peer.port" => "PORT".into(),
            _ => without_ports(&value),
        };
        let _ = writeln!(text, "{indent}  {key}={value}");
    }
    let children = spans.iter().filter(|child| {
        child.parent_span_id == span.span_context.span_id()
            && child.span_context.trace_id() == span.span_context.trace_id()
    });
    let mut children: Vec<_> = children.collect();
    children.sort_by_key(|child| child.start_time);
    for child in children {
        tree(text, spans, child, depth + 1);
    }
}

fn without_ports(value: &str) -> String {
    let mut parts = value.split("127.0.0.1:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        text.push_str("127.0.0.1:PORT");
        text.push_str(rest);
    }
    text
}
