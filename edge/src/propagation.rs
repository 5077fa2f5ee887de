//! Reads and writes the trace headers: `uber-trace-id` (Jaeger) and `traceparent` with `tracestate` (W3C).
//!
//! Strict about what it believes, since any client can send these headers: what is malformed, oversized or
//! sent twice is as if it were absent, and the request starts a new trace. Baggage is none of its business:
//! `baggage` and `uberctx-*` pass the edge unchanged.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

/// <https://www.jaegertracing.io/sdk-migration/#propagation-format>
const UBER_TRACE_ID: HeaderName = HeaderName::from_static("uber-trace-id");
/// <https://www.w3.org/TR/trace-context/>
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Flag of `uber-trace-id`, beside 1 for "sampled".
const DEBUG: u8 = 2;
/// Length of a `traceparent` of version 00, in bytes.
const TRACEPARENT_LEN: usize = 55;
/// Longest trace header that is looked at, in bytes; also the length of `tracestate` that must be kept.
const MAX_LEN: usize = 512;
/// Most members that a `tracestate` may have.
const MAX_MEMBERS: usize = 32;

/// The formats that a request is read and written in, as `OTEL_PROPAGATORS` lists them.
#[derive(Clone, Debug)]
pub struct Propagators(Vec<Format>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jaeger,
    TraceContext,
}

/// The caller's span, as its headers tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// Remote, and never with a trace id or span id of zero.
    pub span_context: SpanContext,
    /// Jaeger's debug flag, which is handed on to the next service. Implies "sampled".
    pub debug: bool,
}

impl Propagators {
    /// Parses a list such as `tracecontext,jaeger`.
    ///
    /// `baggage` is allowed and adds nothing: that header is forwarded in any case.
    ///
    /// # Errors
    /// The first name that is none of `jaeger`, `tracecontext`, `baggage` and `none`.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut formats = Vec::new();
        for name in list.split(',').map(str::trim) {
            match name {
                "jaeger" => formats.push(Format::Jaeger),
                "tracecontext" => formats.push(Format::TraceContext),
                "baggage" | "none" | "" => {}
                unknown => return Err(unknown.to_owned()),
            }
        }
        Ok(Self(formats))
    }

    /// Finds the caller's span; when two formats tell of one, the later in the list wins, as in Traefik.
    pub fn extract(&self, headers: &HeaderMap) -> Option<Parent> {
        self.0.iter().rev().find_map(|format| match format {
            Format::Jaeger => uber_trace_id(only(headers, &UBER_TRACE_ID)?),
            Format::TraceContext => {
                traceparent(only(headers, &TRACEPARENT)?, || tracestate(headers))
            }
        })
    }

    /// Names `span` as the caller in `headers`, in place of whom the client named.
    pub fn inject(&self, span: &SpanContext, debug: bool, headers: &mut HeaderMap) {
        let (trace_id, span_id) = (span.trace_id(), span.span_id());
        let sampled = u8::from(span.is_sampled());
        for format in &self.0 {
            match format {
                Format::Jaeger => {
                    let flags = sampled | if debug { DEBUG } else { 0 };
                    let value = format!("{trace_id}:{span_id}:0:{flags:x}");
                    headers.insert(UBER_TRACE_ID, header_value(value));
                }
                Format::TraceContext => {
                    headers.insert(TRACEPARENT, w3c(span));
                    headers.remove(TRACESTATE);
                    let state = span.trace_state().header();
                    if !state.is_empty() {
                        headers.insert(TRACESTATE, header_value(state));
                    }
                }
            }
        }
    }
}

/// Writes a span as `traceparent` and `traceresponse` have it: `00-<trace id>-<span id>-<flags>`.
pub(crate) fn w3c(span: &SpanContext) -> HeaderValue {
    let sampled = u8::from(span.is_sampled());
    header_value(format!(
        "00-{}-{}-{sampled:02x}",
        span.trace_id(),
        span.span_id()
    ))
}

/// Reads `{trace id}:{span id}:{parent}:{flags}`, all hexadecimal.
///
/// Ids shorter than 128 and 64 bits are left-padded, the colons may be percent-encoded, and the parent is
/// ignored, as the format has it.
fn uber_trace_id(value: &str) -> Option<Parent> {
    let value = if value.contains('%') {
        Cow::from(value.replace("%3A", ":").replace("%3a", ":"))
    } else {
        Cow::from(value)
    };
    let mut fields = value.split(':');
    let (trace_id, span_id) = (fields.next()?, fields.next()?);
    let (_parent, flags) = (fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let flags = u8::try_from(hex(flags, 2)?).ok()?;
    let debug = flags & DEBUG != 0;
    let sampled = debug || flags & 1 != 0;
    parent(trace_id, span_id, sampled, debug, TraceState::NONE)
}

/// Reads `00-{trace id}-{span id}-{flags}`, and of later versions the part that is the same.
fn traceparent(value: &str, state: impl FnOnce() -> TraceState) -> Option<Parent> {
    let bytes = value.as_bytes();
    if bytes.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let version = hex(value.get(..2)?, 2)?;
    let length_fits = match version {
        0xff => false,
        0 => bytes.len() == TRACEPARENT_LEN,
        _ => matches!(bytes.get(TRACEPARENT_LEN), None | Some(b'-')),
    };
    if !length_fits || [2, 35, 52].iter().any(|at| bytes.get(*at) != Some(&b'-')) {
        return None;
    }
    let flags = hex(value.get(53..TRACEPARENT_LEN)?, 2)?;
    let (trace_id, span_id) = (value.get(3..35)?, value.get(36..52)?);
    parent(trace_id, span_id, flags & 1 != 0, false, state())
}

/// Reads the caller's `tracestate`; one that breaks the rules is dropped, and its `traceparent` kept.
fn tracestate(headers: &HeaderMap) -> TraceState {
    let mut list = String::new();
    for value in headers.get_all(TRACESTATE) {
        let Ok(value) = value.to_str() else {
            return TraceState::NONE;
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(value);
    }
    let mut keys: Vec<&str> = list
        .split(',')
        .map(|member| member.split('=').next().unwrap_or_default().trim())
        .collect();
    let members = keys.len();
    keys.sort_unstable();
    keys.dedup();
    if list.len() > MAX_LEN || members > MAX_MEMBERS || keys.len() < members {
        return TraceState::NONE;
    }
    list.parse().unwrap_or_default()
}

fn parent(
    trace_id: &str,
    span_id: &str,
    sampled: bool,
    debug: bool,
    state: TraceState,
) -> Option<Parent> {
    let trace_id = hex(trace_id, 32)?;
    let span_id = u64::try_from(hex(span_id, 16)?).ok()?;
    let flags = TraceFlags::default().with_sampled(sampled);
    let span_context = SpanContext::new(trace_id.into(), span_id.into(), flags, true, state);
    span_context.is_valid().then_some(Parent {
        span_context,
        debug,
    })
}

/// Reads 1 to `max_digits` hexadecimal digits, and nothing else: no sign, no blank.
fn hex(digits: &str, max_digits: usize) -> Option<u128> {
    let all_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !all_hex || digits.len() > max_digits {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

/// The value of a header that must be sent once, in ASCII, and short.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    (values.next().is_none() && value.len() <= MAX_LEN).then_some(value)
}

/// Turns ids and flags, or a `tracestate` that was parsed, into a header's value.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("ids and parsed trace state are visible ASCII")
}

#[cfg(test)]
mod tests;
