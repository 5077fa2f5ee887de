//! TraceQL metrics: `/api/metrics/query_range` and `/api/metrics/query`.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use traceql::{Exemplar, Series, Static, Window};

use super::{
    Api, Refusal, SECOND, invalid_query,
    json::{Charted, LabeledExemplar, LabeledSeries, QueryInstantResponse, QueryRangeResponse},
    present,
};
use crate::{
    engine,
    parameters::{Parameters, given},
    query::{Patience, distinct},
    span::Value,
    store::{MAX_TRACE_SPANS, Store},
};

/// How long before its end a query begins that does not say when.
const DEFAULT_SINCE: u64 = 3600 * SECOND;

/// Intervals of a query, as in Tempo.
const MAX_INTERVALS: u64 = 10_000;

/// Exemplars of a query, and how many there are if it does not say; as in Tempo.
const MAX_EXEMPLARS: u64 = 100;

/// `GET /api/metrics/query_range`: a point for each interval.
pub(super) async fn query_range(
    State(api): State<Api>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let asked = Asked::parse(&parameters, now())?;
    let window = asked.range()?;
    api.answer(move |store, patience| {
        let charted = range(store, &asked, window, patience)?;
        Ok(Json(QueryRangeResponse::new(&charted)).into_response())
    })
    .await
}

/// `GET /api/metrics/query`: one point for the whole time.
pub(super) async fn query(
    State(api): State<Api>,
    Parameters(parameters): Parameters,
) -> Result<Response, Refusal> {
    let asked = Asked::parse(&parameters, now())?;
    let window = asked.instant()?;
    api.answer(move |store, patience| {
        let charted = instant(store, &asked, window, patience)?;
        Ok(Json(QueryInstantResponse::new(&charted)).into_response())
    })
    .await
}

/// A point for each interval.
pub(super) fn range(
    store: &Store,
    asked: &Asked,
    window: Window,
    patience: &Patience,
) -> Result<Charted, Refusal> {
    let range = engine::Range {
        window,
        exemplars: asked.exemplars(),
    };
    charted(store, asked, range, patience)
}

/// One point, and as in Tempo without exemplars.
pub(super) fn instant(
    store: &Store,
    asked: &Asked,
    window: Window,
    patience: &Patience,
) -> Result<Charted, Refusal> {
    let range = engine::Range {
        window,
        exemplars: 0,
    };
    charted(store, asked, range, patience)
}

fn charted(
    store: &Store,
    asked: &Asked,
    range: engine::Range,
    patience: &Patience,
) -> Result<Charted, Refusal> {
    let window = range.window;
    let made = engine::series(store, &asked.query, range, patience)?;
    let timestamps = (0..window.len()).map(|interval| window.timestamp(interval) / 1_000_000);
    let partial = match made.left_out {
        0 => None,
        1 => Some("1 trace is".to_owned()),
        traces => Some(format!("{traces} traces are")),
    };
    Ok(Charted {
        series: labeled(made.series),
        timestamps: timestamps.collect(),
        partial: partial.map(|traces| {
            format!("{traces} left out: of more than {MAX_TRACE_SPANS} spans, too long to be looked at whole")
        }),
    })
}

fn labeled(series: Vec<Series>) -> Vec<LabeledSeries> {
    let labels = |labels: Vec<(String, Static)>| {
        let labels = labels.into_iter();
        let labels = labels.map(|(key, value)| {
            let mut label = engine::key_value(key, value);
            // Grafana reads no lists here, and would take all series of them for one without a name.
            if let Value::Array(_) = label.value {
                label.value = present::text(&label.value);
            }
            label
        });
        // Nor does it show a series with exemplars that has a label twice, as `by(name, name)` makes it.
        distinct(labels)
    };
    let exemplar = |exemplar: Exemplar| LabeledExemplar {
        labels: labels(exemplar.labels),
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp / 1_000_000,
    };
    let labeled = series.into_iter().map(|series| LabeledSeries {
        labels: labels(series.labels),
        values: series.values,
        exemplars: series.exemplars.into_iter().map(exemplar).collect(),
    });
    labeled.collect()
}

/// In nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Times are nanoseconds, those that are points in time since the Unix epoch.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    query: traceql::Query,
    start: u64,
    end: u64,
    step: Option<u64>,
    exemplars: Option<u64>,
}

impl Asked {
    /// Times in nanoseconds; a number of 0 is as good as none: see [`Asked::parse`].
    pub(super) fn new(
        query: &str,
        start: u64,
        end: u64,
        step: u64,
        exemplars: u64,
    ) -> Result<Asked, Refusal> {
        let query = traceql::parse(query).map_err(|error| invalid_query(&error))?;
        let (now, some) = (now(), |number: u64| (number != 0).then_some(number));
        let end = some(end).unwrap_or(now);
        Ok(Asked {
            query,
            start: some(start).unwrap_or_else(|| end.min(now).saturating_sub(DEFAULT_SINCE)),
            end,
            step: some(step),
            exemplars: some(exemplars),
        })
    }

