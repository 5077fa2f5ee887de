//! Columns against the evaluator, and both against looking at every span: whatever narrows the traces down, the answer is
//! the same.

mod naive;
mod queries;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use proptest::prelude::*;
use traceql::{Series, Static, Window};

use super::{Limits, Range, judged, metrics, plan::Plan, search, series, with_sets};
use crate::{
    compile,
    query::{Filter, Patience, TraceFilter},
    span::{
        Double, Event, KeyValue, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode,
        TraceId, Value,
    },
    store::{Accepted, Batch, Found, Fsync, Options, Store},
};

/// When all spans arrive, in nanoseconds since the Unix epoch.
const RECEIVED: u64 = 1_000_000_000;

const QUERIES: &[&str] = &[
    "{}",
    "{ name = `a` }",
    "{ name != `a` && kind = server }",
    "{ status = error || status = ok }",
    "{ status != unset }",
    "{ .x = 1 }",
    "{ .x != 1 }",
    "{ .x > 1 }",
    "{ .x <= 1.5 }",
    "{ span.x = `1` }",
    "{ span.x =~ `1|2` }",
    "{ span.x !~ `1` }",
    "{ resource.x = nil }",
    "{ resource.x != nil && span.x = nil }",
    "{ span.x }",
    "{ !(span.x = 1) }",
    "{ duration > 5ns && duration <= 20ns }",
    "{ duration >= 5 }",
    "{ statusMessage = `` }",
    "{ event:name = `a` }",
    "{ event.x = 1 || link.x = 1 }",
    "{ event.x = nil }",
    "{ instrumentation:name = `s1` }",
    "{ instrumentation.x = 1 }",
    "{ traceDuration > 10ns && name = `b` }",
    "{ rootName = `a` }",
    "{ rootServiceName = `r1` && kind = client }",
    "{ span.x + 1 = 2 }",
    "{ span:parentID = `` }",
    "{ name = `a` } && { name = `b` }",
    "{ name = `a` } || { status = error }",
    "{ name = `a` } > { name = `b` }",
    "{ kind = server } >> { status = error }",
    "{ name = `a` } ~ { name = `b` }",
    "{ name = `a` } !>> { name = `b` }",
    "{ name = `a` } &> { name = `b` }",
    "{ name = `b` } < { name = `a` }",
    "{ } | count() > 2",
    "{ name = `a` } | count() = 1",
    "{ } | avg(duration) > 8ns",
    "{ } | by(name) | count() > 1",
    "{ } | by(resource.x) | coalesce()",
    "{ name = `a` } | { kind = server }",
    "{ name = `a` } | select(span.x, kind)",
    "{ nestedSetParent < 0 }",
    "{ span:childCount > 0 && .x = 1 }",
    "({ name = `a` } | count() > 1) || { status = error }",
];

const METRICS: &[&str] = &[
    "{} | rate()",
    "{ name = `a` } | count_over_time()",
    "{} | rate() by (name)",
    "{} | count_over_time() by (name, status, kind)",
    "{ kind = server } | rate() by (span.x)",
    "{} | count_over_time() by (.x)",
    "{} | count_over_time() by (.x, resource.x, .y, resource.service.name)",
    "{} | count_over_time() by (duration)",
    "{} | count_over_time() by (statusMessage, instrumentation:name)",
    "{} | count_over_time() by (instrumentation.x, span.y)",
    "{} | count_over_time() by (event.x)",
    "{} | count_over_time() by (event:name, link.y)",
    "{} | count_over_time() by (rootName)",
    "{ span.x != nil } | min_over_time(span.x)",
    "{} | max_over_time(.x) by (name)",
    "{} | avg_over_time(duration) by (kind)",
    "{} | sum_over_time(duration)",
    "{} | sum_over_time(.x) by (.y)",
    "{} | min_over_time(event.x) by (name)",
    "{} | quantile_over_time(duration, .5, .9) by (name)",
    "{ duration > 2ns } | quantile_over_time(duration, 0.99)",
    "{} | histogram_over_time(duration) by (resource.service.name)",
    "{} | histogram_over_time(.x)",
    "{} | rate() by (name) | topk(1)",
    "{} | count_over_time() by (name) > 2",
    "{ .x = 1 } | select(name) | rate() by (name)",
    "{ name = `a` } >> { name = `b` } | rate() by (name)",
    "{} | by(name) | count() > 1 | count_over_time() by (kind)",
];

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        (0..3_i64).prop_map(Value::Int),
        (0..3_i8).prop_map(|number| Value::Double(Double(f64::from(number) / 2.0 + 0.5))),
        Just(Value::Double(Double(f64::NAN))),
        (0..3_u8).prop_map(|number| Value::String(number.to_string().into())),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Array(vec![Value::Int(1), Value::Int(2)])),
        Just(Value::Array(vec![Value::String("1".into())])),
        Just(Value::Bytes(vec![1].into())),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue<'static>>> {
    let attribute = ("x|y", value()).prop_map(|(key, value)| KeyValue {
        key: key.into(),
        value,
    });
    prop::collection::vec(attribute, 0..3)
}

