//! What there is to ask for: Tempo's tags and their values.
//!
//! With a query they are those of the spans that its first filter finds: as columns tell, or else in traces that are looked at
//! one by one, but for those that are too long. Where that takes longer than somebody who types waits, it narrows down only as
//! far as columns tell. What follows the filter narrows nothing down, and several spansets do not at all: an editor
//! sends the whole query, whichever braces somebody types between. Tempo 3.0.3 differs:
//!
//! - Values of an attribute without a scope are those that spans and resources have.
//! - An attribute without a scope in the query switches all of it off; `!= nil` of another attribute is passed over, and fails
//!   where the tag is one of the root's.
//! - `span:parentID` finds nothing, and instrumentation and links not all. Ids of spans and traces, times of events, and how
//!   fields compare with each other narrow nothing down.
//! - With a query it lists the last item of each list, and not the values of intrinsics and own columns that it met first in
//!   spans which the query rules out by their resource or trace. Names that have a column of their own are always there.
//! - Numbers that are no attributes have values too, and a status message may be empty. The first version of the API takes a
//!   tag for the whole name of an attribute, so that `span.a` has no values there.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use traceql::{
    Comparison, Field, FieldExpression, Intrinsic, Pipeline, Query, SpansetExpression, Stage,
    Static,
};

use super::{
    Api, Refusal, SECOND,
    json::{
        TagScope, TagValue, TagValuesResponse, TagValuesV1Response, TagsResponse, TagsV1Response,
    },
    lenient, series,
    wanted::Wanted,
};
use crate::{
    compile, engine,
    parameters::{Parameters, given},
    query::{Filter, Patience, Place},
    span::{Double, Value},
    store::{QueryError, Root, Sets, Store},
};

/// Values that are listed at most, whatever limit is asked for, beside their bound in bytes.
const MAX_VALUES: usize = 100_000;

/// How long traces are looked at: somebody is typing.
const SOON: Duration = Duration::from_millis(500);

/// The newest traces whose roots are looked at.
const MAX_ROOTS: usize = 1000;

/// What is asked for of tags and of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    /// Nanoseconds since the Unix epoch.
    window: Option<RangeInclusive<u64>>,
    /// Tags of each scope, names in all of them, or values; all if it is `None`.
    limit: Option<usize>,
}

impl Bounds {
    /// `start` and `end`, or `since`, which counts before them, for so much time until `now`; and `limit`. What is empty or 0 is
    /// not there, as in Tempo. `now` is in nanoseconds since the Unix epoch.
    fn parse(parameters: &[(String, String)], now: u64) -> Result<Bounds, Refusal> {
        let parameter = |wanted: &str| given(parameters, wanted);
        let read = |name: &str, parse: fn(&str) -> Option<u64>, kind: &str| {
            let Some(value) = parameter(name) else {
                return Ok(0);
            };
            parse(value).ok_or_else(|| {
                let value = value.escape_debug();
                Refusal::bad_request(format!("invalid {name}: \"{value}\" is not {kind}"))
            })
        };
        let window = match Wanted::duration("since", parameter("since"))? {
            Some(since) => Some(now.saturating_sub(since)..=now),
            None => {
                let time = |name| read(name, series::timestamp, "a time");
                window(time("start")?, time("end")?)?
            }
        };
        let limit = |text: &str| text.parse::<u32>().ok().map(u64::from);
        let limit = read("limit", limit, "a number")?;
        Ok(Bounds {
            window,
            limit: (limit != 0).then_some(limit as usize),
        })
    }

    /// Of seconds since the Unix epoch and of a number, which are 0 where nothing is said.
    pub(super) fn new(start: u32, end: u32, limit: u32) -> Result<Bounds, Refusal> {
        let nanos = |seconds: u32| u64::from(seconds) * SECOND;
        Ok(Bounds {
            window: window(nanos(start), nanos(end))?,
            limit: (limit != 0).then_some(limit as usize),
        })
    }
}

fn window(start: u64, end: u64) -> Result<Option<RangeInclusive<u64>>, Refusal> {
    match (start, end) {
        // Of half a window nothing is known.
        (0, _) | (_, 0) => Ok(None),
        (start, end) if start < end => Ok(Some(start..=end)),
        (start, end) => {
            let seconds = |nanos: u64| nanos as f64 / SECOND as f64;
            let (start, end) = (seconds(start), seconds(end));
            Err(Refusal::bad_request(format!(
                "http parameter start must be before end. received start={start} end={end}"
            )))
        }
    }
}

