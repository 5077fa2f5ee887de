//! The store against a model that keeps everything in one vector.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proptest::prelude::*;

use super::{Accepted, Batch, Form, Store, Usage};
use crate::span::{
    KeyValue, Kind, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId, Value,
};

/// A span as the model knows it: equal parts mean an equal span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    trace: u8,
    span: u8,
    /// Length of the name, which sets how much memory the span takes.
    name: usize,
    resource: u8,
    scope: u8,
}

#[derive(Default)]
struct Model {
    kept: Vec<Sent>,
    /// Least recently extended first.
    traces: Vec<u8>,
    evicted_traces: u64,
    evicted_spans: u64,
}

impl Model {
    fn insert(&mut self, batches: &[Vec<Sent>]) {
        for batch in batches {
            let mut extended: Vec<u8> = Vec::new();
            for sent in batch {
                if !extended.contains(&sent.trace) {
                    extended.push(sent.trace);
                }
                if !self.kept.contains(sent) {
                    self.kept.push(*sent);
                }
            }
            self.traces.retain(|trace| !extended.contains(trace));
            self.traces.extend(extended);
        }
    }

    fn evict_oldest(&mut self) {
        let oldest = self.traces.remove(0);
        let before = self.kept.len();
        self.kept.retain(|sent| sent.trace != oldest);
        self.evicted_traces += 1;
        self.evicted_spans += (before - self.kept.len()) as u64;
    }

    /// The bytes that a store without a bound takes for this.
    fn bytes(&self) -> usize {
        let store = Store::new(usize::MAX);
        for sent in &self.kept {
            insert(&store, &[vec![*sent]]);
        }
        store.usage().bytes
    }
}

fn trace_id(trace: u8) -> TraceId {
    TraceId::new([trace + 1; 16]).unwrap()
}

fn named(name: &str, value: u8) -> Vec<KeyValue<'_>> {
    vec![KeyValue {
        key: name.into(),
        value: Value::Int(value.into()),
    }]
}

fn span(id: u8, name: usize) -> Span<'static> {
    Span {
        id: SpanId::new([id + 1; 8]).unwrap(),
        parent: None,
        trace_state: "".into(),
        flags: 0,
        name: "n".repeat(name).into(),
        kind: Kind::Internal,
        start_unix_nano: 1,
        end_unix_nano: 2,
        attributes: named("name", 0),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        links: Vec::new(),
        dropped_links: 0,
        status: Status::default(),
    }
}

fn resource(number: u8) -> Arc<Resource<'static>> {
    Arc::new(Resource {
        attributes: named("resource", number),
        ..Resource::default()
    })
}

fn scope(number: u8) -> Arc<Scope<'static>> {
    Arc::new(Scope {
        attributes: named("scope", number),
        ..Scope::default()
    })
}

/// A batch has one resource and one scope: those of its first span.
fn insert(store: &Store, batches: &[Vec<Sent>]) {
    let batches = batches.iter().map(|sent| Batch {
        resource: resource(sent[0].resource),
        scope: scope(sent[0].scope),
        spans: sent
            .iter()
            .map(|sent| (trace_id(sent.trace), span(sent.span, sent.name)))
            .collect(),
    });
    append(store, batches.collect(), UNIX_EPOCH);
}

fn append(store: &Store, batches: Vec<Batch<'_>>, received: SystemTime) {
    let accepted = Accepted {
        form: Form::OtlpProtobuf,
        body: &[],
        batches,
        received,
    };
    store.append(accepted).unwrap();
}

fn contents(
    store: &Store,
    trace: u8,
) -> Option<HashSet<(Resource<'static>, Scope<'static>, Span<'static>)>> {
    let found = store.trace(trace_id(trace))?;
    let mut spans = HashSet::new();
    for group in &found.groups {
        for span in &group.spans {
            let one = (
                (*group.resource).clone(),
                (*group.scope).clone(),
                span.clone(),
            );
            assert!(spans.insert(one), "kept twice");
        }
    }
    Some(spans)
}

