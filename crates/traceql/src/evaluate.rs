//! Queries over one trace at a time.

mod aggregate;
mod bound;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::ast::{
    Field, FieldExpression, Intrinsic, Pipeline, Query, Scope, SpansetExpression, Stage,
};
use crate::structure::{Parent, Structure};
use crate::value::{Key, Static, Value};
use bound::Bound;

/// One trace, whose spans are numbered from zero.
///
/// A field is looked up once for each trace, and its values once for each span, so that an implementation over columns
/// neither allocates nor searches for a value.
pub trait Trace {
    /// What is known of a field after it was found: the number of a column, say.
    type Column: Copy;

    /// How many spans there are.
    fn len(&self) -> usize;

    /// Whether there is no span.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands above a span. Cycles and indices beyond the trace are borne.
    fn parent(&self, span: usize) -> Parent;

    /// Finds an attribute; `None` if no span has it. An attribute without a scope is looked for in all of them.
    fn attribute(&self, scope: Scope, name: &str) -> Option<Self::Column>;

    /// Finds an intrinsic; its own documentation says what it holds. Never one that
    /// [is structural](Intrinsic::is_structural).
    fn intrinsic(&self, intrinsic: Intrinsic) -> Option<Self::Column>;

    /// What a span has there; `None` if nothing. Of events, links and repeated keys [`Value::Several`], unless there is exactly
    /// one.
    fn value(&self, column: Self::Column, span: usize) -> Option<Value<'_>>;

    /// Those of `spans` that a filter of the [query](Query::filters) matches, if that is known without their values: a store
    /// may have looked at whole columns before it came to this trace. `None` to have the filter evaluated.
    fn matched(&self, filter: &FieldExpression, spans: &[usize]) -> Option<Vec<usize>> {
        let _ = (filter, spans);
        None
    }

    /// Whether to give up, because a deadline has passed, say. Asked once for each filter and spanset.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Some spans of a trace that belong together, never none.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanset {
    /// Their indices, ascending.
    pub spans: Vec<usize>,
    /// What `by(…)` and the aggregates found, named as Tempo names it: `by(name)`, `count()`. The value of a group may be
    /// [nil](Static::Nil).
    pub attributes: Vec<(String, Static)>,
}

/// Why a query has no answer for a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvaluateError {
    /// One side of a structural operator is several spansets, after `by(…)`. Tempo refuses it too.
    ManySpansets,
    /// [`Trace::is_stopped`] said so.
    Stopped,
}

impl fmt::Display for EvaluateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EvaluateError::ManySpansets => {
                "a structural operator takes one spanset of each side: use coalesce() after by()"
            }
            EvaluateError::Stopped => "stopped",
        })
    }
}

impl std::error::Error for EvaluateError {}

/// The spansets of a trace that the query's pipeline leaves; none if the trace does not match.
///
/// Metrics and hints are not looked at.
///
/// # Errors
/// See [`EvaluateError`]. What has no value, as a division by zero, fails no query: it is nil.
pub fn evaluate<T: Trace>(query: &Query, trace: &T) -> Result<Vec<Spanset>, EvaluateError> {
    let spans: Vec<_> = (0..trace.len()).collect();
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let evaluator = Evaluator::new(trace);
    let all = Spanset {
        spans,
        attributes: Vec::new(),
    };
    evaluator.pipeline(&query.pipeline, vec![all])
}

/// Expressions over the spans of one trace, for what is done with spans after they were found.
///
/// ```
/// # use traceql::{Expressions, Intrinsic, Parent, Scope, Static, Trace, Value, parse_field};
/// # struct Empty;
/// # impl Trace for Empty {
/// #     type Column = ();
/// #     fn len(&self) -> usize { 1 }
/// #     fn parent(&self, _: usize) -> Parent { Parent::None }
/// #     fn attribute(&self, _: Scope, _: &str) -> Option<()> { None }
/// #     fn intrinsic(&self, _: Intrinsic) -> Option<()> { Some(()) }
/// #     fn value(&self, _: (), _: usize) -> Option<Value<'_>> { Some(Value::Str("GET /")) }
/// # }
/// # let trace = Empty;
/// let field = parse_field("span:name")?.into();
/// let expressions = Expressions::new(&trace);
/// let name = expressions.value(&field, 0);
/// assert_eq!(name.map(Value::to_static), Some(Static::String("GET /".to_owned())));
/// # Ok::<(), traceql::ParseError>(())
/// ```
pub struct Expressions<'a, T: Trace>(Evaluator<'a, T>);

