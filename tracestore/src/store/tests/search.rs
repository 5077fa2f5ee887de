//! Searches against looking at every span.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};
use tempfile::TempDir;
use traceql::Pattern;

use super::{
    Request, append, model::Whole, naive, on_disk, patience, plain, request, requests, still,
    trace_id, unbounded,
};
use crate::{
    query::{
        Comparison, Field, Filter, FoundSpan, Operand, Place, Search, Select, Test, TraceFilter,
    },
    span::{KeyValue, Value},
    store::{
        Early, Found, Store, keeper, scan,
        search::Failed,
        slice::{Inquiry, Reads},
    },
};

pub(super) fn fields() -> impl Strategy<Value = Field> {
    let places = select(vec![
        Place::Span,
        Place::Resource,
        Place::Scope,
        Place::Event,
        Place::Link,
    ]);
    let attributes = (places, select(&requests::KEYS[..]));
    prop_oneof![
        1 => select(vec![
            Field::Name,
            Field::Kind,
            Field::Status,
            Field::StatusMessage,
            Field::Duration,
            Field::ScopeName,
            Field::ScopeVersion,
            Field::EventName,
        ]),
        1 => attributes.prop_map(|(place, key)| Field::Attribute(place, key.into())),
    ]
}

fn tests() -> impl Strategy<Value = Test> {
    let comparisons = select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]);
    let operands = prop_oneof![
        requests::text().prop_map(|text| Operand::String(text.into())),
        any::<bool>().prop_map(Operand::Bool),
        select(&requests::INTS[..]).prop_map(Operand::Int),
        (0_i64..100).prop_map(Operand::Int),
        select(&requests::FLOATS[..]).prop_map(Operand::Float),
    ];
    let patterns = select(vec!["", "a.*", "GET .", ".", ".*b"]);
    let patterns = patterns.prop_map(|pattern| Pattern::new(pattern).unwrap());
    prop_oneof![
        1 => Just(Test::Present),
        5 => (comparisons, operands).prop_map(|(test, operand)| Test::Compare(test, operand)),
        1 => patterns.clone().prop_map(Test::Matches),
        1 => patterns.prop_map(Test::MatchesNot),
    ]
}

pub(super) fn filters() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        1 => select(vec![Filter::All, Filter::Root]),
        9 => (fields(), tests()).prop_map(|(field, test)| Filter::Field(field, test)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|filter| Filter::Not(Box::new(filter))),
            vec(inner.clone(), 0..3).prop_map(Filter::And),
            vec(inner, 0..3).prop_map(Filter::Or),
        ]
    })
}

/// How the same spans are spread over parts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Split {
    /// A part for each request.
    Loose,
    Merged,
    /// A sealed part in memory for every second request.
    Sealed,
    /// One segment.
    OnDisk,
    /// A segment of the first half, and a part for each of the other requests.
    Half,
}

pub(super) const SPLITS: [Split; 5] = [
    Split::Loose,
    Split::Merged,
    Split::Sealed,
    Split::OnDisk,
    Split::Half,
];

/// The folder has to live as long as the store.
pub(super) fn store_of(requests: &[Request], split: Split) -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = match split {
        Split::Loose | Split::Merged | Split::Sealed => still(None, unbounded()),
        Split::OnDisk | Split::Half => on_disk(folder.path(), unbounded()),
    };
    for (number, request) in requests.iter().enumerate() {
        append(&store, request).unwrap();
        if matches!(split, Split::Sealed) && number % 2 == 1
            || matches!(split, Split::Half) && number == requests.len() / 2
        {
            keeper::seal(&store.shared).unwrap();
        }
    }
    match split {
        Split::Merged => keeper::merge_all(&store.shared),
        Split::OnDisk => keeper::seal(&store.shared).unwrap(),
        Split::Loose | Split::Sealed | Split::Half => {}
    }
    (folder, store)
}

/// What a filter asks of a field, whatever else it asks.
fn tests_of(field: &Field, filter: &Filter) -> Vec<Test> {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => {
            let each = filters.iter();
            each.flat_map(|filter| tests_of(field, filter)).collect()
        }
        Filter::Field(other, test) if other == field => vec![test.clone()],
        _ => Vec::new(),
    }
}