    /// `q`; `start` and `end`; or `since`, by default an hour, before the end, by default now; `step`. Of a repeated
    /// parameter the first counts, and an empty one is not there, as in Tempo. `query` is what Prometheus calls `q`.
    fn parse(parameters: &[(String, String)], now: u64) -> Result<Asked, Refusal> {
        let parameter = |wanted: &str| given(parameters, wanted);
        let read = |name: &str, parse: fn(&str) -> Option<u64>, kind: &str| {
            let read = |value: &str| {
                parse(value).ok_or_else(|| {
                    let value = value.escape_debug();
                    Refusal::bad_request(format!("invalid {name}: \"{value}\" is not {kind}"))
                })
            };
            parameter(name).map(read).transpose()
        };
        let query = parameter("q").or_else(|| parameter("query"));
        let query =
            query.ok_or_else(|| Refusal::bad_request("no query: the parameter q is missing"))?;
        let query = traceql::parse(query).map_err(|error| invalid_query(&error))?;
        let since = read("since", duration, "a duration")?.unwrap_or(DEFAULT_SINCE);
        let end = read("end", timestamp, "a time")?;
        let start = read("start", timestamp, "a time")?;
        let end = end.unwrap_or(now);
        Ok(Asked {
            query,
            start: start.unwrap_or_else(|| end.min(now).saturating_sub(since)),
            end,
            step: read("step", duration, "a duration")?,
            exemplars: read("exemplars", |text| text.parse().ok(), "a number")?,
        })
    }

    pub(super) fn range(&self) -> Result<Window, Refusal> {
        let Asked { start, end, .. } = *self;
        let step = self
            .step
            .unwrap_or_else(|| Window::default_step(start, end));
        let min_step = end.saturating_sub(start) / MAX_INTERVALS;
        if step == 0 || step < min_step {
            return Err(Refusal::bad_request(format!(
                "step of {} is too small, minimum step for given range is {}",
                Static::Duration(step.cast_signed()),
                Static::Duration(min_step.cast_signed()),
            )));
        }
        Window::range(start, end, step).ok_or_else(no_time)
    }

    /// The query's hint counts more than the parameter, of which zero says nothing; as in Tempo.
    fn exemplars(&self) -> usize {
        let hint = self
            .query
            .hints
            .iter()
            .find(|hint| hint.name == "exemplars");
        let asked = match hint.map(|hint| &hint.value) {
            Some(Static::Int(number)) => u64::try_from(*number).unwrap_or(0),
            Some(Static::Bool(false)) => 0,
            _ => match self.exemplars {
                None | Some(0) => MAX_EXEMPLARS,
                Some(number) => number,
            },
        };
        asked.min(MAX_EXEMPLARS) as usize
    }

    pub(super) fn instant(&self) -> Result<Window, Refusal> {
        Window::instant(self.start, self.end).ok_or_else(no_time)
    }
}

fn no_time() -> Refusal {
    Refusal::bad_request("end must be greater than start")
}

/// Seconds, with a fraction of up to three digits or without; nanoseconds, if there are more than ten digits; or RFC 3339.
pub(super) fn timestamp(text: &str) -> Option<u64> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        let milliseconds = (seconds * 1000.0).round();
        let fits = (0.0..u64::MAX as f64 / 1e6).contains(&milliseconds);
        return fits.then_some(milliseconds as u64 * 1_000_000);
    }
    match text.parse::<u64>() {
        Ok(seconds) if text.len() <= 10 => seconds.checked_mul(SECOND),
        Ok(nanoseconds) => Some(nanoseconds),
        Err(_) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(time.as_nanosecond()).ok()
        }
    }
}

/// Seconds, with a fraction or without, or e.g. `1m30s`.
fn duration(text: &str) -> Option<u64> {
    let nanoseconds = match text.parse::<f64>() {
        Ok(seconds) => seconds * 1e9,
        Err(_) => units(text)?,
    };
    let fits = (0.0..9.2e18).contains(&nanoseconds);
    fits.then_some(nanoseconds as u64)
}

