//! Which value of several an answer shows.

use traceql::{Field, FieldExpression, Pipeline, Query, SpansetExpression, Stage, Static};

use super::operators::compare;

/// Whether a comparison in the query asks for this value of a field, whatever else is asked.
pub(in crate::engine::tests) fn meets(query: &Query, field: &Field, value: &Static) -> bool {
    in_pipeline(&query.pipeline, field, value)
}

fn in_pipeline(pipeline: &Pipeline, field: &Field, value: &Static) -> bool {
    pipeline.stages.iter().any(|stage| match stage {
        Stage::Spansets(spansets) => in_spansets(spansets, field, value),
        _ => false,
    })
}

fn in_spansets(spansets: &SpansetExpression, field: &Field, value: &Static) -> bool {
    match spansets {
        SpansetExpression::Filter(filter) => in_filter(filter, field, value),
        SpansetExpression::And(all) | SpansetExpression::Or(all) => {
            all.iter().any(|one| in_spansets(one, field, value))
        }
        SpansetExpression::Related { left, right, .. } => {
            in_spansets(left, field, value) || in_spansets(right, field, value)
        }
        SpansetExpression::Pipeline(pipeline) => in_pipeline(pipeline, field, value),
    }
}

fn in_filter(filter: &FieldExpression, field: &Field, value: &Static) -> bool {
    let wanted = FieldExpression::Field(field.clone());
    match filter {
        FieldExpression::And(all) | FieldExpression::Or(all) => {
            all.iter().any(|one| in_filter(one, field, value))
        }
        FieldExpression::Compare { op, left, right } => match (&**left, &**right) {
            (of, FieldExpression::Static(other)) if *of == wanted => compare(value, *op, other),
            (FieldExpression::Static(other), of) if *of == wanted => compare(other, *op, value),
            _ => false,
        },
        FieldExpression::Match {
            value: of,
            negated,
            pattern,
        } => {
            let text = |value: &Static| match value {
                Static::String(text) => pattern.is_match(text) != *negated,
                _ => false,
            };
            **of == wanted
                && match value {
                    Static::Array(items) if *negated => items.iter().all(text),
                    Static::Array(items) => items.iter().any(text),
                    value => text(value),
                }
        }
        _ => false,
    }
}
