//! Answers queries in TraceQL: columns narrow the traces down, and traces are judged by the language's own evaluator, which
//! reads of them what the query names.

mod compare;
mod metrics;
mod plan;
#[cfg(test)]
mod tests;
mod view;

use std::{cell::Cell, ops::RangeInclusive};

use traceql::{EvaluateError, Expressions, Field, FieldExpression, Query, Static, TraceCondition};

pub(crate) use self::metrics::{Range, series};
use self::{plan::Plan, view::View};
use crate::{
    compile,
    query::{
        Filter, FoundSpan, MAX_ANSWER_BYTES, Patience, Search, SpanSet, Stopped, TraceFilter,
        distinct,
    },
    span::{Double, KeyValue, Value},
    store::{Early, Found, Judge, Marks, QueryError, Sets, Slice, Store, Survey},
};

/// What is asked for beside the query.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Nanoseconds since the Unix epoch.
    pub(crate) window: Option<RangeInclusive<u64>>,
    /// Traces.
    pub(crate) traces: usize,
    pub(crate) spans_per_trace: usize,
}

impl Limits {
    fn search(&self) -> Search {
        Search {
            filter: TraceFilter::Some(Filter::All),
            window: self.window.clone(),
            limit: self.traces,
            spans_per_trace: self.spans_per_trace,
            select: Vec::new(),
        }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("a query that finds traces makes no series")]
    IsSearch,
    #[error("the query makes too many series")]
    TooManySeries,
    #[error("a metrics query finds no traces")]
    IsMetrics,
}

/// The newest traces, whatever is in them.
pub(crate) fn newest(
    store: &Store,
    limits: &Limits,
    early: Option<&Early<'_>>,
    patience: &Patience,
) -> Result<Vec<Found>, Failed> {
    Ok(store.search(&limits.search(), None, early, patience)?)
}

/// The newest traces in which the query finds something.
///
/// # Errors
/// A query for metrics finds no traces.
pub(crate) fn search(
    store: &Store,
    query: &Query,
    limits: &Limits,
    early: Option<&Early<'_>>,
    patience: &Patience,
) -> Result<Vec<Found>, Failed> {
    if query.metrics.is_some() {
        return Err(Failed::IsMetrics);
    }
    let mut search = limits.search();
    if let Some(compiled) = compile::exact(query) {
        search.filter = TraceFilter::Some(compiled.filter);
        search.select = compiled.select;
        return Ok(store.search(&search, None, early, patience)?);
    }
    search.filter = candidates(&query.trace_condition());
    judged(store, query, &Plan::new(query), &search, early, patience)
}

/// The newest traces that pass and in which the evaluator finds something.
fn judged(
    store: &Store,
    query: &Query,
    plan: &Plan<'_>,
    search: &Search,
    early: Option<&Early<'_>>,
    patience: &Patience,
) -> Result<Vec<Found>, Failed> {
    let fields = query.fields();
    let failed = Cell::new(None);
    let is_too_large = Cell::new(false);
    let look = |slice: &Slice| {
        let view = View::new(slice, plan, patience);
        let sets = evaluate(query, &view, patience, &failed)?;
        let (mut found, mut bytes) = (Vec::with_capacity(sets.len()), 0);
        for set in span_sets(query, &fields, &view, sets, search.spans_per_trace) {
            patience.check()?;
            bytes += set.bytes();
            if bytes > MAX_ANSWER_BYTES {
                is_too_large.set(true);
                return Err(Stopped::Abandoned);
            }
            found.push(set);
        }
        Ok(found)
    };
    let judge = Judge {
        reads: plan.reads.clone(),
        look: &look,
    };
    let found = store.search(search, Some(&judge), early, patience);
    if is_too_large.get() {
        return Err(QueryError::too_large().into());
    }
    match failed.take() {
        Some(error) => Err(error.into()),
        None => Ok(found?),
    }
}

/// What the query finds in a trace; an error other than the end of patience is left in `failed`.
fn evaluate(
    query: &Query,
    view: &View<'_>,
    patience: &Patience,
    failed: &Cell<Option<EvaluateError>>,
) -> Result<Vec<traceql::Spanset>, Stopped> {
    traceql::evaluate(query, view).map_err(|error| match error {
        EvaluateError::Stopped => patience.check().err().unwrap_or(Stopped::Deadline),
        error => {
            failed.set(Some(error));
            Stopped::Abandoned
        }
    })
}

