//! Tags and values against looking at every span.

use std::{collections::BTreeSet, slice};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    model, naive, patience, requests,
    search::{SPLITS, fields, filters, store_of},
};
use crate::{
    query::{Field, Place},
    store::{Sets, Tag},
};

const PLACES: [Place; 5] = [
    Place::Span,
    Place::Resource,
    Place::Scope,
    Place::Event,
    Place::Link,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn tags_are_the_names_of_all_attributes(requests in requests::requests()) {
        let mut expected = BTreeSet::new();
        for (resource, scope, span) in model::of(&requests).into_values().flatten() {
            for place in PLACES {
                let attributes = naive::attributes(&resource, &scope, &span, place);
                let names = attributes.map(|attribute| attribute.key.as_ref().into());
                expected.extend(names.map(|name| Tag { place, name }));
            }
        }
        let expected: Vec<Tag> = expected.into_iter().collect();
        for split in SPLITS {
            let (_folder, store) = store_of(&requests, split);
            prop_assert_eq!(store.tags(None), &expected[..]);
        }
    }

    #[test]
    fn tags_of_a_filter_are_those_of_spans_that_pass(
        requests in requests::requests(),
        filters in vec(filters(), 8),
    ) {
        let (patience, _abandon) = patience();
        for split in SPLITS {
            let (_folder, store) = store_of(&requests, split);
            for filter in &filters {
                let sets = Sets::Passing(slice::from_ref(filter));
                let mut expected = BTreeSet::new();
                for whole in model::of(&requests).into_values().flatten() {
                    if !naive::passes(&whole, filter) {
                        continue;
                    }
                    let (resource, scope, span) = &whole;
                    for place in PLACES {
                        let attributes = naive::attributes(resource, scope, span, place);
                        let names = attributes.map(|attribute| attribute.key.as_ref().into());
                        expected.extend(names.map(|name| Tag { place, name }));
                    }
                }
                let expected: Vec<Tag> = expected.into_iter().collect();
                prop_assert_eq!(store.tags_of(&sets, None, &patience).unwrap(), expected);
            }
        }
    }

    #[test]
    fn values_are_those_of_spans_that_pass(
        requests in requests::requests(),
        questions in vec((fields(), filters(), select(vec![0, 1, 2, 1000])), 12),
    ) {
        let (patience, _abandon) = patience();
        for split in SPLITS {
            let (_folder, store) = store_of(&requests, split);
            for (field, filter, limit) in &questions {
                let fields = [field.clone(), Field::Name];
                let sets = Sets::Passing(slice::from_ref(filter));
                let found = store.values(&fields, &sets, None, *limit, &patience).unwrap();
                prop_assert_eq!(found.len(), fields.len());
                for (field, found) in fields.iter().zip(found) {
                    let all = naive::values(&requests, field, filter);
                    prop_assert_eq!(found.len(), all.len().min(*limit));
                    // Ascending, and none that is not there; which of them is up to the store.
                    let mut rest = all.iter();
                    prop_assert!(found.iter().all(|found| rest.any(|value| value == found)));
                }
            }
        }
    }
}