/// `GET /api/v2/search/tags`, of one `scope` or of all, and of all spans or of those that `q` finds.
pub(super) async fn tags(
    State(api): State<Api>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let scope = Scope::of(&parameters)?;
    let bounds = Bounds::parse(&parameters, series::now())?;
    let query = lenient_query(query_of(&parameters));
    api.answer(move |store, patience| {
        let tags = scope.tags(store, &query, &bounds, patience)?;
        Ok(Json(TagsResponse::new(tags)).into_response())
    })
    .await
}

/// Where tags are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    All,
    Intrinsic,
    Place(Place),
}

impl Scope {
    fn of(parameters: &[(String, String)]) -> Result<Scope, Refusal> {
        Scope::parse(given(parameters, "scope").unwrap_or_default())
    }

    /// Empty and `none` mean all.
    pub(super) fn parse(text: &str) -> Result<Scope, Refusal> {
        match text {
            "" | "none" => Ok(Scope::All),
            "intrinsic" => Ok(Scope::Intrinsic),
            text => match SCOPES.iter().find(|(name, _)| *name == text) {
                Some((_, place)) => Ok(Scope::Place(*place)),
                None => Err(Refusal::bad_request(format!("invalid scope: {text:?}"))),
            },
        }
    }

    /// Those scopes in which there are tags.
    pub(super) fn tags(
        self,
        store: &Store,
        query: &Query,
        bounds: &Bounds,
        patience: &Patience,
    ) -> Result<Vec<TagScope>, Refusal> {
        let window = bounds.window.as_ref();
        let limit = bounds.limit.unwrap_or(usize::MAX);
        let soon = patience.at_most(SOON);
        let tags = match compile::spans(query) {
            Some(Filter::All) => store.tags(window),
            _ => with_found(query, bounds, &soon, patience, |spans, patience| {
                store.tags_of(spans, window, patience)
            })?,
        };
        let mut scopes = Vec::new();
        for (name, place) in SCOPES {
            let is_wanted = match self {
                Scope::All => true,
                Scope::Intrinsic => false,
                Scope::Place(wanted) => wanted == place,
            };
            let of_place = tags.iter().filter(|tag| is_wanted && tag.place == place);
            let names = of_place.map(|tag| tag.name.to_string());
            let tags: Vec<String> = names.take(limit).collect();
            if !tags.is_empty() {
                scopes.push(TagScope { name, tags });
            }
        }
        if let Scope::All | Scope::Intrinsic = self {
            let own = Intrinsic::ALL.into_iter();
            let own = own.filter(|intrinsic| !intrinsic.is_structural());
            let own = own.map(Intrinsic::as_str).chain(SYNONYMS);
            scopes.push(TagScope {
                name: "intrinsic",
                tags: own.map(str::to_owned).take(limit).collect(),
            });
        }
        Ok(scopes)
    }

    /// The names of attributes, wherever they are; those of intrinsics only if these are asked for.
    pub(super) fn names(
        self,
        store: &Store,
        bounds: &Bounds,
        patience: &Patience,
    ) -> Result<BTreeSet<String>, Refusal> {
        let scopes = self.tags(store, &only(ALL), bounds, patience)?.into_iter();
        let scopes = scopes.filter(|scope| match self {
            Scope::All => scope.name != "intrinsic",
            Scope::Intrinsic | Scope::Place(_) => true,
        });
        let names: BTreeSet<String> = scopes.flat_map(|scope| scope.tags).collect();
        // The limit is one of all scopes here.
        let limit = bounds.limit.unwrap_or(usize::MAX);
        Ok(names.into_iter().take(limit).collect())
    }
}

const SCOPES: [(&str, Place); 5] = [
    ("resource", Place::Resource),
    ("span", Place::Span),
    ("event", Place::Event),
    ("link", Place::Link),
    ("instrumentation", Place::Scope),
];

/// Other names of intrinsics, which Tempo lists too. What follows from the structure of a trace it does not list.
const SYNONYMS: [&str; 8] = [
    "span:status",
    "span:statusMessage",
    "span:duration",
    "span:name",
    "span:kind",
    "trace:rootName",
    "trace:rootService",
    "trace:duration",
];

/// `GET /api/v2/search/tag/{tag}/values`: of all spans, or of those that `q` finds. Of a query that is
/// not complete, as while it is typed, that counts which is. `{tag} = ""` in it asks for all, where Tempo finds none.
pub(super) async fn values(
    State(api): State<Api>,
    Path(path): Path<String>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let query = query_of(&parameters);
    let listed = Listed::new(
        tag_of(&path)?,
        query,
        Bounds::parse(&parameters, series::now())?,
    )?;
    api.answer(move |store, patience| {
        let found = listed.values(store, patience)?;
        Ok(Json(TagValuesResponse::new(found)).into_response())
    })
    .await
}