fn any_batch() -> impl Strategy<Value = Vec<Sent>> {
    let spans = prop::collection::vec((0..6_u8, 0..3_u8, 0..400_usize), 1..5);
    (0..3_u8, 0..2_u8, spans).prop_map(|(resource, scope, spans)| {
        let sent = |(trace, span, name)| Sent {
            trace,
            span,
            // Few different names, so that spans are often sent again.
            name: name / 200 * 200,
            resource,
            scope,
        };
        spans.into_iter().map(sent).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_keeps_what_a_naive_model_keeps(
        requests in prop::collection::vec(prop::collection::vec(any_batch(), 1..4), 1..12),
        max_bytes in 0..12_000_usize,
    ) {
        let store = Store::new(max_bytes);
        let mut model = Model::default();
        for request in requests {
            insert(&store, &request);
            model.insert(&request);
            while model.bytes() > max_bytes {
                model.evict_oldest();
            }

            for trace in 0..6 {
                let kept: HashSet<_> = model
                    .kept
                    .iter()
                    .filter(|sent| sent.trace == trace)
                    .map(|sent| (
                        (*resource(sent.resource)).clone(),
                        (*scope(sent.scope)).clone(),
                        span(sent.span, sent.name),
                    ))
                    .collect();
                prop_assert_eq!(contents(&store, trace).unwrap_or_default(), kept);
            }
            prop_assert_eq!(store.usage(), Usage {
                traces: model.traces.len(),
                spans: model.kept.len(),
                bytes: model.bytes(),
                evicted_traces: model.evicted_traces,
                evicted_spans: model.evicted_spans,
            });
            prop_assert_eq!(store.newest(100, None).len(), model.traces.len());
        }
    }
}

#[test]
fn a_trace_that_grows_is_not_the_oldest() {
    let one = |trace| Sent {
        trace,
        span: 0,
        name: 0,
        resource: 0,
        scope: 0,
    };
    let measure = Store::new(usize::MAX);
    insert(
        &measure,
        &[vec![one(0), one(1), Sent { span: 1, ..one(0) }]],
    );
    let store = Store::new(measure.usage().bytes);

    insert(&store, &[vec![one(0)], vec![one(1)]]);
    insert(&store, &[vec![Sent { span: 1, ..one(0) }]]);
    insert(&store, &[vec![one(2)]]);

    assert_eq!(store.trace(trace_id(1)), None);
    assert!(store.trace(trace_id(0)).is_some());
    assert!(store.trace(trace_id(2)).is_some());
    assert_eq!(store.usage().evicted_traces, 1);
}

#[test]
fn resources_and_scopes_are_shared_between_traces() {
    let store = Store::new(usize::MAX);
    let sent = |trace| Sent {
        trace,
        span: 0,
        name: 0,
        resource: 1,
        scope: 1,
    };
    insert(&store, &[vec![sent(0)]]);
    insert(&store, &[vec![sent(1)]]);
    let [first, second] = [0, 1].map(|trace| store.trace(trace_id(trace)).unwrap().groups);
    assert!(Arc::ptr_eq(&first[0].resource, &second[0].resource));
    assert!(Arc::ptr_eq(&first[0].scope, &second[0].scope));
}

#[test]
fn traces_are_listed_by_start_unless_their_clock_is_wrong() {
    let store = Store::new(usize::MAX);
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
    let send = |trace: u8, start_unix_nano: u64, received: SystemTime| {
        let span = Span {
            start_unix_nano,
            end_unix_nano: 0,
            ..span(0, 0)
        };
        let batch = Batch {
            resource: resource(0),
            scope: scope(0),
            spans: vec![(trace_id(trace), span)],
        };
        append(&store, vec![batch], received);
    };
    const SECOND: u64 = 1_000_000_000;
    send(0, 990 * SECOND, at(1000));
    send(1, 995 * SECOND, at(1001));
    send(2, u64::MAX, at(1002)); // In 2554: counts as of its arrival.
    send(3, 0, at(1003)); // Unknown: likewise.
    send(4, 1, at(1004)); // In 1970: the oldest, but found in a window by its arrival.
    send(5, 995 * SECOND, at(1005));

    let listed = |window| -> Vec<u8> {
        let newest = store.newest(10, window);
        newest.iter().map(|one| one.id.bytes()[0] - 1).collect()
    };
    assert_eq!(listed(None), [3, 2, 1, 5, 0, 4]);
    assert_eq!(listed(Some(1004 * SECOND..=1004 * SECOND)), [4]);
    assert_eq!(listed(Some(985 * SECOND..=992 * SECOND)), [0]);
    assert_eq!(store.newest(2, None).len(), 2);
    assert_eq!(store.newest(1, None)[0].id, trace_id(3));
}

#[test]
fn the_root_is_the_earliest_span_without_a_parent() {
    let store = Store::new(usize::MAX);
    let send = |id: u8, parent: Option<u8>, start_unix_nano: u64, code: StatusCode| {
        let span = Span {
            parent: parent.map(|id| SpanId::new([id; 8]).unwrap()),
            start_unix_nano,
            end_unix_nano: start_unix_nano + 10,
            status: Status {
                code,
                ..Status::default()
            },
            ..span(id, id.into())
        };
        let batch = Batch {
            resource: resource(0),
            scope: scope(0),
            spans: vec![(trace_id(0), span)],
        };
        append(&store, vec![batch], UNIX_EPOCH);
        store.newest(1, None).remove(0)
    };
    assert_eq!(send(1, Some(9), 5, StatusCode::Error).root, None);
    let root_name = |root: Option<super::summary::Root>| root.unwrap().name.len();
    assert_eq!(root_name(send(2, None, 20, StatusCode::Unset).root), 2);
    assert_eq!(root_name(send(3, None, 30, StatusCode::Unset).root), 2);
    let summary = send(4, None, 10, StatusCode::Ok);
    assert_eq!((summary.start_unix_nano, summary.end_unix_nano), (5, 40));
    let stats = summary.services[""];
    assert_eq!((stats.spans, stats.errors), (4, 1));
    assert_eq!(root_name(summary.root), 4);
}
