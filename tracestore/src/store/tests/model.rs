//! Whatever happens to parts, a trace is the spans that were sent.

use std::collections::{BTreeMap, HashSet};

use proptest::{prelude::*, sample::select};
use tempfile::TempDir;

use super::{Request, append, keep, on_disk, patience, requests, still, unbounded};
use crate::{
    span::{Resource, Scope, Span, TraceId},
    store::{Store, keeper},
};

/// A span with where it is from.
pub(super) type Whole = (Resource<'static>, Scope<'static>, Span<'static>);

/// All spans of each trace, each of its contents once.
pub(super) type Traces = BTreeMap<TraceId, HashSet<Whole>>;

pub(super) fn add(traces: &mut Traces, request: &Request) {
    for batch in &request.batches {
        for (id, span) in &batch.spans {
            let whole = (
                (*batch.resource).clone(),
                (*batch.scope).clone(),
                span.clone(),
            );
            traces.entry(*id).or_default().insert(whole);
        }
    }
}

pub(super) fn of(requests: &[Request]) -> Traces {
    let mut traces = Traces::new();
    for request in requests {
        add(&mut traces, request);
    }
    traces
}

/// Panics unless the store has these traces and, of `absent`, no others.
pub(super) fn check(store: &Store, expected: &Traces, absent: &[TraceId]) {
    for (id, expected) in expected {
        let fragments = store
            .find(*id, &patience().0)
            .unwrap()
            .expect("the trace was sent");
        let trace = fragments.trace(&patience().0).unwrap();
        assert_eq!(trace.id, *id);
        let mut left: HashSet<_> = expected.iter().map(|(a, b, c)| (a, b, c)).collect();
        let mut groups = HashSet::new();
        for group in &trace.groups {
            assert!(!group.spans.is_empty());
            assert!(
                groups.insert((&group.resource, &group.scope)),
                "two groups of one source"
            );
            for span in &group.spans {
                let whole = (&*group.resource, &*group.scope, span);
                assert!(left.remove(&whole), "not sent, or there twice: {whole:?}");
            }
        }
        assert!(left.is_empty(), "missing: {left:?}");
    }
    for id in absent.iter().filter(|id| !expected.contains_key(id)) {
        assert!(store.find(*id, &patience().0).unwrap().is_none());
    }
}

/// What may happen to parts between two requests.
#[derive(Clone, Copy, Debug)]
enum Step {
    Nothing,
    Merge,
    Seal,
    Keep,
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    select(vec![
        Step::Nothing,
        Step::Merge,
        Step::Seal,
        Step::Keep,
        Step::Reopen,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_trace_is_what_was_sent_of_it(
        history in proptest::collection::vec((requests::request(), steps(), any::<bool>()), 1..12),
        is_on_disk: bool,
    ) {
        let folder = TempDir::new().unwrap();
        let open = || match is_on_disk {
            true => on_disk(folder.path(), unbounded()),
            false => still(None, unbounded()),
        };
        let mut store = open();
        let mut expected = Traces::new();
        let mut rows = 0;
        let absent: Vec<TraceId> = (0..6).map(super::trace_id).collect();
        for (request, step, is_repeated) in &history {
            for _ in 0..1 + usize::from(*is_repeated) {
                append(&store, request).unwrap();
                rows += request.batches.iter().map(|batch| batch.spans.len() as u64).sum::<u64>();
            }
            add(&mut expected, request);
            check(&store, &expected, &absent);
            match step {
                Step::Nothing => {}
                Step::Merge => keeper::merge_all(&store.shared),
                Step::Seal => keeper::seal(&store.shared).unwrap(),
                Step::Keep => keep(&store),
                Step::Reopen if is_on_disk => {
                    drop(store);
                    store = open();
                }
                Step::Reopen => {}
            }
            check(&store, &expected, &absent);
            let usage = store.usage();
            prop_assert_eq!(usage.spans, rows);
            prop_assert!(usage.traces >= expected.len() as u64);
            prop_assert!(usage.damaged.count == 0, "{:?}", usage.damaged);
        }
    }
}
