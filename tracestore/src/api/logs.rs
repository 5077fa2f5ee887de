//! `GET /logs.json` and `GET /logs/services.json`: log records, the newest first, and what comes. Tempo has neither.
//!
//! A record is a `LogRecord` of OTLP's JSON, with 64-bit numbers as strings and ids in hexadecimal.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{sync::Semaphore, time};

use super::{Api, Refusal, json, json::LogsResponse, parse_trace_id};
use crate::{
    log_record,
    operations::Readiness,
    parameters::{Parameters, given},
    span::{SpanId, TraceId},
    store::{LogPlace as Place, LogQuery, Logs, Text},
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Bytes of a text that is searched.
const MAX_TEXT_BYTES: usize = 1000;

/// How long a client may wait for what comes, in seconds.
const MAX_WAIT: u64 = 30;

/// Clients that wait at once. More are told to come again.
const MAX_WAITING: usize = 64;

/// Whoever waits looks no more often than this, however much comes that he does not want.
const PAUSE: Duration = Duration::from_millis(100);

/// Names of services that are told.
const MAX_SERVICES: usize = 1000;

#[derive(Clone)]
struct Asking {
    api: Api,
    logs: Arc<Logs>,
    /// One permit for each client that waits.
    waiting: Arc<Semaphore>,
    readiness: Readiness,
}

pub(super) fn router(api: Api, logs: Arc<Logs>, readiness: Readiness) -> Router {
    Router::new()
        .route("/logs.json", get(search))
        .route("/logs/services.json", get(services))
        .with_state(Asking {
            api,
            logs,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            readiness,
        })
}

/// Put beside an answer for which a client has waited: how long it took is the client's choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited;

async fn search(State(asking): State<Asking>, Parameters(parameters): Parameters) -> Response {
    let mut has_waited = false;
    let answer = find(&asking, &parameters, &mut has_waited).await;
    let mut response = answer.into_response();
    if has_waited {
        response.extensions_mut().insert(Waited);
    }
    response
}

async fn find(
    asking: &Asking,
    parameters: &[(String, String)],
    has_waited: &mut bool,
) -> Result<Response, Refusal> {
    let Asked { mut query, wait } = Asked::parse(parameters)?;
    let until = time::Instant::now() + wait;
    let _waiting = match wait.is_zero() {
        true => None,
        false => Some(asking.waiting.try_acquire().map_err(|_| Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: "too many clients wait for logs".to_owned(),
        })?),
    };
    let mut arrivals = asking.logs.arrivals();
    loop {
        // What comes from here on is seen as a change.
        arrivals.borrow_and_update();
        let (logs, asked) = (Arc::clone(&asking.logs), query.clone());
        let answer = asking.api.answer(move |_, patience| {
            let found = logs.search(&asked, patience)?;
            let is_empty = found.records.is_empty();
            let next = found.next;
            Ok((
                Json(LogsResponse::new(&found)).into_response(),
                is_empty,
                next,
            ))
        });
        let (response, is_empty, next) = match answer.await {
            Ok(answer) => answer,
            // All who wait wake at the same time.
            Err(busy)
                if busy.status == StatusCode::TOO_MANY_REQUESTS
                    && time::Instant::now() + PAUSE < until =>
            {
                *has_waited = true;
                time::sleep(PAUSE).await;
                continue;
            }
            Err(refusal) => return Err(refusal),
        };
        if !is_empty || time::Instant::now() >= until {
            return Ok(response);
        }
        // Nothing of what was looked at passed.
        query.place = Place::Since(next);
        *has_waited = true;
        tokio::select! {
            changed = arrivals.changed() => if changed.is_err() {
                return Ok(response);
            },
            () = time::sleep_until(until) => return Ok(response),
            () = asking.readiness.stopped() => return Ok(response),
        }
        time::sleep_until(until.min(time::Instant::now() + PAUSE)).await;
    }
}

async fn services(State(asking): State<Asking>) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct ServicesJson {
        services: Vec<String>,
    }
    let logs = asking.logs;
    let answer = asking.api.answer(move |_, _| {
        Ok(Json(ServicesJson {
            services: logs.services(MAX_SERVICES),
        }))
    });
    Ok(answer.await?.into_response())
}

/// What is asked for.
#[derive(Debug)]
struct Asked {
    query: LogQuery,
    /// How long to wait for a record, zero if not at all.
    wait: Duration,
}

