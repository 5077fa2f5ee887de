//! `/api/search`: the newest traces, or those that a TraceQL query finds, or tags and durations.

use std::{collections::BTreeMap, ops::RangeInclusive};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{Api, Refusal, SECOND, invalid_query, json, present, series, wanted::Wanted};
use crate::{
    engine::{self, Limits},
    parameters::{Parameters, given},
    query::Patience,
    store::{Early, Found, Store},
};

const DEFAULT_LIMIT: u32 = 20;
/// As in Tempo. How many bytes they take has a bound of its own.
const MAX_LIMIT: u32 = 262_144;
const DEFAULT_SPANS_PER_TRACE: u32 = 3;
const MAX_SPANS_PER_TRACE: u32 = 100;

/// `GET /api/search`.
pub(super) async fn search(
    State(api): State<Api>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let search = Asked::parse(&parameters, series::now())?.check()?;
    api.answer(move |store, patience| {
        let found = search.run(store, None, patience)?;
        Ok(Json(json::SearchResponse::new(&found, search.with_spans())).into_response())
    })
    .await
}

/// A search as it is asked for. A number that is 0 is as good as none, but for the limit.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// TraceQL.
    pub(super) query: Option<String>,
    /// What is wanted instead of a query.
    pub(super) wanted: Wanted,
    /// Traces.
    pub(super) limit: Option<u32>,
    /// Seconds since the Unix epoch.
    pub(super) start: Option<u32>,
    pub(super) end: Option<u32>,
    pub(super) spans_per_trace: Option<u32>,
}

/// What says which traces are wanted. Of a search without any of these all is tags that is not one of the [`OTHERS`].
const SELECTION: [&str; 5] = ["q", "tags", "start", "end", "since"];
const OTHERS: [&str; 4] = ["minDuration", "maxDuration", "limit", "spss"];

impl Asked {
    /// Of a repeated parameter the first counts, and an empty one is not there, as in Tempo. `since` counts before `start` and
    /// `end`. `now` is in nanoseconds since the Unix epoch.
    fn parse(parameters: &[(String, String)], now: u64) -> Result<Asked, Refusal> {
        let parameter = |wanted: &str| given(parameters, wanted);
        let number = |name: &str| -> Result<Option<u32>, Refusal> {
            parameter(name)
                .map(|value| {
                    value.parse().map_err(|_| {
                        let value = value.escape_debug();
                        Refusal::bad_request(format!("invalid {name}: \"{value}\" is not a number"))
                    })
                })
                .transpose()
        };

        let mut wanted = Wanted {
            tags: BTreeMap::new(),
            min_duration: Wanted::duration("minDuration", parameter("minDuration"))?,
            max_duration: Wanted::duration("maxDuration", parameter("maxDuration"))?,
        };
        if let Some(tags) = parameter("tags") {
            wanted.tags = Wanted::logfmt(tags)?;
        } else if SELECTION.iter().all(|name| parameter(name).is_none()) {
            for (name, value) in parameters {
                let name_of_other = |names: &[&str]| names.contains(&name.as_str());
                if !name_of_other(&SELECTION) && !name_of_other(&OTHERS) && !value.is_empty() {
                    let first = wanted.tags.entry(name.clone());
                    first.or_insert_with(|| value.clone());
                }
            }
        }
        let (start, end) = match Wanted::duration("since", parameter("since"))? {
            None => (number("start")?, number("end")?),
            Some(since) => {
                // The end has no fractions, and the second that has begun counts.
                let seconds = |nanos: u64| u32::try_from(nanos / SECOND).ok();
                (
                    seconds(now.saturating_sub(since)),
                    seconds(now.saturating_add(SECOND)),
                )
            }
        };
        Ok(Asked {
            query: parameter("q").map(str::to_owned),
            wanted,
            limit: number("limit")?,
            start,
            end,
            spans_per_trace: number("spss")?,
        })
    }

    /// # Errors
    /// What cannot be searched for: an invalid query, a query beside something else, or numbers out of their bounds.
    pub(super) fn check(self) -> Result<Search, Refusal> {
        let what = match (self.query, self.wanted.query()?) {
            (None, None) => What::Newest,
            (None, Some(query)) => What::Wanted(query),
            (Some(query), None) => {
                let query = traceql::parse(&query).map_err(|error| invalid_query(&error))?;
                What::Query(query)
            }
            (Some(_), Some(_)) => {
                return Err(Refusal::bad_request(
                    "invalid request: can't specify tags, minDuration or maxDuration and q in the same query",
                ));
            }
        };
        let limit = match self.limit {
            None => DEFAULT_LIMIT,
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
            Some(_) => {
                return Err(Refusal::bad_request(format!(
                    "invalid limit: must be from 1 to {MAX_LIMIT}"
                )));
            }
        };
        let spans_per_trace = match self.spans_per_trace {
            None | Some(0) => DEFAULT_SPANS_PER_TRACE,
            Some(spans) if spans <= MAX_SPANS_PER_TRACE => spans,
            Some(_) => {
                return Err(Refusal::bad_request(format!(
                    "invalid spss: must be from 1 to {MAX_SPANS_PER_TRACE}"
                )));
            }
        };
        let window = match (self.start.unwrap_or(0), self.end.unwrap_or(0)) {
            (0, 0) => None,
            (start, end) if start < end => {
                let nanos = |seconds: u32| u64::from(seconds) * SECOND;
                Some(nanos(start)..=nanos(end))
            }
            (start, end) => {
                return Err(Refusal::bad_request(format!(
                    "http parameter start must be before end. received start={start} end={end}"
                )));
            }
        };
        Ok(Search {
            what,
            limit: limit as usize,
            window,
            spans_per_trace: spans_per_trace as usize,
        })
    }
}

