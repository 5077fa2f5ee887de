//! Decides which traces are kept, and how many of them callers may demand.

mod limit;

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    Context, KeyValue, TraceId, Value,
    trace::{Link, SpanKind, TraceContextExt, TraceState},
};
use opentelemetry_sdk::trace::{self, SamplingDecision, SamplingResult, ShouldSample};
use opentelemetry_semantic_conventions::attribute;
use uber_trace_id::JaegerDebug;

use self::limit::Limit;
use crate::{
    config::{Root, Sampling},
    propagation::b3::{self, Wish},
};

/// The samplers of the specification, with a limit on what callers may demand.
///
/// Whoever sends `sampled=1` or a debug flag makes a parent-based sampler keep the trace, whatever share of traces it
/// keeps otherwise: one client with one header for all its requests has all of them stored. So a span whose caller is
/// in another process takes a token from a bucket if it is to be sampled, and is not sampled if there is none. The
/// bucket is filled with [`remote_per_second`](Sampler::with_remote_per_second) tokens a second and holds those of one second, or one. It is
/// for all callers together, whoever claims to be how many. Yet none takes them all: a caller that takes at most a sixteenth
/// of them may have those of one more second in advance, so that it finds one while others take whatever there is. Callers are
/// told apart by `client.address` of the span, else by `network.peer.address`, of IPv6 by the /64 of it; a thousand at a time.
///
/// Spans without a caller never wait for others: they take no token. Nor do spans below one of this process, which follow
/// it. A trace that is not sampled here for want of a token is passed on as such, so that the storm ends here.
///
/// By default there is no limit where every trace is sampled anyway (`parentbased_always_on`, `always_on`), and 100
/// traces a second where not. A service behind a proxy that decides what is sampled has to allow as many as that
/// sends: set the variable `TELEMETRY_REMOTE_TRACES_PER_SECOND`, or `none`.
///
/// Besides, a parent-based one hears what trace contexts cannot say: a B3 caller that leaves the decision to whoever
/// reads its header, one that decides without a trace (`b3: 0`), and `jaeger-debug-id`.
#[derive(Clone, Debug)]
pub struct Sampler {
    parent_based: bool,
    root: trace::Sampler,
    limit: Option<Arc<Limit>>,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let root = match sampling.root {
            Root::All => trace::Sampler::AlwaysOn,
            Root::None => trace::Sampler::AlwaysOff,
            Root::Ratio(ratio) => trace::Sampler::TraceIdRatioBased(ratio),
        };
        Self {
            parent_based: sampling.parent_based,
            root,
            limit: None,
        }
        .with_remote_per_second(sampling.remote_per_second)
    }

    /// With another limit on the traces per second that callers may have sampled, or without one.
    ///
    /// What is below 0 or not a number is 0: then callers have no say at all.
    #[must_use]
    pub fn with_remote_per_second(self, limit: Option<f64>) -> Self {
        Self {
            limit: limit.map(|per_second| Arc::new(Limit::new(per_second))),
            ..self
        }
    }

    /// With another clock for the limit, for tests: the time since any moment, which never goes back. Which callers are taken for
    /// each other is then the same each time.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let limit = self.limit.map(|limit| {
            let per_second = limit.per_second();
            Arc::new(Limit::with_clock(per_second, Box::new(clock)))
        });
        Self { limit, ..self }
    }

    /// How many spans were to be sampled but for the limit.
    pub fn limited(&self) -> u64 {
        self.limit.as_ref().map_or(0, |limit| limit.refused())
    }

    fn decide(&self, cx: &Context, caller: Option<&str>, of_root: impl Fn() -> bool) -> bool {
        if !cx.has_active_span() {
            return self.begins(cx, caller, of_root);
        }
        let span = cx.span();
        let parent = span.span_context();
        let wanted = match (self.parent_based, parent.is_remote()) {
            (false, _) => of_root(),
            (true, true) if b3::wish(cx) == Some(Wish::Defer) => of_root(),
            (true, _) => parent.is_sampled(),
        };
        wanted && (!parent.is_remote() || self.allows(caller))
    }

    /// A request that is of no trace yet may still say what is to become of the one that it begins.
    fn begins(&self, cx: &Context, caller: Option<&str>, of_root: impl Fn() -> bool) -> bool {
        if !self.parent_based {
            return of_root();
        }
        match b3::wish(cx) {
            Some(Wish::Deny) => false,
            Some(Wish::Accept | Wish::Debug) => of_root() || self.allows(caller),
            Some(Wish::Defer) | None => {
                of_root() || (JaegerDebug::of(cx).is_some() && self.allows(caller))
            }
        }
    }

    fn allows(&self, caller: Option<&str>) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.allows(caller))
    }
}

/// The address of whoever asks.
fn caller(attributes: &[KeyValue]) -> Option<&str> {
    let named = |name| {
        let found = attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == name);
        match &found?.value {
            Value::String(address) => Some(address.as_str()),
            _ => None,
        }
    };
    named(attribute::CLIENT_ADDRESS).or_else(|| named(attribute::NETWORK_PEER_ADDRESS))
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let of_root = || {
            let result = self
                .root
                .should_sample(None, trace_id, name, span_kind, attributes, links);
            result.decision == SamplingDecision::RecordAndSample
        };
        let none = Context::new();
        let cx = parent_context.unwrap_or(&none);
        let trace_state = match parent_context {
            Some(cx) => cx.span().span_context().trace_state().clone(),
            None => TraceState::default(),
        };
        SamplingResult {
            // The SDK of 0.32 takes the trace id of an invalid parent, and no span has an id of zero.
            decision: if trace_id != TraceId::INVALID
                && self.decide(cx, caller(attributes), of_root)
            {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state,
        }
    }
}
