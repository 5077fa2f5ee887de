//! Keeps malformed `traceparent` and `tracestate` from a propagator that would take them.

use std::borrow::Cow;

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
};

use crate::{
    Rejected, TraceParent,
    rejected::{MAX_LEN, only_of},
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// <https://www.w3.org/TR/trace-context/#list>
const MAX_MEMBERS: usize = 32;
const MAX_KEY_LEN: usize = 256;
const MAX_VALUE_LEN: usize = 256;

/// Lets a propagator read a `traceparent` only if it is well-formed and there once, and of `tracestate` what keeps to its
/// rules: the SDK's `TraceContextPropagator` of 0.32 and 0.33 makes a caller of `+bf9...`, of 31 digits and of a flag `1`.
///
/// All else passes in both directions as it is, so that the propagator may as well be one of several formats.
///
/// A `tracestate` in several headers is joined, and blanks and empty members are left out. One of more than 32 members
/// or 512 bytes, with a key twice, or with a member that is not `key=value` is dropped, and its `traceparent` kept:
/// <https://www.w3.org/TR/trace-context/#tracestate-header>. Without a `traceparent` there is none.
///
/// ```
/// use std::collections::HashMap;
/// use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
/// use opentelemetry_sdk::propagation::TraceContextPropagator;
/// use uber_trace_id::TraceContextGuard;
///
/// let short = "00-af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let headers = HashMap::from([("traceparent".to_owned(), short.to_owned())]);
/// let callers = |propagator: &dyn TextMapPropagator| {
///     propagator.extract_with_context(&Context::new(), &headers).has_active_span()
/// };
/// assert!(callers(&TraceContextPropagator::new()));
/// assert!(!callers(&TraceContextGuard::new(TraceContextPropagator::new())));
/// ```
#[derive(Clone, Debug)]
pub struct TraceContextGuard<P> {
    propagator: P,
    observer: Option<fn(Rejected)>,
    of_tracestate: Option<fn(Rejected)>,
}

impl<P> TraceContextGuard<P> {
    /// Around a propagator that knows `traceparent`.
    pub fn new(propagator: P) -> Self {
        Self {
            propagator,
            observer: None,
            of_tracestate: None,
        }
    }

    /// Has a function told about every `traceparent` that is there and not believed. It runs in the request: a counter
    /// is fine, a line in a log is what a stranger can fill the disk with.
    pub fn on_rejected(self, observer: fn(Rejected)) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// The same for every `tracestate` that is dropped, while its `traceparent` is kept.
    pub fn on_tracestate_rejected(self, observer: fn(Rejected)) -> Self {
        Self {
            of_tracestate: Some(observer),
            ..self
        }
    }
}

impl<P: TextMapPropagator> TextMapPropagator for TraceContextGuard<P> {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        self.propagator.inject_context(cx, injector);
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let traceparent = match traceparent(extractor) {
            Ok(traceparent) => traceparent,
            Err(rejected) => {
                if let Some(observer) = self.observer {
                    observer(rejected);
                }
                None
            }
        };
        let tracestate = traceparent
            .and_then(|_| extractor.get_all(TRACESTATE))
            .map_or(Ok(None), |values| tracestate(&values));
        if let (Err(rejected), Some(observer)) = (&tracestate, self.of_tracestate) {
            observer(*rejected);
        }
        let checked = Checked {
            carrier: extractor,
            traceparent,
            tracestate: tracestate.unwrap_or_default(),
        };
        self.propagator.extract_with_context(cx, &checked)
    }

    fn fields(&self) -> FieldIter<'_> {
        self.propagator.fields()
    }
}

/// A carrier without what is not believed.
struct Checked<'c> {
    carrier: &'c dyn Extractor,
    traceparent: Option<&'c str>,
    tracestate: Option<Cow<'c, str>>,
}

impl Checked<'_> {
    /// The one value of a header that was checked, `Err` for one that was not.
    fn checked(&self, name: &str) -> Result<Option<&str>, ()> {
        if name.eq_ignore_ascii_case(TRACEPARENT) {
            Ok(self.traceparent)
        } else if name.eq_ignore_ascii_case(TRACESTATE) {
            Ok(self.tracestate.as_deref())
        } else {
            Err(())
        }
    }
}

impl Extractor for Checked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match self.checked(name) {
            Ok(value) => value,
            Err(()) => self.carrier.get(name),
        }
    }

    fn keys(&self) -> Vec<&str> {
        let mut names = self.carrier.keys();
        names.retain(|name| self.checked(name) != Ok(None));
        names
    }

    fn get_all(&self, name: &str) -> Option<Vec<&str>> {
        match self.checked(name) {
            Ok(value) => value.map(|value| vec![value]),
            Err(()) => self.carrier.get_all(name),
        }
    }
}

fn traceparent(carrier: &dyn Extractor) -> Result<Option<&str>, Rejected> {
    let value = only_of(carrier, TRACEPARENT)?;
    if let Some(value) = value {
        TraceParent::parse(value.as_bytes())?;
    }
    Ok(value)
}

/// The list that is in these headers, without blanks around its members; nothing if it is empty.
fn tracestate<'c>(values: &[&'c str]) -> Result<Option<Cow<'c, str>>, Rejected> {
    let commas = values.len().saturating_sub(1);
    if values.iter().map(|value| value.len()).sum::<usize>() + commas > MAX_LEN {
        return Err(Rejected::Length);
    }
    let members = || {
        let members = values.iter().flat_map(|value| value.split(','));
        let members = members.map(|member| member.trim_matches([' ', '\t']));
        members.filter(|member| !member.is_empty())
    };
    for (nth, member) in members().enumerate() {
        let (key, value) = member.split_once('=').ok_or(Rejected::Format)?;
        let before = members().take(nth);
        let mut keys_before = before.filter_map(|member| member.split_once('='));
        let again = keys_before.any(|(before, _)| before == key);
        if nth == MAX_MEMBERS {
            return Err(Rejected::Length);
        }
        if again {
            return Err(Rejected::Repeated);
        }
        if !is_key(key) || !is_value(value) {
            return Err(Rejected::Format);
        }
    }
    Ok(match values {
        [value] if value.split(',').eq(members()) => Some(Cow::Borrowed(value)),
        _ => {
            let list = members().collect::<Vec<_>>().join(",");
            (!list.is_empty()).then_some(Cow::Owned(list))
        }
    })
}

/// <https://www.w3.org/TR/trace-context/#key>, with `@` anywhere but in front, as Level 2 has it.
fn is_key(key: &str) -> bool {
    let own = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= MAX_KEY_LEN
        && key.bytes().next().is_some_and(own)
        && key
            .bytes()
            .all(|byte| own(byte) || b"_-*/@".contains(&byte))
}

/// <https://www.w3.org/TR/trace-context/#value>
fn is_value(value: &str) -> bool {
    let fits = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
    (1..=MAX_VALUE_LEN).contains(&value.len()) && value.bytes().all(fits)
}
