//! `compare()`: what sets selected spans apart from the rest.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::{Series, Window};
use crate::ast::{Field, Intrinsic, MetricsFunction};
use crate::value::{Items, Key, Static, Value};

/// How many values of a field are counted on each side, if nothing less is asked for. A field with more is an id of
/// something, which tells nothing.
const MAX_VALUES: usize = 1000;

/// Counts each value of each field among the selected spans and among the rest.
///
/// Of a field with more than a thousand values those count that came first; the totals are of all.
///
/// ```
/// use traceql::{Contrast, Intrinsic, Static, Value, Window, parse};
///
/// let query = parse("{} | compare({ status = error })")?;
/// let window = Window::instant(0, 10).unwrap();
/// let mut contrast = Contrast::new(&query.metrics.unwrap().function, window).unwrap();
/// let name = Intrinsic::Name.into();
/// for (start, is_error, text) in [(1, true, "redis_call"), (2, false, "GET /"), (3, false, "GET /")] {
///     contrast.observe(start, is_error, [(&name, Value::Str(text))]);
/// }
/// let text = |text: &str| Static::String(text.to_owned());
/// let series = contrast.finish();
/// let selected = series.iter().find(|series| series.labels[0].1 == text("selection"));
/// assert_eq!(selected.unwrap().labels[1], ("name".to_owned(), text("redis_call")));
/// # Ok::<(), traceql::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Contrast {
    window: Window,
    selected_from: Option<(u64, u64)>,
    top: usize,
    max_values: usize,
    /// Of the rest, then of the selected spans, by field.
    sides: [Side; 2],
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Side {
    fields: Vec<FieldCounts>,
    by_field: HashMap<Field, usize>,
}

#[derive(Debug)]
struct FieldCounts {
    field: Field,
    totals: Vec<f64>,
    values: Vec<(Static, Vec<f64>)>,
    /// The values that have this hash.
    by_hash: HashMap<u64, Vec<usize>>,
}

impl Contrast {
    /// `None` for any function but `compare()`.
    pub fn new(function: &MetricsFunction, window: Window) -> Option<Contrast> {
        let MetricsFunction::Compare {
            top,
            window: selected_from,
            ..
        } = function
        else {
            return None;
        };
        Some(Contrast {
            window,
            selected_from: *selected_from,
            top: usize::try_from(*top).unwrap_or(usize::MAX),
            max_values: MAX_VALUES,
            sides: <[Side; 2]>::default(),
            hasher: RandomState::new(),
        })
    }

    /// As [`new`](Contrast::new), but counts at most so many values of a field on each side: 8 bytes each for every interval.
    pub fn with_max_values(self, max_values: usize) -> Contrast {
        Contrast { max_values, ..self }
    }

    /// Whether a span that starts at `timestamp`, in Unix nanoseconds, is in the selection's own time.
    pub fn may_select(&self, timestamp: u64) -> bool {
        self.selected_from
            .is_none_or(|(start, end)| timestamp > start && timestamp <= end)
    }

    /// Counts spans that were counted elsewhere, a number for each interval: those that have this value, or, if there is
    /// none, values that are worth no number of their own.
    ///
    /// What is selected is that in its own time too. Fields that [`observe`](Contrast::observe) passes over, so does this.
    pub fn add(
        &mut self,
        is_selected: bool,
        field: &Field,
        value: Option<Value<'_>>,
        numbers: impl Iterator<Item = f64> + Clone,
    ) {
        if is_passed_over(field) || matches!(value, Some(Value::Duration(_))) {
            return;
        }
        let len = self.window.len();
        let hashed = value.map(|value| (value, self.hasher.hash_one(Key(Some(value)))));
        let counts = self.sides[usize::from(is_selected)].counts(field, len);
        let add = |ours: &mut [f64]| {
            let pairs = ours.iter_mut().zip(numbers.clone());
            pairs.for_each(|(ours, theirs)| *ours += theirs);
        };
        add(&mut counts.totals);
        if let Some((value, hash)) = hashed
            && let Some(values) = counts.of(value, hash, len, self.max_values)
        {
            add(values);
        }
    }