/// The sum of numbers with units from nanoseconds to years.
pub(super) fn units(text: &str) -> Option<f64> {
    const DAY: u64 = 24 * 3600 * SECOND;
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(unit.unwrap_or(after.len()));
        let unit = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" => 1000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => DAY,
            "w" => 7 * DAY,
            "y" => 365 * DAY,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit as f64;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 10,000 s after the epoch.
    fn asked(parameters: &[(&str, &str)]) -> Result<(u64, u64, Option<u64>), String> {
        let all = [("q", "{} | rate()")].iter().chain(parameters);
        let owned: Vec<_> = all
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let asked = Asked::parse(&owned, 10_000 * SECOND).map_err(|refusal| refusal.message)?;
        asked.range().map_err(|refusal| refusal.message)?;
        Ok((asked.start, asked.end, asked.step))
    }

    #[test]
    fn a_query_is_about_the_last_hour_unless_it_says_when() {
        for (parameters, start, end) in [
            (&[][..], 6400, 10_000),
            (&[("since", "10m")], 9400, 10_000),
            (&[("since", "1h1m"), ("end", "5000")], 1340, 5000),
            (&[("end", "20000")], 6400, 20_000),
            (&[("start", "1"), ("end", "2")], 1, 2),
            (&[("start", "1"), ("since", "5s")], 1, 10_000),
        ] {
            let expected = Ok((start * SECOND, end * SECOND, None));
            assert_eq!(asked(parameters), expected, "{parameters:?}");
        }
    }

    #[test]
    fn a_query_may_be_named_as_in_prometheus() {
        let parsed = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let owned: Vec<_> = pairs.iter().map(owned).collect();
            Asked::parse(&owned, SECOND).map_err(|refusal| refusal.message)
        };
        let rate = parsed(&[("q", "{} | rate()")]);
        assert!(rate.is_ok());
        assert_eq!(parsed(&[("query", "{} | rate()")]), rate);
        assert_eq!(parsed(&[("query", "{"), ("q", "{} | rate()")]), rate);
        assert_eq!(parsed(&[("q", ""), ("query", "{} | rate()")]), rate);
    }

    #[test]
    fn times_are_seconds_nanoseconds_or_rfc_3339() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000 * SECOND)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1700000000.1234", Some(1_700_000_000_123_000_000)),
            ("1700000000123456789", Some(1_700_000_000_123_456_789)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000 * SECOND)),
            (
                "2023-11-14T23:13:20.25+01:00",
                Some(1_700_000_000_250_000_000),
            ),
            ("-1", None),
            ("-1.5", None),
            ("1e300.", None),
            ("now", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        for (text, expected) in [
            ("15", Some(15 * SECOND)),
            ("0.5", Some(SECOND / 2)),
            ("1m30s", Some(90 * SECOND)),
            ("1.5h", Some(5400 * SECOND)),
            ("100ms", Some(SECOND / 10)),
            ("1d", Some(86_400 * SECOND)),
            ("-1s", None),
            ("-1", None),
            ("NaN", None),
            ("1e30", None),
            ("99999999999999999h", None),
            ("5", Some(5 * SECOND)),
            ("s", None),
            ("5 s", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn there_are_a_hundred_exemplars_unless_the_query_wants_fewer() {
        let exemplars = |hints: &str, parameter: Option<&str>| {
            let mut parameters = vec![("q".to_owned(), format!("{{}} | rate(){hints}"))];
            parameters.extend(parameter.map(|it| ("exemplars".to_owned(), it.to_owned())));
            let asked = Asked::parse(&parameters, 10_000 * SECOND);
            asked
                .map(|asked| asked.exemplars())
                .map_err(|refusal| refusal.message)
        };
        for (hints, parameter, expected) in [
            ("", None, 100),
            ("", Some(""), 100),
            ("", Some("0"), 100),
            ("", Some("7"), 7),
            ("", Some("1000"), 100),
            (" with (exemplars=3)", Some("7"), 3),
            (" with (exemplars=1000)", None, 100),
            (" with (exemplars=0)", Some("7"), 0),
            (" with (exemplars=false)", Some("7"), 0),
            (" with (exemplars=true)", Some("7"), 7),
            (" with (sample=true)", None, 100),
        ] {
            assert_eq!(
                exemplars(hints, parameter),
                Ok(expected),
                "{hints} {parameter:?}"
            );
        }
        let error = exemplars("", Some("x")).unwrap_err();
        assert_eq!(error, "invalid exemplars: \"x\" is not a number");
    }

    #[test]
    fn there_are_at_most_ten_thousand_intervals() {
        // The window itself may be of any length.
        let years = [("start", "0"), ("end", "1700000000"), ("step", "7d")];
        assert!(asked(&years).is_ok());
        let asked = |step| asked(&[("start", "0"), ("end", "1000"), ("step", step)]);
        assert_eq!(asked("0.1"), Ok((0, 1000 * SECOND, Some(SECOND / 10))));
        for step in ["0.099", "0", "1ns"] {
            let error = asked(step).unwrap_err();
            assert!(error.contains("is too small"), "{step}: {error}");
        }
    }
}
