//! `OTEL_SPAN_*_LIMIT`, `OTEL_ATTRIBUTE_*_LIMIT`, `OTEL_EVENT_*`, `OTEL_LINK_*` and `OTEL_LOGRECORD_*`: how large a span or a
//! log record may get.
//!
//! <https://opentelemetry.io/docs/specs/otel/common/#attribute-limits>

use opentelemetry_sdk::trace::SpanLimits;

use super::variables::Variables;

/// How large a span may get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) counts: SpanLimits,
    /// Longest string in an attribute, in characters.
    pub(crate) value_length: Option<usize>,
}

/// How large a log record may get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    pub(crate) attributes: usize,
    /// Longest string in an attribute, in characters.
    pub(crate) value_length: Option<usize>,
}

impl LogLimits {
    pub(crate) fn parse(env: &mut Variables<'_>) -> Self {
        let names = [
            "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
        ];
        let expected = "a whole number";
        let attributes = env.read(&names, expected, 128, |value| value.parse().ok());
        let names = [
            "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ];
        let value_length = env.first(&names, expected, "no limit", |value| value.parse().ok());
        Self {
            attributes,
            value_length,
        }
    }
}

impl Limits {
    pub(crate) fn parse(env: &mut Variables<'_>) -> Self {
        let defaults = SpanLimits::default();
        let any = "OTEL_ATTRIBUTE_COUNT_LIMIT";
        let mut count = |names: &[&str], default| {
            env.read(names, "a whole number", default, |value| value.parse().ok())
        };
        let counts = SpanLimits {
            max_attributes_per_span: count(
                &["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", any],
                defaults.max_attributes_per_span,
            ),
            max_events_per_span: count(
                &["OTEL_SPAN_EVENT_COUNT_LIMIT"],
                defaults.max_events_per_span,
            ),
            max_links_per_span: count(&["OTEL_SPAN_LINK_COUNT_LIMIT"], defaults.max_links_per_span),
            max_attributes_per_event: count(
                &["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", any],
                defaults.max_attributes_per_event,
            ),
            max_attributes_per_link: count(
                &["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", any],
                defaults.max_attributes_per_link,
            ),
        };
        let names = [
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ];
        let value_length = env.first(&names, "a whole number", "no limit", |value| {
            value.parse().ok()
        });
        Self {
            counts,
            value_length,
        }
    }
}