fn found_span(whole: &Whole, search: &Search) -> FoundSpan {
    let (resource, scope, span) = whole;
    let in_place = |field: &Field, preferred: &[Test]| {
        let Field::Attribute(place, key) = field else {
            return None;
        };
        let records: Vec<&[KeyValue<'static>]> = match place {
            Place::Span => vec![&span.attributes],
            Place::Resource => vec![&resource.attributes],
            Place::Scope => vec![&scope.attributes],
            Place::Event => span
                .events
                .iter()
                .map(|event| &event.attributes[..])
                .collect(),
            Place::Link => span.links.iter().map(|link| &link.attributes[..]).collect(),
        };
        let all = records.into_iter().flatten();
        let all = all.filter(|attribute| attribute.key == **key);
        let all = all.filter_map(|same| Some((&same.value, naive::shown(&same.value)?)));
        let all: Vec<_> = all.collect();
        let mut passing = all
            .iter()
            .filter(|(value, _)| preferred.iter().any(|test| naive::holds(value, test)));
        let (_, value) = passing.next().or(all.first())?;
        Some(KeyValue {
            key: key.to_string().into(),
            value: value.clone(),
        })
    };
    let mut attributes: Vec<KeyValue<'static>> = Vec::new();
    for attribute in search.select.iter().filter_map(|select| {
        let mut places = select.places.iter();
        places.find_map(|place| in_place(place, &select.preferred))
    }) {
        if attributes.iter().all(|other| *other != attribute) {
            attributes.push(attribute);
        }
    }
    FoundSpan {
        id: span.id,
        name: span.name.clone().into_owned(),
        start_unix_nano: span.start_unix_nano,
        end_unix_nano: span.end_unix_nano,
        attributes,
    }
}

/// Panics unless these are the first traces of `known` that pass.
fn check(found: &[Found], known: &[naive::Known], search: &Search) {
    let is_inside = |known: &&naive::Known| {
        let window = search.window.as_ref();
        window.is_none_or(|window| known.is_within(*window.start(), *window.end()))
    };
    let TraceFilter::Some(filter) = &search.filter else {
        panic!("the model knows spans alone");
    };
    let expected = known.iter().filter(is_inside).filter_map(|known| {
        let spans = known
            .spans
            .iter()
            .filter(|span| naive::passes(span, filter));
        let spans: Vec<&Whole> = spans.collect();
        (!spans.is_empty()).then_some((known, spans))
    });
    let expected: Vec<_> = expected.take(search.limit).collect();
    let ids: Vec<_> = found.iter().map(|found| found.summary.id).collect();
    assert_eq!(
        ids,
        expected
            .iter()
            .map(|(known, _)| known.id)
            .collect::<Vec<_>>()
    );
    for (found, (known, spans)) in found.iter().zip(expected) {
        assert_eq!(found.sets[0].matched as usize, spans.len());
        // Those that have the same start and id are in no order.
        let mut order: Vec<_> = spans
            .iter()
            .map(|(.., span)| (span.start_unix_nano, span.id))
            .collect();
        order.sort_unstable();
        order.truncate(search.spans_per_trace);
        let first: Vec<_> = found.sets[0]
            .spans
            .iter()
            .map(|span| (span.start_unix_nano, span.id))
            .collect();
        assert_eq!(first, order);
        let mut left: Vec<FoundSpan> = spans.iter().map(|span| found_span(span, search)).collect();
        for span in &found.sets[0].spans {
            let index = left.iter().position(|left| left == span);
            left.swap_remove(index.unwrap_or_else(|| panic!("{span:?} is none of {left:?}")));
        }
        let summary = &found.summary;
        assert_eq!(summary.start_unix_nano, known.start);
        assert_eq!(summary.end_unix_nano, known.end);
        let services = summary.services.iter();
        let services =
            services.map(|(name, stats)| (name.to_string(), (stats.spans, stats.errors)));
        assert_eq!(
            services.collect::<HashMap<_, _>>(),
            naive::services(known).into_iter().collect()
        );
        let roots = known
            .spans
            .iter()
            .filter(|(.., span)| span.parent.is_none());
        let key = |(.., span): &&Whole| (span.start_unix_nano, span.id);
        let earliest = roots.clone().map(|root| key(&root)).min();
        let mut names = roots
            .filter(|root| Some(key(root)) == earliest)
            .map(|(resource, _, span)| (resource.service_name().unwrap_or_default(), &*span.name));
        match &summary.root {
            Some(root) => assert!(names.any(|names| names == (&*root.service, &*root.name))),
            None => assert_eq!(earliest, None),
        }
    }
}