impl Asked {
    /// Of a repeated parameter the first counts, and an empty one is not there.
    fn parse(parameters: &[(String, String)]) -> Result<Asked, Refusal> {
        let parameter = |wanted: &str| given(parameters, wanted);
        let number = |name: &str, wanted: &str, within: RangeInclusive<u64>| {
            let read = |value: &str| {
                let number = value.parse().ok().filter(|number| within.contains(number));
                number.ok_or_else(|| invalid(name, value, wanted))
            };
            parameter(name).map(read).transpose()
        };
        for (name, value) in parameters {
            if !PARAMETERS.contains(&name.as_str()) && !value.is_empty() {
                let (name, known) = (name.escape_debug(), PARAMETERS.join(", "));
                return Err(Refusal::bad_request(format!(
                    "there is no parameter \"{name}\": there are {known}"
                )));
            }
        }
        let text = match parameter("text") {
            None => None,
            Some(text) => {
                let short = Some(text).filter(|text| text.len() <= MAX_TEXT_BYTES);
                let text = short.and_then(Text::new).ok_or_else(|| {
                    Refusal::bad_request(format!(
                        "invalid text: it has more than {MAX_TEXT_BYTES} bytes"
                    ))
                });
                Some(text?)
            }
        };
        let milliseconds = "a number of milliseconds since the Unix epoch";
        let millis = 0..=u64::MAX / 1_000_000;
        let from = number("from", milliseconds, millis.clone())?;
        let to = number("to", milliseconds, millis)?;
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Refusal::bad_request(format!(
                "invalid from: {from} is later than to, which is {to}"
            )));
        }
        // The whole of the last millisecond.
        let end = to.map_or(u64::MAX, |to| (to * 1_000_000).saturating_add(999_999));
        let limit = number("limit", "a number from 1 to 1000", 1..=MAX_LIMIT as u64)?;
        let place = match (parameter("before"), parameter("after")) {
            (None, None) => Place::Newest,
            (Some(before), None) => {
                let older = json::older(before);
                Place::Before(
                    older.ok_or_else(|| invalid("before", before, "the `older` of an answer"))?,
                )
            }
            (None, Some(after)) => {
                let newest = json::newest(after);
                Place::Since(
                    newest.ok_or_else(|| invalid("after", after, "the `newest` of an answer"))?,
                )
            }
            (Some(_), Some(_)) => {
                let message = "invalid before: it cannot stand beside after";
                return Err(Refusal::bad_request(message));
            }
        };
        let wait = number("wait", "a number of seconds from 0 to 30", 0..=MAX_WAIT)?;
        if wait.is_some() && !matches!(place, Place::Since(_)) {
            let message = "invalid wait: it needs after, with the `newest` of an answer";
            return Err(Refusal::bad_request(message));
        }
        Ok(Asked {
            query: LogQuery {
                service: parameter("service").map(str::to_owned),
                severity: parameter("severity").map_or(Ok(0), severity)?,
                text,
                trace: parameter("trace").map(trace).transpose()?,
                span: parameter("span").map(span).transpose()?,
                times: from.map_or(0, |from| from * 1_000_000)..=end,
                limit: limit.map_or(DEFAULT_LIMIT, |limit| limit as usize),
                place,
            },
            wait: Duration::from_secs(wait.unwrap_or(0)),
        })
    }
}

const PARAMETERS: [&str; 11] = [
    "service", "severity", "text", "trace", "span", "from", "to", "limit", "before", "after",
    "wait",
];

fn invalid(name: &str, value: &str, wanted: &str) -> Refusal {
    let value = value.escape_debug();
    Refusal::bad_request(format!("invalid {name}: \"{value}\" is not {wanted}"))
}

/// The least: one of six words, or a number.
fn severity(value: &str) -> Result<u8, Refusal> {
    let words = ["trace", "debug", "info", "warn", "error", "fatal"];
    let is_word = words.iter().any(|word| word.eq_ignore_ascii_case(value));
    let read = match is_word {
        true => log_record::severity(value),
        false => value
            .parse()
            .ok()
            .filter(|number| (1..=24).contains(number)),
    };
    read.ok_or_else(|| {
        let wanted = format!("one of {}, or a number from 1 to 24", words.join(", "));
        invalid("severity", value, &wanted)
    })
}

fn trace(value: &str) -> Result<TraceId, Refusal> {
    let id = parse_trace_id(value).ok().and_then(TraceId::new);
    id.ok_or_else(|| invalid("trace", value, "a trace id of 1 to 32 hexadecimal digits"))
}

fn span(value: &str) -> Result<SpanId, Refusal> {
    let is_hex = value.len() <= 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(value, 16).ok().filter(|_| is_hex);
    let id = number.and_then(|number| SpanId::new(number.to_be_bytes()));
    id.ok_or_else(|| invalid("span", value, "a span id of 1 to 16 hexadecimal digits"))
}