    /// Counts a span that starts at `timestamp`, in Unix nanoseconds, with all the fields that it has; one outside the
    /// window is ignored. Of several values each counts.
    ///
    /// `is_selected` says whether the query's selection matches it; the selection's own time is looked at here. Durations,
    /// ids of traces and parents, and nested sets are passed over: their values are too many to tell anything.
    pub fn observe<'f, 'v>(
        &mut self,
        timestamp: u64,
        is_selected: bool,
        fields: impl IntoIterator<Item = (&'f Field, Value<'v>)>,
    ) {
        let Some(interval) = self.window.interval(timestamp) else {
            return;
        };
        let in_time = self.may_select(timestamp);
        let hash = |value: Value<'_>| self.hasher.hash_one(Key(Some(value)));
        let side = &mut self.sides[usize::from(is_selected && in_time)];
        for (field, value) in fields {
            if is_passed_over(field) {
                continue;
            }
            for value in each(value).filter(|value| !matches!(value, Value::Duration(_))) {
                let len = self.window.len();
                let counts = side.counts(field, len);
                counts.totals[interval] += 1.0;
                if let Some(values) = counts.of(value, hash(value), len, self.max_values) {
                    values[interval] += 1.0;
                }
            }
        }
    }

    /// How many values are counted, before the most frequent ones are chosen.
    pub fn len(&self) -> usize {
        let fields = self.sides.iter().flat_map(|side| &side.fields);
        fields.map(|field| field.values.len()).sum()
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what another contrast of the same query and window has counted.
    pub fn merge(&mut self, other: Contrast) {
        let len = self.window.len();
        let hash = |value: Value<'_>| self.hasher.hash_one(Key(Some(value)));
        for (ours, theirs) in self.sides.iter_mut().zip(other.sides) {
            for field in theirs.fields {
                let counts = ours.counts(&field.field, len);
                add(&mut counts.totals, &field.totals);
                for (value, values) in field.values {
                    if let Some(value) = value.as_value()
                        && let Some(counts) = counts.of(value, hash(value), len, self.max_values)
                    {
                        add(counts, &values);
                    }
                }
            }
        }
    }

    /// For each field the values that most spans have, and how many spans have it at all, of both sides: `__meta_type` is
    /// `baseline`, `selection`, `baseline_total` or `selection_total`, the label after it the field.
    pub fn finish(self) -> Vec<Series> {
        let mut series = Vec::new();
        for (side, name) in self.sides.into_iter().zip(["baseline", "selection"]) {
            for mut field in side.fields {
                let label = field.field.to_string();
                let mut add = |meta: &str, value, values| {
                    let meta = ("__meta_type".to_owned(), Static::String(meta.to_owned()));
                    let labels = vec![meta, (label.clone(), value)];
                    series.push(Series {
                        labels,
                        values,
                        exemplars: Vec::new(),
                    });
                };
                add(&format!("{name}_total"), Static::Nil, field.totals);
                let total = |values: &[f64]| values.iter().sum::<f64>();
                field
                    .values
                    .sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)));
                for (value, values) in field.values.into_iter().take(self.top) {
                    add(name, value, values);
                }
            }
        }
        series
    }
}

impl Side {
    fn counts(&mut self, field: &Field, len: usize) -> &mut FieldCounts {
        let index = match self.by_field.get(field) {
            Some(index) => *index,
            None => {
                self.by_field.insert(field.clone(), self.fields.len());
                self.fields.push(FieldCounts {
                    field: field.clone(),
                    totals: vec![0.0; len],
                    values: Vec::new(),
                    by_hash: HashMap::new(),
                });
                self.fields.len() - 1
            }
        };
        &mut self.fields[index]
    }
}

impl FieldCounts {
    /// `None` if there are too many values to count another one.
    fn of(
        &mut self,
        value: Value<'_>,
        hash: u64,
        len: usize,
        max_values: usize,
    ) -> Option<&mut Vec<f64>> {
        let candidates = self.by_hash.get(&hash).into_iter().flatten();
        let is_same = |found: &usize| Key(self.values[*found].0.as_value()) == Key(Some(value));
        let index = match candidates.copied().find(is_same) {
            Some(index) => index,
            None if self.values.len() >= max_values => return None,
            None => {
                let index = self.values.len();
                self.by_hash.entry(hash).or_default().push(index);
                self.values.push((value.to_static(), vec![0.0; len]));
                index
            }
        };
        Some(&mut self.values[index].1)
    }
}

/// Of several values each; of one that one.
fn each(value: Value<'_>) -> impl Iterator<Item = Value<'_>> {
    let (several, one) = match value {
        Value::Several(items) => (Some(items), None),
        value => (None, Some(value)),
    };
    several.into_iter().flat_map(Items::iter).chain(one)
}

fn add(ours: &mut [f64], theirs: &[f64]) {
    ours.iter_mut()
        .zip(theirs)
        .for_each(|(ours, theirs)| *ours += theirs);
}

fn is_passed_over(field: &Field) -> bool {
    matches!(
        field,
        Field::Intrinsic(
            Intrinsic::TraceId
                | Intrinsic::ParentId
                | Intrinsic::NestedSetLeft
                | Intrinsic::NestedSetRight
                | Intrinsic::NestedSetParent
        )
    )
}
