//! Headers as carriers of contexts, and the reply's own.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, Injector},
    trace::SpanContext,
};

/// <https://w3c.github.io/trace-context/#traceresponse-header>
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What stands for a value that is no text, so that it is neither overlooked nor believed.
const UNREADABLE: &str = "\u{fffd}";

/// The names that propagators write, ready made: any other has to be parsed, and copied.
const NAMES: [HeaderName; 10] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("uber-trace-id"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
];

pub(super) struct Received<'a>(pub(super) &'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(text)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }

    fn get_all(&self, name: &str) -> Option<Vec<&str>> {
        let mut values = self.0.get_all(name).iter().map(text).peekable();
        values.peek()?;
        Some(values.collect())
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or(UNREADABLE)
}

pub(super) struct Sent<'a>(pub(super) &'a mut HeaderMap);

impl Injector for Sent<'_> {
    /// Leaves out what cannot be a header, or says nothing.
    fn set(&mut self, name: &str, value: String) {
        if value.is_empty() {
            return;
        }
        let known = NAMES.iter().find(|known| known.as_str() == name).cloned();
        let name = known.or_else(|| HeaderName::try_from(name).ok());
        if let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }

    fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }
}

/// Tells the caller which span its request was.
pub(super) fn answer(headers: &mut HeaderMap, span: &SpanContext, server_timing: bool) {
    headers.insert(TRACERESPONSE, traceresponse(span));
    if server_timing {
        let mut entry = [0; 18 + LEN + 1];
        entry[..18].copy_from_slice(b"traceparent;desc=\"");
        entry[18..18 + LEN].copy_from_slice(&w3c(span));
        entry[18 + LEN] = b'"';
        headers.append(SERVER_TIMING, header_value(&entry));
    }
}

/// The value of a header `traceresponse` that names this span.
pub fn traceresponse(span: &SpanContext) -> HeaderValue {
    header_value(&w3c(span))
}

fn header_value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("visible ASCII")
}

/// Bytes of `00-<trace id>-<span id>-<flags>`.
const LEN: usize = 55;

fn w3c(span: &SpanContext) -> [u8; LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut write = |at: usize, bytes: &[u8]| {
        for (place, byte) in value[at..].chunks_exact_mut(2).zip(bytes) {
            place[0] = DIGITS[usize::from(byte >> 4)];
            place[1] = DIGITS[usize::from(byte & 15)];
        }
    };
    write(3, &span.trace_id().to_bytes());
    write(36, &span.span_id().to_bytes());
    write(53, &[u8::from(span.is_sampled())]);
    value
}
