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
    query::Patience,
    span::{Group, Resource, Scope, Span, Trace, TraceId},
};

/// Spans of one trace that are put together: what a reader takes for it is some kilobytes a span.
pub(super) const MAX_TRACE_SPANS: usize = 250_000;

/// The spans of one trace, wherever they are.
pub(crate) struct Fragments {
    id: TraceId,
    opened: Vec<(Opened, Range<u32>)>,
}

impl Fragments {
    /// `None` if no part has a span of the trace.
    pub(super) fn find(
        parts: &[Arc<Part>],
        id: TraceId,
        patience: &Patience,
    ) -> Result<Option<Fragments>, Failed> {
        let mut opened = Vec::new();
        let mut spans = 0;
        for part in parts {
            patience.check()?;
            if let Some(trace) = part.find(id)? {
                let rows = part.one_trace(trace)?.rows;
                spans += rows.len();
                if spans > MAX_TRACE_SPANS {
                    return Err(Failed::TooLarge);
                }
                opened.push((Opened::new(part, std::slice::from_ref(&rows))?, rows));
            }
        }
        Ok((!opened.is_empty()).then_some(Fragments { id, opened }))
    }

    /// Everything known of the trace. A span that came twice, identical to the last byte, is there
    /// once.
    pub(crate) fn trace(&self) -> Trace<'_> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut by_source: HashMap<(Arc<Resource<'_>>, Arc<Scope<'_>>), usize> = HashMap::new();
        let mut seen: HashTable<(usize, usize)> = HashTable::new();
        let hasher = RandomState::new();
        let hash = |group: usize, span: &Span<'_>| hasher.hash_one((group, span));
        for (opened, rows) in &self.opened {
            // Groups of this part by the rows of their resource and scope.
            let mut known: HashMap<(Option<u32>, Option<u32>), usize> = HashMap::new();
            for row in rows.clone() {
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
                    let next = (group, groups[group].spans.len());
                    let rehash = |(group, index): &(usize, usize)| {
                        hash(*group, &groups[*group].spans[*index])
                    };
                    seen.insert_unique(hashed, next, rehash);
                    groups[group].spans.push(span);
                }
            }
        }
        Trace {
            id: self.id,
            groups,
        }
    }
}
