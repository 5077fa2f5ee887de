//! Baggage as Jaeger carries it: a header for each entry, `uberctx-{key}: {value}`, with the value URL-encoded.
//!
//! <https://www.jaegertracing.io/docs/1.21/client-libraries/#baggage>

use opentelemetry::{
    Context,
    baggage::{Baggage, BaggageExt},
    propagation::{Extractor, Injector},
};

use crate::percent;

const PREFIX: &str = "uberctx-";
/// For people with curl: `jaeger-baggage: key=value, other=value`.
const ALL_IN_ONE: &str = "jaeger-baggage";
/// Most entries, and most bytes of names and encoded values together, as <https://www.w3.org/TR/baggage/#limits> has them.
const MAX_ENTRIES: usize = 64;
const MAX_LEN: usize = 8192;

/// The baggage of `cx` and of the headers together; nothing if these have none.
pub(crate) fn extract(cx: &Context, carrier: &dyn Extractor) -> Option<Baggage> {
    let mut extracted = None;
    let names = carrier.keys();
    // It is rarely there, and the names are at hand: cheaper than looking it up.
    let all_in_one = names
        .iter()
        .find(|name| name.eq_ignore_ascii_case(ALL_IN_ONE));
    let all_in_one = all_in_one.and_then(|name| carrier.get(name));
    if let Some(entries) = all_in_one.filter(|entries| entries.len() <= MAX_LEN) {
        for entry in entries.split(',').take(MAX_ENTRIES) {
            if let Some((key, value)) = entry.split_once('=') {
                add(cx, &mut extracted, key.trim(), value.trim());
            }
        }
    }
    let keys = names.iter().filter_map(|name| Some((name, key_of(name)?)));
    for (name, key) in keys.take(MAX_ENTRIES) {
        if let Some(value) = carrier.get(name).filter(|value| value.len() <= MAX_LEN) {
            add(cx, &mut extracted, key, value);
        }
    }
    extracted
}

fn key_of(name: &str) -> Option<&str> {
    let (prefix, key) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(key)
}

/// `Baggage` itself leaves out a key that is no token, and what exceeds its limits.
fn add(cx: &Context, extracted: &mut Option<Baggage>, key: &str, value: &str) {
    let Some(value) = percent::decode(value) else {
        return;
    };
    let extracted = extracted.get_or_insert_with(|| {
        let mut copy = Baggage::new();
        for (key, (value, metadata)) in cx.baggage() {
            copy.insert_with_metadata(key.clone(), value.clone(), metadata.clone());
        }
        copy
    });
    extracted.insert(key.to_ascii_lowercase(), value.into_owned());
}

pub(crate) fn inject(cx: &Context, injector: &mut dyn Injector) {
    let baggage = cx.baggage();
    if baggage.is_empty() {
        return;
    }
    let mut entries: Vec<_> = baggage.iter().collect();
    // So that it is not by chance what there is no room for.
    entries.sort_unstable_by_key(|(key, _)| *key);
    let mut room = MAX_LEN;
    for (key, (value, _)) in entries {
        let value = percent::encode(value.as_str());
        if let Some(left) = room.checked_sub(key.as_str().len() + value.len()) {
            room = left;
            let name = format!("{PREFIX}{}", key.as_str().to_ascii_lowercase());
            injector.set(&name, value);
        }
    }
}