/// A search that can be answered.
#[derive(Debug, PartialEq)]
pub(super) struct Search {
    what: What,
    /// Traces.
    limit: usize,
    /// Nanoseconds since the Unix epoch.
    window: Option<RangeInclusive<u64>>,
    spans_per_trace: usize,
}

#[derive(Debug, PartialEq)]
enum What {
    Newest,
    Query(traceql::Query),
    /// Traces with tags: no spans of theirs are told.
    Wanted(traceql::Query),
}

impl Search {
    /// The traces that are found, the newest first.
    pub(super) fn run(
        &self,
        store: &Store,
        early: Option<&Early<'_>>,
        patience: &Patience,
    ) -> Result<Vec<Found>, Refusal> {
        let limits = Limits {
            window: self.window.clone(),
            traces: self.limit,
            spans_per_trace: self.spans_per_trace,
        };
        let mut found = match &self.what {
            What::Newest => engine::newest(store, &limits, early, patience)?,
            What::Query(query) | What::Wanted(query) => {
                engine::search(store, query, &limits, early, patience)?
            }
        };
        present::in_columns(&mut found);
        Ok(found)
    }

    /// Whether there is a query that spans passed.
    pub(super) fn with_spans(&self) -> bool {
        matches!(self.what, What::Query(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 10,000.5 s after the epoch.
    fn search(query: &[(&str, &str)]) -> Result<Search, String> {
        let owned: Vec<_> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let checked = Asked::parse(&owned, 10_000 * SECOND + SECOND / 2).and_then(Asked::check);
        checked.map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_search_for_everything_has_a_limit_and_no_window() {
        let newest = Search {
            what: What::Newest,
            limit: 20,
            window: None,
            spans_per_trace: 3,
        };
        assert_eq!(search(&[]).as_ref(), Ok(&newest));
        assert_eq!(search(&[("q", ""), ("limit", "")]).as_ref(), Ok(&newest));
        let with_query = Search {
            what: What::Query(traceql::parse("{ }").unwrap()),
            ..newest
        };
        for spans in ["3", "0"] {
            let found = search(&[("q", "{ }"), ("spss", spans)]);
            assert_eq!(found.as_ref(), Ok(&with_query));
        }
    }

    #[test]
    fn a_window_is_in_seconds() {
        let window = search(&[("start", "1"), ("end", "4294967295"), ("limit", "262144")]);
        assert_eq!(
            window,
            Ok(Search {
                what: What::Newest,
                limit: 262_144,
                window: Some(1_000_000_000..=4_294_967_295_000_000_000),
                spans_per_trace: 3,
            })
        );
    }

    #[test]
    fn a_window_may_be_so_much_time_until_now() {
        for (query, start, end) in [
            (&[("since", "10m")][..], 9400, 10_001),
            (&[("since", "1h"), ("start", "x")], 6400, 10_001),
            (&[("since", "1d")], 0, 10_001),
            (&[("since", ""), ("start", "1"), ("end", "2")], 1, 2),
        ] {
            let found = search(query).unwrap();
            assert_eq!(found.window, Some(start * SECOND..=end * SECOND));
            assert_eq!(found.what, What::Newest, "{query:?}");
        }
    }

    #[test]
    fn what_no_name_is_for_is_a_tag_of_a_search_without_a_query_and_without_a_window() {
        let what = |query: &[(&str, &str)]| search(query).map(|search| search.what);
        let tagged = what(&[("tags", "a=1")]).unwrap();
        assert!(matches!(tagged, What::Wanted(_)), "{tagged:?}");
        assert_eq!(what(&[("a", "1"), ("a", "2"), ("b", "")]), Ok(tagged));
        let window = [("start", "1"), ("end", "2"), ("a", "1")];
        assert_eq!(what(&window), Ok(What::Newest));
        assert_eq!(
            what(&[("q", "{ }"), ("a", "1")]),
            Ok(What::Query(traceql::parse("{ }").unwrap()))
        );
    }

    #[test]
    fn what_cannot_be_searched_is_said() {
        for (query, text) in [
            (
                &[("q", "{ status = }")][..],
                "invalid TraceQL query: at offset 11",
            ),
            (
                &[("q", "{ }"), ("tags", "a=b")],
                "can't specify tags, minDuration or maxDuration and q",
            ),
            (&[("q", "{ }"), ("minDuration", "1s")], "and q in the same"),
            (&[("limit", "0")], "must be from 1 to 262144"),
            (&[("limit", "262145")], "must be from 1 to 262144"),
            (&[("limit", "1000000000")], "must be from 1 to 262144"),
            (&[("limit", "-1")], "invalid limit"),
            (&[("limit", "99999999999999999999")], "invalid limit"),
            (
                &[("start", "x\n")],
                "invalid start: \"x\\n\" is not a number",
            ),
            (&[("since", "5 minutes")], "invalid since: \"5 minutes\""),
            (&[("start", "5")], "start must be before end"),
            (&[("start", "5"), ("end", "5")], "start must be before end"),
        ] {
            let error = search(query).expect_err(text);
            assert!(error.contains(text), "{query:?}: {error}");
        }
    }
}
