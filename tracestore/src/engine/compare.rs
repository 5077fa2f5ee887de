//! `compare()`: what sets selected spans apart from the rest.
//!
//! Counts what Tempo counts: attributes of spans, resources and instrumentation, and the intrinsics with few values.

use std::cell::Cell;

use traceql::{
    Attribute, Contrast, Field, FieldExpression, Intrinsic, Metrics, Query, Scope, Window,
};

use super::{
    Failed,
    metrics::Made,
    view::{numbered, to_static},
    with_sets,
};
use crate::{
    query::{self, CensusField, CensusTaker, Patience, Place, Stopped},
    span::Value,
    store::Store,
};

/// Numbers of all values together, in memory: 8 bytes each.
const MAX_NUMBERS: usize = 8_000_000;

/// How many values of a field are counted on each side at most. A field with more is an id of something.
const MAX_VALUES: usize = 1000;

pub(super) fn compare(
    store: &Store,
    query: &Query,
    metrics: &Metrics,
    selection: &FieldExpression,
    window: Window,
    patience: &Patience,
) -> Result<Made, Failed> {
    let has_too_many = Cell::new(false);
    let contrasted = with_sets(query, Some(selection), &window.starts(), patience, |sets| {
        Ok(store.census(&window.starts(), sets, patience, |fields| {
            let max_values = MAX_NUMBERS / window.len() / (2 * fields).max(1);
            let max_values = max_values.min(MAX_VALUES);
            has_too_many.set(max_values == 0);
            let contrast = Contrast::new(&metrics.function, window);
            Contrasting {
                contrast: contrast.map(|contrast| contrast.with_max_values(max_values)),
                window,
                max_values,
            }
        })?)
    });
    match has_too_many.get() {
        true => Err(Failed::TooManySeries),
        false => {
            let (contrasting, left_out) = contrasted?;
            let contrast = contrasting.contrast;
            Ok(Made {
                series: contrast.map_or_else(Vec::new, Contrast::finish),
                left_out,
            })
        }
    }
}

struct Contrasting {
    /// Of every query that comes here there is one.
    contrast: Option<Contrast>,
    window: Window,
    max_values: usize,
}

impl CensusTaker for Contrasting {
    fn intervals(&self) -> usize {
        self.window.len()
    }

    fn interval(&self, start_unix_nano: u64) -> Option<usize> {
        self.window.interval(start_unix_nano)
    }

    fn may_select(&self, start_unix_nano: u64) -> bool {
        let contrast = self.contrast.as_ref();
        contrast.is_some_and(|contrast| contrast.may_select(start_unix_nano))
    }

    fn max_values(&self) -> usize {
        self.max_values
    }

    fn add(
        &mut self,
        field: &CensusField,
        is_selected: bool,
        value: Option<Value<'_>>,
        numbers: &[u32],
    ) -> Result<(), Stopped> {
        if self.max_values == 0 {
            return Err(Stopped::Abandoned);
        }
        let Some(contrast) = &mut self.contrast else {
            return Ok(());
        };
        let field = named(field);
        let numbers = numbers.iter().map(|number| f64::from(*number));
        let held = match value {
            None => {
                contrast.add(is_selected, &field, None, numbers);
                return Ok(());
            }
            Some(Value::Int(number)) => numbered(&field, number).map(traceql::Value::to_static),
            Some(value) => to_static(&value),
        };
        if let Some(value) = held.as_ref().and_then(|held| held.as_value()) {
            contrast.add(is_selected, &field, Some(value), numbers);
        }
        Ok(())
    }
}

fn named(field: &CensusField) -> Field {
    let field = match field {
        CensusField::Own(field) => field,
        CensusField::RootName => return Field::Intrinsic(Intrinsic::RootName),
        CensusField::RootServiceName => return Field::Intrinsic(Intrinsic::RootServiceName),
    };
    Field::Intrinsic(match field {
        query::Field::Name => Intrinsic::Name,
        query::Field::Kind => Intrinsic::Kind,
        query::Field::Status => Intrinsic::Status,
        query::Field::StatusMessage => Intrinsic::StatusMessage,
        query::Field::Duration => Intrinsic::Duration,
        query::Field::ScopeName => Intrinsic::InstrumentationName,
        query::Field::ScopeVersion => Intrinsic::InstrumentationVersion,
        query::Field::EventName => Intrinsic::EventName,
        query::Field::Attribute(place, name) => {
            let scope = match place {
                Place::Span => Scope::Span,
                Place::Resource => Scope::Resource,
                Place::Scope => Scope::Instrumentation,
                Place::Event => Scope::Event,
                Place::Link => Scope::Link,
            };
            return Field::Attribute(Attribute {
                scope: Some(scope),
                name: name.to_string(),
            });
        }
    })
}
