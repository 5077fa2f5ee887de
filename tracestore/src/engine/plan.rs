//! What a query reads of each trace, made out once.

use std::collections::{HashMap, HashSet};

use traceql::{Attribute, Field, FieldExpression, Intrinsic, Query, Scope};

use crate::{
    compile,
    query::{self, Place},
    span::SERVICE_NAME,
    store::Reads,
};

/// The fields of a query as numbers of what the store reads.
pub(super) struct Plan<'q> {
    pub(super) reads: Reads,
    /// Attributes have a scope here.
    pub(super) fields: Vec<(Field, Source)>,
    /// The number of the kinds of spans in `reads`, if it matters which of two spans is the parent of a third.
    pub(super) kind: Option<usize>,
    /// The filters that columns tell exactly, with their numbers in `reads`.
    known: Vec<(&'q FieldExpression, usize)>,
    /// What is in `fields` and in `reads.fields`, which may be tens of thousands.
    added: HashSet<Field>,
    numbers: HashMap<query::Field, usize>,
}

/// Where the values of a field come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// The number of a field that has one value at most.
    Column(usize),
    /// The number of a field of events or links.
    Records(usize),
    /// Computed.
    Made(Intrinsic),
    /// The value that the root of the trace has in this field.
    OfRoot(usize),
    /// The evaluator knows it.
    None,
}

/// The number of the names of spans in every plan.
pub(super) const NAME: usize = 0;

impl<'q> Plan<'q> {
    pub(super) fn new(query: &'q Query) -> Plan<'q> {
        let mut plan = Plan::without_filters(query);
        for filter in query.filters() {
            if let Some(exact) = compile::exact_filter(filter) {
                plan.known.push((filter, plan.reads.filters.len()));
                plan.reads.filters.push(exact);
            }
        }
        plan
    }

    /// Leaves all filters to the evaluator.
    pub(super) fn without_filters(query: &Query) -> Plan<'q> {
        let mut plan = Plan {
            reads: Reads {
                fields: vec![query::Field::Name],
                ..Reads::default()
            },
            fields: Vec::new(),
            kind: None,
            known: Vec::new(),
            added: HashSet::new(),
            numbers: HashMap::from([(query::Field::Name, NAME)]),
        };
        for field in query.fields() {
            plan.add(field);
        }
        if query.is_structural() {
            plan.kind = Some(plan.read(query::Field::Kind));
        }
        plan
    }

    /// The number of what a filter of the query finds, if columns tell it.
    pub(super) fn known(&self, filter: &FieldExpression) -> Option<usize> {
        let is_it = |(known, _): &&(&FieldExpression, usize)| std::ptr::eq(*known, filter);
        self.known.iter().find(is_it).map(|(_, number)| *number)
    }

    pub(super) fn attribute(&self, wanted: Scope, name: &str) -> Option<usize> {
        self.fields.iter().position(|(field, _)| {
            matches!(field, Field::Attribute(attribute)
                if attribute.scope == Some(wanted) && attribute.name == name)
        })
    }

    pub(super) fn intrinsic(&self, wanted: Intrinsic) -> Option<usize> {
        let is_it = |(field, _): &(Field, Source)| *field == Field::Intrinsic(wanted);
        self.fields.iter().position(is_it)
    }

    fn add(&mut self, field: &Field) {
        if let Field::Attribute(Attribute { scope: None, name }) = field {
            for scope in Scope::ALL {
                self.add(&Field::Attribute(Attribute {
                    scope: Some(scope),
                    name: name.clone(),
                }));
            }
            return;
        }
        if !self.added.insert(field.clone()) {
            return;
        }
        let source = match field {
            Field::Intrinsic(Intrinsic::RootName) => Source::OfRoot(NAME),
            Field::Intrinsic(Intrinsic::RootServiceName) => {
                let service = query::Field::Attribute(Place::Resource, SERVICE_NAME.into());
                Source::OfRoot(self.read(service))
            }
            // The number in a column is no value of these.
            Field::Intrinsic(
                made @ (Intrinsic::SpanId
                | Intrinsic::ParentId
                | Intrinsic::TraceId
                | Intrinsic::TraceDuration),
            ) => Source::Made(*made),
            Field::Intrinsic(
                made @ (Intrinsic::EventTimeSinceStart
                | Intrinsic::LinkTraceId
                | Intrinsic::LinkSpanId),
            ) => {
                self.reads.records = true;
                Source::Made(*made)
            }
            field => match compile::places(field).pop() {
                None => Source::None,
                Some(place) => {
                    let of_records = place.has_several();
                    let number = self.read(place);
                    match of_records {
                        true => Source::Records(number),
                        false => Source::Column(number),
                    }
                }
            },
        };
        self.fields.push((field.clone(), source));
    }

    fn read(&mut self, field: query::Field) -> usize {
        let fields = &mut self.reads.fields;
        *self.numbers.entry(field).or_insert_with_key(|field| {
            fields.push(field.clone());
            fields.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_thousands_of_fields_is_planned_at_once() {
        let filters: Vec<_> = (0..11_000).map(|n| format!("{{.a{n:x}=1}}")).collect();
        let query = filters.join("||");
        let query = traceql::parse(&format!("{query}||{{.a1=2}}")).unwrap();
        let plan = Plan::new(&query);
        assert_eq!(plan.fields.len(), 55_000);
        assert_eq!(plan.reads.fields.len(), 1 + 55_000);
        assert_eq!(plan.reads.filters.len(), 11_001);
    }
}