/// `GET /api/search/tags`: see [`Scope::names`].
pub(super) async fn tags_v1(
    State(api): State<Api>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let scope = Scope::of(&parameters)?;
    let bounds = Bounds::parse(&parameters, series::now())?;
    api.answer(move |store, patience| {
        let tag_names = scope.names(store, &bounds, patience)?;
        Ok(Json(TagsV1Response { tag_names }).into_response())
    })
    .await
}

/// `GET /api/search/tag/{tag}/values`: see [`plain_values`].
pub(super) async fn values_v1(
    State(api): State<Api>,
    Path(path): Path<String>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let tag = tag_of(&path)?.to_owned();
    let bounds = Bounds::parse(&parameters, series::now())?;
    api.answer(move |store, patience| {
        let tag_values = plain_values(&tag, bounds, store, patience)?;
        Ok(Json(TagValuesV1Response { tag_values }).into_response())
    })
    .await
}

/// Values of an attribute in any scope, or of what tags name that were before TraceQL, without their types. What is no
/// tag has none.
pub(super) fn plain_values(
    tag: &str,
    bounds: Bounds,
    store: &Store,
    patience: &Patience,
) -> Result<BTreeSet<String>, Refusal> {
    let tag = match tag {
        "status.code" => "status",
        "root.name" => "rootName",
        "root.service.name" => "rootServiceName",
        tag => tag,
    };
    let field = parse_tag(tag).or_else(|_| parse_tag(&format!(".{tag}")));
    let Ok(field) = field else {
        return Ok(BTreeSet::new());
    };
    let listed = Listed {
        field,
        query: only(ALL),
        bounds,
    };
    let found = listed.values(store, patience)?;
    Ok(found.into_iter().map(|value| value.value).collect())
}

/// The name of a tag may have slashes in it.
fn tag_of(path: &str) -> Result<&str, Refusal> {
    let tag = path.strip_suffix("/values");
    tag.ok_or_else(|| Refusal::bad_request("only /values is here"))
}

fn query_of(parameters: &[(String, String)]) -> &str {
    given(parameters, "q").unwrap_or_default()
}

/// The first filter of a query, as far as it is complete.
pub(super) fn lenient_query(query: &str) -> Query {
    only(lenient_filter(query))
}

fn lenient_filter(query: &str) -> FieldExpression {
    let query = lenient::parse(query);
    let filter = query.as_ref().and_then(Query::leading_filter);
    filter.cloned().unwrap_or(ALL)
}

/// The same, but for the value of `field` that is being typed: an editor that closes quotes asks with `{ name = "" }` for
/// what may stand between them.
fn lenient_query_beside(field: &Field, query: &str) -> Query {
    let mut conditions = match lenient_filter(query) {
        FieldExpression::And(all) => all,
        one => vec![one],
    };
    conditions.retain(|one| !is_blank(one, field));
    only(FieldExpression::And(conditions))
}

/// `{ }`
const ALL: FieldExpression = FieldExpression::Static(Static::Bool(true));

/// The query for the spans that pass.
fn only(filter: FieldExpression) -> Query {
    Query {
        pipeline: Pipeline {
            stages: vec![Stage::Spansets(SpansetExpression::Filter(filter))],
        },
        metrics: None,
        hints: Vec::new(),
    }
}

