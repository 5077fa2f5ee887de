//! All that a span has, for `compare()`: as in Tempo without what its events and links have.

use std::collections::{HashMap, hash_map};

use traceql::{Attribute, Field, Intrinsic, Scope, Static};

use super::view::{View, to_static};
use crate::span::KeyValue;

const INTRINSICS: [Intrinsic; 8] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootServiceName,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

/// The intrinsics whose values are few enough to tell something.
pub(super) fn intrinsics() -> [Field; 8] {
    INTRINSICS.map(Field::Intrinsic)
}

/// The fields of a trace's spans, each made once.
#[derive(Default)]
pub(super) struct Everything<'a> {
    fields: Vec<Field>,
    by_name: HashMap<(Scope, &'a str), usize>,
    /// For each field the number of the last span that had it, so that of a key that is repeated the first value counts.
    seen: Vec<usize>,
    spans: usize,
}

impl<'a> Everything<'a> {
    /// The attributes of a span, some of them nil, with the numbers of their fields.
    pub(super) fn attributes(&mut self, view: &View<'a>, span: usize) -> Vec<(usize, Static)> {
        self.spans += 1;
        let (group, span) = view.span(span);
        let mut found = Vec::new();
        self.take(Scope::Span, &span.attributes, &mut found);
        self.take(Scope::Resource, &group.resource.attributes, &mut found);
        self.take(Scope::Instrumentation, &group.scope.attributes, &mut found);
        found
    }

    pub(super) fn field(&self, number: usize) -> &Field {
        &self.fields[number]
    }

    fn take(
        &mut self,
        scope: Scope,
        attributes: &'a [KeyValue<'a>],
        found: &mut Vec<(usize, Static)>,
    ) {
        for KeyValue { key, value } in attributes {
            let number = match self.by_name.entry((scope, key)) {
                hash_map::Entry::Occupied(number) => *number.get(),
                hash_map::Entry::Vacant(new) => {
                    self.fields.push(Field::Attribute(Attribute {
                        scope: Some(scope),
                        name: key.clone().into_owned(),
                    }));
                    self.seen.push(0);
                    *new.insert(self.fields.len() - 1)
                }
            };
            if self.seen[number] != self.spans {
                self.seen[number] = self.spans;
                found.push((number, to_static(value)));
            }
        }
    }
}