impl<'a, T: Trace> Expressions<'a, T> {
    /// Expressions over the spans of `trace`.
    pub fn new(trace: &'a T) -> Expressions<'a, T> {
        Expressions(Evaluator::new(trace))
    }

    /// What an expression is for a span; `None` is nil.
    pub fn value(&self, expression: &'a FieldExpression, span: usize) -> Option<Value<'a>> {
        self.0.bound(expression).value(&self.0.context, span)
    }

    /// The value of a field for a span, wherever an attribute without a scope is found; `None` is nil.
    ///
    /// It looks the field up anew: keep an expression for what is asked of many spans.
    pub fn field(&self, field: &Field, span: usize) -> Option<Value<'a>> {
        bound::column(field, self.0.context.trace).value(&self.0.context, span)
    }

    /// Whether a filter matches a span.
    pub fn matches(&self, filter: &'a FieldExpression, span: usize) -> bool {
        self.0.bound(filter).is_true(&self.0.context, span)
    }

    /// How the trace's spans are related.
    pub fn structure(&self) -> &Structure {
        self.0.context.structure()
    }
}

impl<T: Trace> fmt::Debug for Expressions<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions").finish_non_exhaustive()
    }
}

/// The trace, and its structure once that is needed.
struct Context<'a, T> {
    trace: &'a T,
    structure: OnceCell<Structure>,
}

impl<T: Trace> Context<'_, T> {
    fn structure(&self) -> &Structure {
        let trace = self.trace;
        self.structure
            .get_or_init(|| Structure::new(trace.len(), |span| trace.parent(span)))
    }
}

struct Evaluator<'a, T: Trace> {
    context: Context<'a, T>,
    /// Expressions whose fields were found in the trace, by their addresses, which the borrowed query keeps.
    bound: RefCell<HashMap<*const FieldExpression, Rc<Bound<'a, T::Column>>>>,
}