/// Asks of the spans that a filter finds, or if that is not known soon, of all that it may find.
fn with_found<T>(
    query: &Query,
    bounds: &Bounds,
    soon: &Patience,
    patience: &Patience,
    ask: impl Fn(&Sets<'_>, &Patience) -> Result<T, QueryError>,
) -> Result<T, Refusal> {
    let exact = compile::spans(query);
    if exact.is_none() {
        let window = bounds.window.clone().unwrap_or(0..=u64::MAX);
        let ask = |spans: &Sets<'_>| Ok(ask(spans, soon)?);
        if let Ok((told, _)) = engine::with_sets(query, None, &window, soon, ask) {
            return Ok(told);
        }
    }
    let necessary = |filter: &FieldExpression| compile::necessary(&filter.condition().condition);
    let filter = exact.or_else(|| query.leading_filter().map(necessary));
    Ok(ask(
        &Sets::Passing(&[filter.unwrap_or(Filter::All)]),
        patience,
    )?)
}

/// `field = ""` and `field =~ ""`.
fn is_blank(condition: &FieldExpression, field: &Field) -> bool {
    let value = match condition {
        FieldExpression::Compare {
            op: Comparison::Equal,
            left,
            right,
        } if matches!(&**right, FieldExpression::Static(Static::String(text)) if text.is_empty()) => {
            left
        }
        FieldExpression::Match {
            value,
            negated: false,
            pattern,
        } if pattern.as_str().is_empty() => value,
        _ => return false,
    };
    matches!(&**value, FieldExpression::Field(of) if of == field)
}

/// Values that are asked for.
pub(super) struct Listed {
    field: Field,
    query: Query,
    bounds: Bounds,
}

impl Listed {
    pub(super) fn new(tag: &str, query: &str, bounds: Bounds) -> Result<Listed, Refusal> {
        let field = parse_tag(tag)?;
        let query = lenient_query_beside(&field, query);
        Ok(Listed {
            field,
            query,
            bounds,
        })
    }

    pub(super) fn values(
        &self,
        store: &Store,
        patience: &Patience,
    ) -> Result<Vec<TagValue>, Refusal> {
        let window = self.bounds.window.as_ref();
        let limit = self.bounds.limit.unwrap_or(MAX_VALUES).min(MAX_VALUES);
        let mut found = Vec::new();
        if let Some(keywords) = keywords(&self.field) {
            found = keywords;
        } else if let Some(of_root) = of_root(&self.field) {
            found = self.roots(of_root, store, patience)?;
        } else {
            let places = compile::places(&self.field);
            let ask = |spans: &Sets<'_>, patience: &Patience| {
                store.values(&places, spans, window, limit, patience)
            };
            let soon = patience.at_most(SOON);
            let values = with_found(&self.query, &self.bounds, &soon, patience, ask)?;
            found.extend(values.iter().flatten().filter_map(tag_value));
        }
        found.truncate(limit);
        Ok(found)
    }
}

impl Listed {
    /// What roots say, those of the newest traces.
    fn roots(
        &self,
        say: fn(&Root) -> &str,
        store: &Store,
        patience: &Patience,
    ) -> Result<Vec<TagValue>, Refusal> {
        let newest = engine::Limits {
            window: self.bounds.window.clone(),
            traces: MAX_ROOTS,
            spans_per_trace: 0,
        };
        let soon = patience.at_most(SOON);
        let found = match engine::search(store, &self.query, &newest, None, &soon) {
            Ok(found) => found,
            Err(_) => engine::newest(store, &newest, None, patience)?,
        };
        let roots = found.iter().filter_map(|found| found.summary.root.as_ref());
        let values: BTreeSet<&str> = roots.map(say).filter(|value| !value.is_empty()).collect();
        let value = |value: &str| TagValue {
            kind: "string",
            value: value.to_owned(),
        };
        Ok(values.into_iter().map(value).collect())
    }
}

fn of_root(field: &Field) -> Option<fn(&Root) -> &str> {
    match field {
        Field::Intrinsic(Intrinsic::RootName) => Some(|root| &root.name),
        Field::Intrinsic(Intrinsic::RootServiceName) => Some(|root| &root.service),
        Field::Intrinsic(_) | Field::Attribute(_) => None,
    }
}

/// A tag is written as in a query, but that quotes may be left out.
fn parse_tag(tag: &str) -> Result<Field, Refusal> {
    let parse = |tag: &str| match traceql::parse(&format!("{{ {tag} != nil }}")) {
        Ok(query) => match query.leading_filter() {
            Some(FieldExpression::Exists(field)) => match &**field {
                FieldExpression::Field(field) => Some(field.clone()),
                _ => None,
            },
            _ => None,
        },
        Err(_) => None,
    };
    let quoted = || {
        let (scope, name) = tag.split_once('.')?;
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        parse(&format!("{scope}.\"{name}\""))
    };
    parse(tag)
        .or_else(quoted)
        .ok_or_else(|| Refusal::bad_request(format!("invalid tag: {tag:?}")))
}

fn keywords(field: &Field) -> Option<Vec<TagValue>> {
    let words: &[&str] = match field {
        Field::Intrinsic(Intrinsic::Status) => &["error", "ok", "unset"],
        Field::Intrinsic(Intrinsic::Kind) => &[
            "client",
            "consumer",
            "internal",
            "producer",
            "server",
            "unspecified",
        ],
        Field::Intrinsic(_) | Field::Attribute(_) => return None,
    };
    let keyword = |word: &&str| TagValue {
        kind: "keyword",
        value: (*word).to_owned(),
    };
    Some(words.iter().map(keyword).collect())
}