fn span() -> impl Strategy<Value = (u8, Span<'static>)> {
    let kinds = prop::sample::select(vec![Kind::Unspecified, Kind::Server, Kind::Client]);
    let codes = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    let codes = prop::sample::select(codes.to_vec());
    let ids = (0..4_u8, 1..9_u8, 0..9_u8, 1..20_u64, 0..25_u64);
    let records = (
        attributes(),
        attributes(),
        attributes(),
        0..2_usize,
        0..2_usize,
    );
    (ids, "a|b|c", kinds, codes, records).prop_map(
        |((trace, id, parent, start, duration), name, kind, code, records)| {
            let (own, of_event, of_link, events, links) = records;
            let event = Event {
                time_unix_nano: start,
                name: name.clone().into(),
                attributes: of_event,
                dropped_attributes: 0,
            };
            let link = Link {
                trace: TraceId::new([7; 16]).unwrap(),
                span: SpanId::new([7; 8]).unwrap(),
                trace_state: "".into(),
                attributes: of_link,
                dropped_attributes: 0,
                flags: 0,
            };
            let span = Span {
                id: SpanId::new([id; 8]).unwrap(),
                parent: SpanId::new([parent; 8]),
                trace_state: "".into(),
                flags: 0,
                name: name.into(),
                kind,
                start_unix_nano: start,
                end_unix_nano: start + duration,
                attributes: own,
                dropped_attributes: 0,
                events: vec![event; events],
                dropped_events: 0,
                links: vec![link; links],
                dropped_links: 0,
                status: Status {
                    code,
                    message: "".into(),
                },
            };
            (trace, span)
        },
    )
}

/// Requests, some of whose spans come again later, as a sender does that got no answer.
fn requests() -> impl Strategy<Value = Vec<Vec<Batch<'static>>>> {
    let request = prop::collection::vec(batch(), 1..3);
    let requests = prop::collection::vec(request, 1..5);
    (
        requests,
        prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..3),
    )
        .prop_map(|(mut requests, again)| {
            for (which, as_new) in again {
                let request = which.get(&requests).clone();
                match as_new {
                    true => requests.push(request),
                    false => requests[0].extend(request),
                }
            }
            requests
        })
}

fn batch() -> impl Strategy<Value = Batch<'static>> {
    let spans = prop::collection::vec(span(), 1..8);
    (0..2_u8, attributes(), attributes(), spans).prop_map(
        |(number, mut of_resource, of_scope, spans)| {
            of_resource.push(KeyValue {
                key: "service.name".into(),
                value: Value::String(format!("r{number}").into()),
            });
            let spans = spans.into_iter();
            Batch {
                resource: Arc::new(Resource {
                    attributes: of_resource,
                    ..Resource::default()
                }),
                scope: Arc::new(Scope {
                    name: format!("s{number}").into(),
                    attributes: of_scope,
                    ..Scope::default()
                }),
                spans: spans
                    .map(|(trace, span)| (TraceId::new([trace + 1; 16]).unwrap(), span))
                    .collect(),
            }
        },
    )
}