impl<'a, T: Trace> Evaluator<'a, T> {
    fn new(trace: &'a T) -> Evaluator<'a, T> {
        Evaluator {
            context: Context {
                trace,
                structure: OnceCell::new(),
            },
            bound: RefCell::default(),
        }
    }

    fn bound(&self, expression: &'a FieldExpression) -> Rc<Bound<'a, T::Column>> {
        let address = std::ptr::from_ref(expression);
        if let Some(bound) = self.bound.borrow().get(&address) {
            return Rc::clone(bound);
        }
        let bound = Rc::new(Bound::new(expression, self.context.trace));
        self.bound.borrow_mut().insert(address, Rc::clone(&bound));
        bound
    }

    fn pipeline(
        &self,
        pipeline: &'a Pipeline,
        mut spansets: Vec<Spanset>,
    ) -> Result<Vec<Spanset>, EvaluateError> {
        for stage in &pipeline.stages {
            spansets = self.stage(stage, spansets)?;
            if spansets.is_empty() {
                break;
            }
        }
        Ok(spansets)
    }

    fn stage(
        &self,
        stage: &'a Stage,
        spansets: Vec<Spanset>,
    ) -> Result<Vec<Spanset>, EvaluateError> {
        match stage {
            Stage::Spansets(expression) => {
                let mut matched = Vec::new();
                for spanset in spansets {
                    matched.append(&mut self.spansets(expression, &spanset)?);
                }
                Ok(matched)
            }
            Stage::Scalar(filter) => {
                let mut kept = Vec::new();
                for spanset in spansets {
                    self.proceed()?;
                    kept.extend(self.scalar_filter(filter, spanset));
                }
                Ok(kept)
            }
            Stage::By(key) => {
                let name = stage.to_string();
                let mut groups = Vec::new();
                for spanset in spansets {
                    self.proceed()?;
                    self.group(key, &name, &spanset, &mut groups);
                }
                Ok(groups)
            }
            Stage::Coalesce => {
                let spans = union(spansets);
                Ok(vec![Spanset {
                    spans,
                    attributes: Vec::new(),
                }])
            }
            Stage::Select(_) => Ok(spansets),
        }
    }

    fn spansets(
        &self,
        expression: &'a SpansetExpression,
        input: &Spanset,
    ) -> Result<Vec<Spanset>, EvaluateError> {
        let spans = match expression {
            SpansetExpression::Filter(filter) => {
                self.proceed()?;
                match self.context.trace.matched(filter, &input.spans) {
                    Some(spans) => spans,
                    None => {
                        let filter = self.bound(filter);
                        let spans = input.spans.iter().copied();
                        spans
                            .filter(|span| filter.is_true(&self.context, *span))
                            .collect()
                    }
                }
            }
            SpansetExpression::And(all) => {
                let mut sides = Vec::new();
                for side in all {
                    let mut side = self.spansets(side, input)?;
                    if side.is_empty() {
                        return Ok(Vec::new());
                    }
                    sides.append(&mut side);
                }
                union(sides)
            }
            SpansetExpression::Or(any) => {
                let mut sides = Vec::new();
                for side in any {
                    sides.append(&mut self.spansets(side, input)?);
                }
                union(sides)
            }
            SpansetExpression::Related {
                left,
                relation,
                right,
            } => {
                let left = self.spansets(left, input)?;
                let right = self.spansets(right, input)?;
                match (&left[..], &right[..]) {
                    (_, []) => Vec::new(),
                    ([], [right]) => self
                        .context
                        .structure()
                        .related(*relation, &[], &right.spans),
                    ([left], [right]) => {
                        let structure = self.context.structure();
                        structure.related(*relation, &left.spans, &right.spans)
                    }
                    _ => return Err(EvaluateError::ManySpansets),
                }
            }
            SpansetExpression::Pipeline(pipeline) => {
                return self.pipeline(pipeline, vec![input.clone()]);
            }
        };
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        let attributes = input.attributes.clone();
        Ok(vec![Spanset { spans, attributes }])
    }

    /// Adds a spanset for each value of the key, in the order of their first spans.
    fn group(
        &self,
        key: &'a FieldExpression,
        name: &str,
        spanset: &Spanset,
        groups: &mut Vec<Spanset>,
    ) {
        let key = self.bound(key);
        let mut found = HashMap::new();
        for span in &spanset.spans {
            let value = key.value(&self.context, *span).and_then(first);
            let group = *found.entry(Key(value)).or_insert_with(|| {
                let mut attributes = spanset.attributes.clone();
                let value = value.map_or(Static::Nil, Value::to_static);
                attributes.push((name.to_owned(), value));
                groups.push(Spanset {
                    spans: Vec::new(),
                    attributes,
                });
                groups.len() - 1
            });
            groups[group].spans.push(*span);
        }
    }

    fn proceed(&self) -> Result<(), EvaluateError> {
        if self.context.trace.is_stopped() {
            Err(EvaluateError::Stopped)
        } else {
            Ok(())
        }
    }
}

/// The spans of all, each once, ascending.
fn union(spansets: Vec<Spanset>) -> Vec<usize> {
    let mut all = spansets.into_iter().map(|spanset| spanset.spans);
    let mut spans = all.next().unwrap_or_default();
    for more in all {
        spans.extend(more);
    }
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// Of several values the first; of one that one.
pub(crate) fn first(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Several(items) => items.iter().next(),
        value => Some(value),
    }
}