/// `None` for what no query can name.
fn tag_value(value: &Value<'_>) -> Option<TagValue> {
    let (kind, value) = match value {
        Value::String(text) => ("string", text.clone().into_owned()),
        Value::Bool(is) => ("bool", is.to_string()),
        Value::Int(number) => ("int", number.to_string()),
        // With a point or an exponent, so that it is a float in a query too.
        Value::Double(Double(number)) if number.is_finite() => ("float", format!("{number:?}")),
        Value::Empty | Value::Double(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
            return None;
        }
    };
    Some(TagValue { kind, value })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Instant, SystemTime},
    };

    use super::*;
    use crate::{
        span::{Kind, Span, SpanId, TraceId},
        store::{Accepted, Batch, Fsync, Options},
    };

    #[test]
    fn what_takes_too_long_to_find_narrows_down_as_far_as_columns_tell() {
        let span = |name: &'static str, id: u8, parent: u8, kind| {
            let span = Span {
                parent: SpanId::new([parent; 8]),
                name: name.into(),
                kind,
                start_unix_nano: 1,
                end_unix_nano: 2,
                ..Span::plain(SpanId::new([id; 8]).unwrap())
            };
            (TraceId::new([1; 16]).unwrap(), span)
        };
        let options = Options {
            data: None,
            max_memory: 64 << 20,
            max_disk: 1,
            max_age: Duration::MAX,
            fsync: Fsync::default(),
        };
        let store = Store::open(options, |_, _| Ok(Vec::new())).unwrap();
        let accepted = Accepted {
            form: 1,
            body: &[],
            batches: vec![Batch {
                resource: Arc::default(),
                scope: Arc::default(),
                spans: vec![
                    span("above", 1, 0, Kind::Server),
                    span("below", 2, 1, Kind::Internal),
                    span("beside", 3, 0, Kind::Server),
                ],
            }],
            received: SystemTime::now(),
        };
        store.append(&accepted).unwrap();
        let query = lenient_query("{ kind = server && span:childCount > 0 && ");
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(3600));
        let names = |soon: Duration| {
            let soon = patience.at_most(soon);
            let places = compile::places(&parse_tag("name").unwrap());
            let found = with_found(&query, &Bounds::default(), &soon, &patience, |spans, on| {
                store.values(&places, spans, None, 10, on)
            });
            let found: Vec<_> = found.unwrap().into_iter().flatten().collect();
            found
        };
        let text = |text: &'static str| Value::String(text.into());
        assert_eq!(names(Duration::from_secs(3600)), [text("above")]);
        assert_eq!(names(Duration::ZERO), [text("above"), text("beside")]);
    }

    /// At 10,000.5 s after the epoch.
    fn window(query: &str) -> Result<Option<RangeInclusive<u64>>, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let parameters: Vec<_> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let bounds = Bounds::parse(&parameters, 10_000 * SECOND + SECOND / 2);
        match bounds {
            Ok(bounds) => Ok(bounds.window),
            Err(refusal) => Err(refusal.message),
        }
    }

    #[test]
    fn a_window_is_two_times_or_so_much_time_until_now() {
        let now = 10_000 * SECOND + SECOND / 2;
        let long = 1_700_000_000 * SECOND;
        for (query, expected) in [
            ("", None),
            ("start=1&end=2", Some(SECOND..=2 * SECOND)),
            ("start=1.5&end=2", Some(SECOND + SECOND / 2..=2 * SECOND)),
            (
                "start=1700000000000000001&end=1700000001.0",
                Some(long + 1..=long + SECOND),
            ),
            (
                "start=1700000000&end=2023-11-14T22:13:21Z",
                Some(long..=long + SECOND),
            ),
            ("start=0.0&end=2", None),
            ("start=1&end=", None),
            ("since=1h", Some(now - 3600 * SECOND..=now)),
            ("since=1d&start=x&end=1", Some(0..=now)),
            ("since=0s", Some(now..=now)),
            ("since=&start=1&end=2", Some(SECOND..=2 * SECOND)),
        ] {
            assert_eq!(window(query), Ok(expected), "{query}");
        }
        for (query, why) in [
            ("start=x&end=2", "invalid start: \"x\" is not a time"),
            ("start=1&end=-2", "invalid end: \"-2\" is not a time"),
            ("start=2&end=1.5", "received start=2 end=1.5"),
            ("since=x", "invalid since: \"x\""),
            ("limit=x", "invalid limit: \"x\" is not a number"),
        ] {
            let refused = window(query).unwrap_err();
            assert!(refused.contains(why), "{query}: {refused}");
        }
    }
}
