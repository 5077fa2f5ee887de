//! Puts a trace together, whole, from wherever its spans are.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::Arc,
};

use hashbrown::HashTable;

use super::{
    part::{Opened, Part},
    search::Failed,
};
use crate::{
    query::{MAX_ANSWER_BYTES, Patience, Stopped},
    span::{Group, Resource, Scope, Span, Trace, TraceId},
};

/// Spans of one trace that are put together: what a reader takes for it is some kilobytes a span.
pub(crate) const MAX_TRACE_SPANS: usize = 250_000;

/// As many may have come twice.
pub(super) const MAX_TRACE_ROWS: usize = 2 * MAX_TRACE_SPANS;

/// How many spans are put together before the clock is looked at.
const SPANS_PER_CHECK: usize = 256;

/// The spans of one trace, wherever they are.
pub(crate) struct Fragments {
    id: TraceId,
    opened: Vec<(Opened, Range<u32>)>,
    /// Whether there are more rows than that.
    has_more: bool,
}

impl Fragments {
    /// `None` if no part has a span of the trace. Of very many spans those that are kept first.
    pub(super) fn find(
        parts: &[Arc<Part>],
        id: TraceId,
        patience: &Patience,
    ) -> Result<Option<Fragments>, Failed> {
        let mut opened = Vec::new();
        let mut left = MAX_TRACE_ROWS;
        let mut has_more = false;
        for part in parts {
            patience.check()?;
            if let Some(trace) = part.find(id)? {
                let mut rows = part.one_trace(trace)?.rows;
                has_more |= rows.len() > left;
                if left == 0 {
                    break;
                }
                rows.end = rows.end.min(
                    rows.start
                        .saturating_add(u32::try_from(left).unwrap_or(u32::MAX)),
                );
                left -= rows.len();
                opened.push((Opened::new(part, std::slice::from_ref(&rows))?, rows));
            }
        }
        Ok((!opened.is_empty()).then_some(Fragments {
            id,
            opened,
            has_more,
        }))
    }

    /// Everything known of the trace, or, of very long ones, the spans that are kept first. A span that came twice,
    /// identical to the last byte, is there once.
    pub(crate) fn trace(&self, patience: &Patience) -> Result<Trace<'_>, Stopped> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut by_source: HashMap<(Arc<Resource<'_>>, Arc<Scope<'_>>), usize> = HashMap::new();
        let mut seen: HashTable<(usize, usize)> = HashTable::new();
        let hasher = RandomState::new();
        let hash = |group: usize, span: &Span<'_>| hasher.hash_one((group, span));
        let mut partial = self.has_more.then(too_many_spans);
        let mut spans = 0;
        let mut bytes = 0;
        'all: for (opened, rows) in &self.opened {
            // Groups of this part by the rows of their resource and scope.
            let mut known: HashMap<(Option<u32>, Option<u32>), usize> = HashMap::new();
            for (number, row) in rows.clone().enumerate() {
                if number % SPANS_PER_CHECK == 0 {
                    patience.check()?;
                }
                let Some(span) = opened.span(row) else {
                    continue;
                };
                let source = (opened.resource_of(row), opened.scope_of(row));
                let group = *known.entry(source).or_insert_with(|| {
                    let (resource, scope) = source;
                    let resource = resource.map(|row| opened.resource(row));
                    let scope = scope.map(|row| opened.scope(row));
                    let resource = Arc::new(resource.unwrap_or_default());
                    let scope = Arc::new(scope.unwrap_or_default());
                    let next = groups.len();
                    match by_source.entry((resource, scope)) {
                        hash_map::Entry::Occupied(known) => *known.get(),
                        hash_map::Entry::Vacant(vacant) => {
                            let (resource, scope) = vacant.key();
                            groups.push(Group {
                                resource: Arc::clone(resource),
                                scope: Arc::clone(scope),
                                spans: Vec::new(),
                            });
                            *vacant.insert(next)
                        }
                    }
                });
                let hashed = hash(group, &span);
                let is_same = |(other, index): &(usize, usize)| {
                    *other == group && groups[*other].spans[*index] == span
                };
                if seen.find(hashed, is_same).is_none() {
                    spans += 1;
                    bytes += span.bytes();
                    if spans > MAX_TRACE_SPANS {
                        partial = Some(too_many_spans());
                        break 'all;
                    }
                    if bytes > MAX_ANSWER_BYTES {
                        partial = Some(too_many_bytes(spans - 1));
                        break 'all;
                    }
                    let next = (group, groups[group].spans.len());
                    let rehash = |(group, index): &(usize, usize)| {
                        hash(*group, &groups[*group].spans[*index])
                    };
                    seen.insert_unique(hashed, next, rehash);
                    groups[group].spans.push(span);
                }
            }
        }
        // One may have been made for a span that is left out.
        groups.retain(|group| !group.spans.is_empty());
        Ok(Trace {
            id: self.id,
            groups,
            partial,
        })
    }
}

fn too_many_spans() -> String {
    format!("the trace has more than {MAX_TRACE_SPANS} spans: these are the first that were kept")
}

fn too_many_bytes(spans: usize) -> String {
    let max = MAX_ANSWER_BYTES >> 20;
    format!(
        "these are the first {spans} spans that were kept: the rest would take more than {max} MiB"
    )
}
