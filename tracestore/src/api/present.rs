//! What readers of a trace rely on, whatever its senders did.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::span::{Group, KeyValue, Resource, SERVICE_NAME, Span, Trace, Value};

/// Sorts spans by start and id, events and links likewise, and groups by their first span, as
/// Tempo does; groups of one resource stand together.
///
/// Two things that break Grafana are mended: a resource without attributes, whose spans it drops,
/// gets `service.name="unknown_service"`, and a span that ends before it starts, which it shows
/// as 584 years long, ends at its start.
pub(crate) fn in_order(mut trace: Trace<'_>) -> Trace<'_> {
    for group in &mut trace.groups {
        if group.resource.attributes.is_empty() {
            group.resource = Arc::new(unknown_service(&group.resource));
        }
        for span in &mut group.spans {
            mend(span);
        }
        group
            .spans
            .sort_by_key(|span| (span.start_unix_nano, span.id));
    }
    let first = |group: &Group<'_>| {
        let span = group.spans.first();
        span.map(|span| (span.start_unix_nano, span.id))
    };
    trace.groups.sort_by_key(first);
    let mut by_resource: IndexMap<Arc<Resource<'_>>, Vec<Group<'_>>> = IndexMap::new();
    for group in trace.groups {
        let resource = Arc::clone(&group.resource);
        by_resource.entry(resource).or_default().push(group);
    }
    Trace {
        id: trace.id,
        groups: by_resource.into_values().flatten().collect(),
    }
}

/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/service/#service-name>
fn unknown_service<'a>(resource: &Resource<'a>) -> Resource<'a> {
    Resource {
        attributes: vec![KeyValue {
            key: SERVICE_NAME.into(),
            value: Value::String("unknown_service".into()),
        }],
        ..resource.clone()
    }
}

fn mend(span: &mut Span<'_>) {
    span.end_unix_nano = span.end_unix_nano.max(span.start_unix_nano);
    span.events
        .sort_by(|a, b| (a.time_unix_nano, &a.name).cmp(&(b.time_unix_nano, &b.name)));
    span.links.sort_by_key(|link| (link.trace, link.span));
}