/// Calls `count` with the set of the spans that a query finds, and with that of those which meet the selection too, if there
/// is one. Says also how many traces were too long to be looked at. Where columns cannot tell the spans, only traces of which
/// a part was running or received in the window are looked at; nanoseconds since the Unix epoch.
pub(crate) fn with_sets<T>(
    query: &Query,
    selection: Option<&FieldExpression>,
    window: &RangeInclusive<u64>,
    patience: &Patience,
    count: impl FnOnce(&Sets<'_>) -> Result<T, Failed>,
) -> Result<(T, usize), Failed> {
    if let Some(spans) = compile::spans(query) {
        match selection {
            None => return Ok((count(&Sets::Passing(&[spans]))?, 0)),
            Some(selection) => {
                if let Some(selected) = compile::exact_filter(selection) {
                    return Ok((count(&Sets::Passing(&[spans, selected]))?, 0));
                }
            }
        }
    }
    let plan = Plan::new(query);
    let failed = Cell::new(None);
    let mark = |slice: &Slice, marks: &mut Marks| {
        let view = View::new(slice, &plan, patience);
        let sets = evaluate(query, &view, patience, &failed)?;
        let looked_up = Expressions::new(&view);
        for span in sets.iter().flat_map(|set| &set.spans).copied() {
            marks.insert(0, slice, span);
            if selection.is_some_and(|selection| looked_up.matches(selection, span)) {
                marks.insert(1, slice, span);
            }
        }
        Ok(())
    };
    let survey = survey(query, &plan, window);
    let counted = count(&Sets::Marked(
        &survey,
        1 + usize::from(selection.is_some()),
        &mark,
    ));
    match failed.take() {
        Some(error) => Err(error.into()),
        None => Ok((counted?, survey.left_out.get())),
    }
}

fn survey(query: &Query, plan: &Plan<'_>, window: &RangeInclusive<u64>) -> Survey {
    Survey {
        filter: candidates(&query.trace_condition()),
        window: window.clone(),
        reads: plan.reads.clone(),
        left_out: Cell::new(0),
    }
}

/// What a trace must have, as far as columns can tell.
fn candidates(condition: &TraceCondition<'_>) -> TraceFilter {
    match condition {
        TraceCondition::Some(condition) => TraceFilter::Some(compile::necessary(condition)),
        TraceCondition::And(all) => TraceFilter::And(all.iter().map(candidates).collect()),
        TraceCondition::Or(any) => TraceFilter::Or(any.iter().map(candidates).collect()),
    }
}

fn span_sets(
    query: &Query,
    fields: &[&Field],
    view: &View<'_>,
    sets: Vec<traceql::Spanset>,
    spans_per_trace: usize,
) -> impl Iterator<Item = SpanSet> {
    let expressions = Expressions::new(view);
    let found = move |span: usize| {
        let attribute = |field: &&Field| {
            let value = query.shown(field, expressions.field(field, span)?);
            shown(field, value.to_static())
        };
        let (id, name, start_unix_nano, end_unix_nano) = view.identity(span);
        FoundSpan {
            id,
            name,
            start_unix_nano,
            end_unix_nano,
            attributes: distinct(fields.iter().filter_map(attribute)),
        }
    };
    let set = move |set: traceql::Spanset| SpanSet {
        matched: u32::try_from(set.spans.len()).unwrap_or(u32::MAX),
        spans: set
            .spans
            .iter()
            .take(spans_per_trace)
            .map(|span| found(*span))
            .collect(),
        attributes: (set.attributes.into_iter())
            .map(|(key, value)| key_value(key, value))
            .collect(),
    };
    sets.into_iter().map(set)
}

/// `None` for what an answer tells of every span or trace anyway.
fn shown(field: &Field, value: Static) -> Option<KeyValue<'static>> {
    use traceql::Intrinsic;
    let key = match field {
        Field::Attribute(attribute) => attribute.name.clone(),
        Field::Intrinsic(
            Intrinsic::Name
            | Intrinsic::Duration
            | Intrinsic::SpanId
            | Intrinsic::TraceId
            | Intrinsic::TraceDuration
            | Intrinsic::RootName
            | Intrinsic::RootServiceName,
        ) => return None,
        Field::Intrinsic(intrinsic) => intrinsic.as_str().to_owned(),
    };
    Some(key_value(key, value))
}

pub(crate) fn key_value(key: String, value: Static) -> KeyValue<'static> {
    KeyValue {
        key: key.into(),
        value: span_value(value),
    }
}

/// As Tempo writes it: what has no type of its own there is text.
fn span_value(value: Static) -> Value<'static> {
    match value {
        Static::Nil => Value::String("nil".into()),
        Static::Int(number) => Value::Int(number),
        Static::Float(number) => Value::Double(Double(number)),
        Static::String(text) => Value::String(text.into()),
        Static::Bool(is) => Value::Bool(is),
        duration @ Static::Duration(_) => Value::String(duration.to_string().into()),
        Static::Status(status) => Value::String(status.as_str().into()),
        Static::Kind(kind) => Value::String(kind.as_str().into()),
        Static::Array(values) => Value::Array(values.into_iter().map(span_value).collect()),
    }
}