fn searches() -> impl Strategy<Value = Search> {
    let limits = select(vec![0, 1, 2, 3, 100]);
    let attributes = fields().prop_filter("own fields have names of their own", |field| {
        matches!(field, Field::Attribute(..))
    });
    (
        filters(),
        limits,
        select(vec![0, 1, 3, 100]),
        vec(attributes, 0..3),
    )
        .prop_map(|(filter, limit, spans_per_trace, select)| Search {
            window: None,
            limit,
            spans_per_trace,
            select: select
                .iter()
                .map(|field| Select {
                    preferred: tests_of(field, &filter),
                    ..Select::of(field)
                })
                .collect(),
            filter: TraceFilter::Some(filter),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_the_newest_traces_with_a_span_that_passes(
        requests in requests::requests(),
        searches in vec(searches(), 12),
    ) {
        let known = naive::traces(&requests);
        let (patience, _abandon) = patience();
        for split in SPLITS {
            let (_folder, store) = store_of(&requests, split);
            for search in &searches {
                let told = RefCell::new(Vec::new());
                let tell = |found: Vec<Found>| told.borrow_mut().extend(found);
                let early = Early::every(Duration::ZERO, &tell);
                let found = store.search(search, None, Some(&early), &patience).unwrap();
                check(&found, &known, search);
                // What was told before the end are the first of them.
                let told = told.into_inner();
                prop_assert_eq!(&found[..told.len()], &told);
            }
        }
    }

    #[test]
    fn a_window_leaves_traces_that_were_running_or_received_in_it(
        requests in requests::requests(),
        searches in vec((searches(), 1_u64..250, 0_u64..50), 8),
    ) {
        let known = naive::traces(&requests);
        let (patience, _abandon) = patience();
        let (_folder, store) = store_of(&requests, Split::OnDisk);
        for (search, first, width) in searches {
            let search = Search { window: Some(first..=first + width), ..search };
            let found = store.search(&search, None, None, &patience).unwrap();
            check(&found, &known, &search);
        }
    }
}

/// The only filter that every span passes, and all there is.
fn newest(limit: usize) -> Search {
    Search {
        filter: TraceFilter::Some(Filter::All),
        window: None,
        limit,
        spans_per_trace: 1,
        select: Vec::new(),
    }
}

#[test]
fn a_trace_whose_start_is_in_another_part_is_not_taken_for_a_new_one() {
    let (patience, _abandon) = patience();
    let late = [(trace_id(1), plain(1, 500)), (trace_id(2), plain(1, 400))];
    let mut requests = vec![request(late.to_vec())];
    requests.push(request(vec![(trace_id(1), plain(2, 100))]));
    requests.push(request(vec![(trace_id(3), plain(1, 300))]));
    for split in SPLITS {
        let (_folder, store) = store_of(&requests, split);
        let found = store.search(&newest(2), None, None, &patience).unwrap();
        let ids: Vec<_> = found.iter().map(|found| found.summary.id).collect();
        assert_eq!(ids, [trace_id(2), trace_id(3)]);
    }
}

#[test]
fn a_search_tells_early_what_no_other_trace_can_come_before() {
    let (patience, _abandon) = patience();
    let trace = |number: u64| request(vec![(trace_id(number), plain(1, 1000 - number))]);
    let requests: Vec<_> = (1..=20).map(trace).collect();
    let (_folder, store) = store_of(&requests, Split::Loose);
    let times = RefCell::new(Vec::new());
    let tell = |found: Vec<Found>| {
        times.borrow_mut().push(
            found
                .iter()
                .map(|found| found.summary.id)
                .collect::<Vec<_>>(),
        );
    };
    let search = |every| {
        let early = Early::every(every, &tell);
        store
            .search(&newest(10), None, Some(&early), &patience)
            .unwrap();
        times.take()
    };
    let told = search(Duration::ZERO);
    assert!(
        told.len() > 5 && told.iter().all(|found| !found.is_empty()),
        "{told:?}"
    );
    let all: Vec<_> = told.into_iter().flatten().collect();
    assert!(all.len() < 20, "{all:?}");
    assert_eq!(
        all,
        (1..=all.len() as u64).map(trace_id).collect::<Vec<_>>()
    );
    assert!(search(Duration::from_secs(3600)).is_empty());
}

/// Times at the end of what 64 bits can tell: the difference is short, and negative all the same.
#[test]
fn a_span_that_ends_before_it_starts_takes_no_time() {
    let mut span = plain(1, u64::MAX - 100);
    span.end_unix_nano = 1;
    let (_folder, store) = store_of(&[request(vec![(trace_id(1), span)])], Split::OnDisk);
    let (patience, _abandon) = patience();
    for (comparison, nanos, is_found) in [
        (Comparison::Less, 1, true),
        (Comparison::Equal, 0, true),
        (Comparison::Greater, 1, false),
    ] {
        let test = Test::Compare(comparison, Operand::Int(nanos));
        let search = Search {
            filter: TraceFilter::Some(Filter::Field(Field::Duration, test)),
            ..newest(1)
        };
        let found = store.search(&search, None, None, &patience).unwrap();
        assert_eq!(found.len(), usize::from(is_found), "{search:?}");
    }
}

#[test]
fn traces_of_one_start_are_listed_by_id_whatever_their_number() {
    let (patience, _abandon) = patience();
    let spans = (0..2_000)
        .rev()
        .map(|number| (trace_id(number), plain(1, 100)));
    let (_folder, store) = store_of(&[request(spans.collect())], Split::Loose);
    let found = store.search(&newest(3), None, None, &patience).unwrap();
    let ids: Vec<_> = found.iter().map(|found| found.summary.id).collect();
    assert_eq!(ids, [trace_id(0), trace_id(1), trace_id(2)]);
}

#[test]
fn own_fields_that_are_selected_are_listed_as_tempo_does() {
    let (patience, _abandon) = patience();
    let (_folder, store) = store_of(&[request(vec![(trace_id(1), plain(1, 1))])], Split::OnDisk);
    let search = Search {
        select: vec![Select::of(&Field::Status), Select::of(&Field::Kind)],
        ..newest(1)
    };
    let found = store.search(&search, None, None, &patience).unwrap();
    let text = |key: &'static str, text: &'static str| KeyValue {
        key: key.into(),
        value: Value::String(text.into()),
    };
    let expected = [text("status", "unset"), text("kind", "unspecified")];
    assert_eq!(found[0].sets[0].spans[0].attributes, expected);
}

/// Two parts of a span each, and filters for whoever looks into them: the last is the first again.
fn two_parts() -> (Store, TraceFilter) {
    let store = still(None, unbounded());
    for trace in [1, 2] {
        append(&store, &request(vec![(trace_id(trace), plain(1, 1))])).unwrap();
    }
    let each = [
        Test::Present,
        Test::Matches(Pattern::new("a").unwrap()),
        Test::Present,
    ];
    let some = each.map(|test| TraceFilter::Some(Filter::Field(Field::Name, test)));
    (store, TraceFilter::Or(some.into()))
}

#[test]
fn a_query_ends_between_the_filters_of_a_part() {
    let (store, filter) = two_parts();
    let parts = store.shared.snapshot().all();
    let (patience, abandon) = patience();
    let field = Filter::Field(Field::Name, Test::Present);
    let filters = [
        field.clone(),
        Filter::Not(Box::new(field.clone())),
        Filter::And(vec![Filter::All, field.clone()]),
        Filter::Or(vec![field]),
    ];
    let reads = Reads::default();
    let mut inquiry = Inquiry::new(&parts, &filter, &reads, &patience);
    for filter in &filters {
        assert!(scan::select(&parts[0], filter, &patience).is_ok());
    }
    assert!(inquiry.selected(0).is_ok());
    drop(abandon);
    for filter in &filters {
        let stopped = scan::select(&parts[0], filter, &patience);
        assert!(matches!(stopped, Err(Failed::Stopped(_))), "{filter:?}");
    }
    assert!(matches!(inquiry.selected(1), Err(Failed::Stopped(_))));
}

#[test]
fn the_rows_of_many_filters_are_forgotten_where_they_take_too_much() {
    let (store, filter) = two_parts();
    let parts = store.shared.snapshot().all();
    let (patience, _abandon) = patience();
    let reads = Reads::default();
    for (max_bytes, is_remembered) in [(usize::MAX, true), (32, true), (31, false), (0, false)] {
        let mut inquiry = Inquiry::new(&parts, &filter, &reads, &patience);
        inquiry.max_selected_bytes = max_bytes;
        // Two of the three filters of a part take a word of 8 bytes each.
        let first = inquiry.selected(0).unwrap();
        assert!(Rc::ptr_eq(&first.each[0], &first.each[2]));
        assert!(Rc::ptr_eq(&first, &inquiry.selected(0).unwrap()));
        inquiry.selected(1).unwrap();
        let again = inquiry.selected(0).unwrap();
        assert_eq!(Rc::ptr_eq(&first, &again), is_remembered, "{max_bytes}");
        assert_eq!(first.each, again.each);
    }
}
