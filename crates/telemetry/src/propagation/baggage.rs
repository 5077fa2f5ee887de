//! The header `baggage`, <https://www.w3.org/TR/baggage/>.
//!
//! The SDK's propagator logs what a stranger sends, and writes the properties of an entry as they were decoded, line
//! breaks included.

use std::sync::LazyLock;

use opentelemetry::{
    Context,
    baggage::{Baggage, BaggageExt},
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uber_trace_id::Rejected;

use super::bad_contexts::Header;

const BAGGAGE: &str = "baggage";
static FIELDS: LazyLock<[String; 1]> = LazyLock::new(|| [BAGGAGE.to_owned()]);
/// Most entries and most bytes, <https://www.w3.org/TR/baggage/#limits>.
const MAX_ENTRIES: usize = 64;
const MAX_LEN: usize = 8192;
/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Reads `baggage` within the limits of its specification, and writes no more. An entry that is none is left out.
#[derive(Debug)]
pub(crate) struct BaggagePropagator(());

impl BaggagePropagator {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl TextMapPropagator for BaggagePropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let baggage = cx.baggage();
        let mut entries: Vec<_> = baggage.iter().collect();
        // So that it is not by chance what there is no room for.
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut list = String::new();
        for (key, (value, properties)) in entries {
            let before = list.len();
            if before > 0 {
                list.push(',');
            }
            list.push_str(key.as_str());
            list.push('=');
            list.extend(utf8_percent_encode(value.as_str(), ENCODED));
            for property in properties.as_str().split(';').map(str::trim) {
                if is_property(property) {
                    list.push(';');
                    list.push_str(property);
                }
            }
            if list.len() > MAX_LEN || !is_token(key.as_str()) {
                list.truncate(before);
            }
        }
        if !list.is_empty() {
            injector.set(BAGGAGE, list);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let headers = extractor.get_all(BAGGAGE).unwrap_or_default();
        if headers.is_empty() {
            return cx.clone();
        }
        if headers.iter().map(|header| header.len()).sum::<usize>() > MAX_LEN {
            Header::Baggage.count(Rejected::Length);
            return cx.clone();
        }
        let entries = headers.iter().flat_map(|header| header.split(','));
        let mut entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
        let mut baggage = Baggage::new();
        for (key, (value, properties)) in cx.baggage() {
            baggage.insert_with_metadata(key.clone(), value.clone(), properties.clone());
        }
        let mut malformed = false;
        for entry in entries.by_ref().take(MAX_ENTRIES) {
            malformed |= add(&mut baggage, entry).is_none();
        }
        if malformed {
            Header::Baggage.count(Rejected::Format);
        }
        if entries.next().is_some() {
            Header::Baggage.count(Rejected::Length);
        }
        cx.with_baggage(baggage)
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(FIELDS.as_slice())
    }
}

/// Adds `key=value;property;property=value`, unless it is no such.
fn add(baggage: &mut Baggage, entry: &str) -> Option<()> {
    let (pair, properties) = entry.split_once(';').unwrap_or((entry, ""));
    let (key, value) = pair.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    if !is_token(key) || !value.bytes().all(is_octet) {
        return None;
    }
    let value = percent_decode_str(value).decode_utf8().ok()?.into_owned();
    let properties = properties.split(';').map(str::trim);
    let properties: Vec<_> = properties
        .filter(|property| is_property(property))
        .collect();
    baggage.insert_with_metadata(key.to_owned(), value, properties.join(";").as_str());
    Some(())
}

/// A property goes on as it came, percent-encoded or not.
fn is_property(property: &str) -> bool {
    let (key, value) = property.split_once('=').unwrap_or((property, ""));
    is_token(key.trim_end()) && value.trim_start().bytes().all(is_octet)
}

/// <https://www.rfc-editor.org/rfc/rfc7230#section-3.2.6>
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// <https://www.w3.org/TR/baggage/#definition>, `baggage-octet`
fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}
