//! What a test says of a request's headers, and what became of them.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{Context, propagation::TextMapPropagator};
use opentelemetry_http::HeaderInjector;
use telemetry::{BadContexts, Config, bad_contexts, http as telemetry_http};

/// Counts are those of the process, so that only one test at a time may look.
static COUNTS: Mutex<()> = Mutex::new(());

pub(crate) fn propagator(formats: &str) -> impl TextMapPropagator + use<> {
    let config = Config::parse(|name| (name == "OTEL_PROPAGATORS").then(|| formats.to_owned()));
    assert_eq!(config.problems(), []);
    config.propagator()
}

/// Headers of `name: value`, in which the names may come again and the values be no text.
pub(crate) fn headers<V: AsRef<[u8]>>(lines: &[(&str, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    headers
}

/// The context of a request, as the layers for servers read it, and what was counted as bad in it, as `header/kind`.
pub(crate) fn extract(
    propagator: &impl TextMapPropagator,
    headers: &HeaderMap,
) -> (Context, Vec<String>) {
    let _alone = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = bad_contexts();
    let cx = telemetry_http::extract(propagator, headers);
    (cx, counted(before))
}

fn counted(before: BadContexts) -> Vec<String> {
    let mut counted = Vec::new();
    for bad in bad_contexts().iter() {
        let more = bad.count - before.of(bad.header, bad.kind);
        counted.extend((0..more).map(|_| format!("{}/{}", bad.header, bad.kind)));
    }
    counted
}

/// What goes on to the next service, sorted.
pub(crate) fn inject(propagator: &impl TextMapPropagator, cx: &Context) -> Vec<String> {
    let mut headers = HeaderMap::new();
    propagator.inject_context(cx, &mut HeaderInjector(&mut headers));
    let lines = headers.iter();
    let lines = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}