fn store(requests: &[Vec<Batch<'static>>]) -> Store {
    store_with(
        requests,
        Options {
            data: None,
            max_memory: 64 << 20,
            max_disk: 1,
            max_age: Duration::MAX,
            fsync: Fsync::Always,
        },
    )
}

fn store_with(requests: &[Vec<Batch<'static>>], options: Options) -> Store {
    let store = Store::open(options, |_, _| Ok(Vec::new())).unwrap();
    for (number, batches) in requests.iter().enumerate() {
        if number == 2 {
            store.seal();
        }
        let accepted = Accepted {
            form: 1,
            body: &[],
            batches: batches.clone(),
            received: UNIX_EPOCH + Duration::from_nanos(RECEIVED),
        };
        store.append(&accepted).unwrap();
    }
    store
}

/// What both ways of searching have to agree on.
fn told(found: &[Found]) -> Vec<String> {
    let told = |found: &Found| {
        let sets = found.sets.iter().map(|set| {
            let spans = set.spans.iter().map(|span| {
                let mut shown: Vec<_> = span.attributes.iter().map(|a| format!("{a:?}")).collect();
                shown.sort();
                format!("{} {} {}", span.id, span.name, shown.join(" "))
            });
            let spans = spans.collect::<Vec<_>>().join(", ");
            format!("{spans} of {} {:?}", set.matched, set.attributes)
        });
        format!(
            "{}: {}",
            found.summary.id,
            sets.collect::<Vec<_>>().join("; ")
        )
    };
    found.iter().map(told).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn columns_and_the_evaluator_find_the_same(
        requests in requests(),
        limit in 1..5_usize,
    ) {
        let store = store(&requests);
        let limits = Limits { window: None, traces: limit, spans_per_trace: 100 };
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        for query in QUERIES {
            let parsed = traceql::parse(query).unwrap();
            let found = search(&store, &parsed, &limits, None, &patience).unwrap();
            let mut all = limits.search();
            all.filter = TraceFilter::Some(Filter::All);
            let plan = Plan::without_filters(&parsed);
            let expected = judged(&store, &parsed, &plan, &all, None, &patience).unwrap();
            prop_assert_eq!(told(&found), told(&expected), "{}", query);
        }
    }

    #[test]
    fn what_is_read_from_disk_row_by_row_is_what_is_in_memory(requests in requests()) {
        let in_memory = store(&requests);
        let folder = tempfile::TempDir::new().unwrap();
        let options = |max_memory| Options {
            data: Some(folder.path().to_owned()),
            max_memory,
            max_disk: 1 << 30,
            max_age: Duration::MAX,
            fsync: Fsync::Within(Duration::MAX),
        };
        let written = store_with(&requests, options(64 << 20));
        written.seal();
        drop(written);
        // The pages of a few queries fill what of it is for them.
        let on_disk = store_with(&[], options(64 << 10));
        let limits = Limits { window: None, traces: 5, spans_per_trace: 100 };
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        for query in QUERIES.iter().chain(QUERIES) {
            let parsed = traceql::parse(query).unwrap();
            let [found, expected] = [&on_disk, &in_memory]
                .map(|store| search(store, &parsed, &limits, None, &patience).unwrap());
            prop_assert_eq!(told(&found), told(&expected), "{}", query);
        }
    }

    #[test]
    fn columns_and_the_evaluator_make_the_same_series(
        mut requests in prop::collection::vec(prop::collection::vec(batch(), 1..3), 1..4),
        start in 0..10_u64,
        steps in 1..4_u64,
        step in 1..10_u64,
    ) {
        // Of a span that came twice, columns see two.
        let mut seen = HashSet::new();
        for batch in requests.iter_mut().flatten() {
            batch.spans.retain(|span| seen.insert(span.clone()));
        }
        let store = store(&requests);
        let window = Window::range(start, start + steps * step, step).unwrap();
        let range = Range { window, exemplars: 0 };
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        for query in METRICS {
            let parsed = traceql::parse(query).unwrap();
            let found = series(&store, &parsed, range, &patience).unwrap().series;
            let by_evaluator = parsed.metrics.as_ref().unwrap();
            let plan = Plan::without_filters(&parsed);
            let expected = metrics::judged(&store, &parsed, &plan, by_evaluator, range, &patience).unwrap();
            let expected = expected.series;
            prop_assert_eq!(lines(&found), lines(&expected), "{}", query);
        }
    }
}

/// Series whatever their order, and numbers whatever the order in which they were added.
fn lines(series: &[Series]) -> Vec<String> {
    let line = |series: &Series| {
        let labels = series
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value:?}"));
        let values = series.values.iter().map(|value| format!("{value:.9}"));
        format!(
            "{} {}",
            labels.collect::<Vec<_>>().join(","),
            values.collect::<Vec<_>>().join(" ")
        )
    };
    let mut lines: Vec<_> = series.iter().map(line).collect();
    lines.sort();
    lines
}

/// Fields whose values are listed.
const LISTED: [&str; 8] = [
    "name",
    "event:name",
    "instrumentation:name",
    "span.x",
    "resource.service.name",
    "instrumentation.x",
    "event.y",
    "link.x",
];

/// A value as it is listed: of lists their items.
fn listed(value: Static) -> Vec<String> {
    match value {
        Static::Array(items) => items.into_iter().flat_map(listed).collect(),
        value => vec![format!("{value:?}")],
    }
}

/// What a search finds in all traces, the newest first; `None` if the query cannot be answered for one of them.
fn found_naively(
    traces: &[naive::Whole],
    query: &traceql::Query,
    limits: &Limits,
) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for trace in traces {
        let sets = trace.find(&query.pipeline).ok()?;
        if sets.is_empty() {
            continue;
        }
        let fields = query.fields();
        let set = |set: &traceql::Spanset| {
            let spans = set.spans.iter().take(limits.spans_per_trace).map(|span| {
                let shown = fields.iter().filter_map(|field| {
                    let values = trace.values(field, *span);
                    let met = values
                        .iter()
                        .find(|value| naive::meets(query, field, value));
                    let value = met.or(values.first())?.clone();
                    super::shown(field, value)
                });
                let mut shown: Vec<_> = shown.map(|shown| format!("{shown:?}")).collect();
                shown.sort();
                shown.dedup();
                let (.., own) = &trace.spans[*span];
                format!("{} {} {}", own.id, own.name, shown.join(" "))
            });
            let attributes = set.attributes.iter();
            let attributes: Vec<_> = attributes
                .map(|(key, value)| super::key_value(key.clone(), value.clone()))
                .collect();
            let spans = spans.collect::<Vec<_>>().join(", ");
            format!("{spans} of {} {attributes:?}", set.spans.len())
        };
        let starts = trace.spans.iter().map(|(.., span)| span.start_unix_nano);
        let start = starts.filter(|start| *start != 0).min();
        let told = sets.iter().map(set).collect::<Vec<_>>().join("; ");
        found.push((
            std::cmp::Reverse(start.unwrap_or(RECEIVED)),
            format!("{}: {told}", trace.id),
        ));
    }
    found.sort();
    Some(
        found
            .into_iter()
            .take(limits.traces)
            .map(|(_, told)| told)
            .collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_what_looking_at_every_span_finds(
        requests in requests(),
        queries in prop::collection::vec(queries::search(), 8),
        limit in 1..5_usize,
    ) {
        let store = store(&requests);
        let traces = naive::traces(&requests);
        let limits = Limits { window: None, traces: limit, spans_per_trace: 100 };
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        for query in queries.iter().map(|query| traceql::parse(query).unwrap()) {
            let Some(expected) = found_naively(&traces, &query, &limits) else {
                continue;
            };
            let found = search(&store, &query, &limits, None, &patience).unwrap();
            prop_assert_eq!(told(&found), expected, "{}", query);
        }
    }

    #[test]
    fn tags_and_values_are_those_that_looking_at_every_span_finds(
        requests in requests(),
        queries in prop::collection::vec(queries::search(), 8),
    ) {
        let store = store(&requests);
        let traces = naive::traces(&requests);
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        let fields = LISTED.map(|field| traceql::parse_field(field).unwrap());
        let places: Vec<_> = fields.iter().flat_map(compile::places).collect();
        for query in queries.iter().map(|query| traceql::parse(query).unwrap()) {
            let sets = traces.iter().map(|trace| Ok((trace, trace.find(&query.pipeline)?)));
            let Ok(sets) = sets.collect::<Result<Vec<_>, naive::ManySpansets>>() else {
                continue;
            };
            let spans = sets.iter().flat_map(|(trace, sets)| {
                let spans = sets.iter().flat_map(|set| &set.spans);
                spans.map(move |span| (*trace, *span))
            });
            let mut expected_tags = BTreeSet::new();
            let mut expected = vec![BTreeSet::new(); fields.len()];
            for (trace, span) in spans {
                expected_tags.extend(trace.tags(span));
                for (field, expected) in fields.iter().zip(&mut expected) {
                    expected.extend(trace.values(field, span).into_iter().flat_map(listed));
                }
            }
            let (found, _) = with_sets(&query, None, &(0..=u64::MAX), &patience, |sets| {
                let tags = store.tags_of(sets, None, &patience)?;
                Ok((tags, store.values(&places, sets, None, usize::MAX, &patience)?))
            })
            .unwrap();
            let (tags, values) = found;
            prop_assert_eq!(tags, expected_tags.into_iter().collect::<Vec<_>>(), "{}", query);
            for ((field, found), expected) in LISTED.iter().zip(values).zip(expected) {
                let found = found.iter().filter_map(super::view::to_static).flat_map(listed);
                let found: BTreeSet<_> = found.collect();
                prop_assert_eq!(found, expected, "{} with {}", field, query);
            }
        }
    }

    #[test]
    fn series_are_those_of_looking_at_every_span(
        mut requests in requests(),
        queries in prop::collection::vec(queries::metrics(), 8),
        start in 0..10_u64,
        steps in 1..4_u64,
        step in 1..10_u64,
    ) {
        // Of a span that came twice, columns see two.
        let mut seen = HashSet::new();
        for batch in requests.iter_mut().flatten() {
            let (resource, scope) = (batch.resource.clone(), batch.scope.clone());
            batch.spans.retain(|span| seen.insert((resource.clone(), scope.clone(), span.clone())));
        }
        let store = store(&requests);
        let traces = naive::traces(&requests);
        let window = Window::range(start, start + steps * step, step).unwrap();
        let range = Range { window, exemplars: 0 };
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        for query in queries.iter().map(|query| traceql::parse(query).unwrap()) {
            let metrics = query.metrics.as_ref().unwrap();
            let Ok(expected) = naive::series(&traces, &query.pipeline, metrics, window) else {
                continue;
            };
            let found = series(&store, &query, range, &patience).unwrap().series;
            prop_assert_eq!(labeled(&found), sorted(expected), "{}", query);
        }
    }
}

/// A span that takes a nanosecond, with its trace.
fn plain(
    name: &'static str,
    (id, parent): (u8, u8),
    kind: Kind,
    start: u64,
) -> (TraceId, Span<'static>) {
    let span = Span {
        parent: SpanId::new([parent; 8]),
        name: name.into(),
        kind,
        start_unix_nano: start,
        end_unix_nano: start + 1,
        ..Span::plain(SpanId::new([id; 8]).unwrap())
    };
    (TraceId::new([1; 16]).unwrap(), span)
}

#[test]
fn a_server_that_shares_the_id_of_its_client_is_below_it_and_has_its_children() {
    use Kind::{Client, Internal, Server};
    // As Zipkin has it, and with the shared id for the server's parent. The clocks of the two do not agree.
    for (parent, start) in [(1, 4), (1, 2), (2, 4), (2, 2)] {
        let spans = vec![
            plain("root", (1, 0), Server, 1),
            plain("client", (2, 1), Client, 3),
            plain("server", (2, parent), Server, start),
            plain("inside", (3, 2), Internal, 5),
            plain("next client", (4, 2), Client, 6),
            plain("next server", (4, 2), Server, 7),
            plain("not shared", (5, 2), Server, 8),
            // Neither is known to be what was meant.
            plain("one", (6, 1), Internal, 9),
            plain("other", (6, 1), Internal, 10),
            plain("below one", (7, 6), Internal, 11),
            plain("its own parent", (8, 8), Client, 12),
            plain("called by it", (8, 8), Server, 10),
        ];
        let store = store(&[vec![Batch {
            resource: Arc::default(),
            scope: Arc::default(),
            spans,
        }]]);
        let found = |query: &str| {
            let query = traceql::parse(query).unwrap();
            let limits = Limits {
                window: None,
                traces: 1,
                spans_per_trace: 100,
            };
            let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
            let found = search(&store, &query, &limits, None, &patience).unwrap();
            let spans = found
                .into_iter()
                .flat_map(|found| found.sets)
                .flat_map(|set| set.spans);
            let mut names: Vec<_> = spans.map(|span| span.name).collect();
            names.sort();
            names.join(", ")
        };
        for (query, expected) in [
            (
                "{ kind = client } > { kind = server }",
                "called by it, next server, not shared, server",
            ),
            ("{ name = `called by it` } > { }", ""),
            ("{ name = `server` } > { }", "inside, next client"),
            ("{ name = `next server` } << { name = `client` }", "client"),
            ("{ name = `one` } > { }", "below one"),
            (
                "{ span:childCount = 2 && name != `next client` }",
                "client, server",
            ),
            ("{ nestedSetParent < 0 }", "root"),
            ("{ nestedSetLeft = 2 && nestedSetRight = 13 }", "client"),
            ("{ nestedSetLeft = 3 && nestedSetRight = 10 }", "server"),
            ("{ nestedSetParent = 3 }", "inside, next client"),
        ] {
            assert_eq!(found(query), expected, "{query}");
        }
    }
}

#[test]
fn the_newest_are_found_however_many_traces_are_judged() {
    let span = |number: u64| Span {
        attributes: vec![KeyValue {
            key: "x".into(),
            value: Value::Int(i64::from(number % 40 == 7)),
        }],
        ..plain("a", (1, 0), Kind::Server, 1 + number).1
    };
    // Neighbours in time are in different parts.
    let id = |number: u64| TraceId::new(u128::from(number + 1).to_be_bytes()).unwrap();
    let request = |part: u64| {
        let numbers = (0..500).filter(|number| number % 3 == part);
        vec![Batch {
            resource: Arc::default(),
            scope: Arc::default(),
            spans: numbers.map(|number| (id(number), span(number))).collect(),
        }]
    };
    let store = store(&[request(0), request(1), request(2)]);
    let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
    let query = traceql::parse("{ } | max(.x) = 1").unwrap();
    for traces in [1, 2, 5, 13, 20] {
        let limits = Limits {
            window: None,
            traces,
            spans_per_trace: 1,
        };
        let found = search(&store, &query, &limits, None, &patience).unwrap();
        let found: Vec<_> = found.iter().map(|found| found.summary.id).collect();
        let expected = (0..500).rev().filter(|number| number % 40 == 7).map(id);
        assert_eq!(found, expected.take(traces).collect::<Vec<_>>());
    }
}

/// Series with their labels as the naive ones have them.
fn labeled(found: &[Series]) -> Vec<String> {
    let series = found.iter().map(|series| {
        let labels = series.labels.iter().filter(|(key, _)| key != "__name__");
        (labels.cloned().collect(), series.values.clone())
    });
    sorted(series.collect())
}

fn sorted(series: Vec<(naive::Labels, Vec<f64>)>) -> Vec<String> {
    let series = series.into_iter().map(|(labels, values)| {
        // A rate of nanoseconds has no digits to spare.
        let values = values.iter().map(|value| format!("{value:.9e}"));
        let values = values.collect::<Vec<_>>().join(" ");
        format!("{labels:?}: {values}")
    });
    let mut series: Vec<_> = series.collect();
    series.sort();
    series
}
