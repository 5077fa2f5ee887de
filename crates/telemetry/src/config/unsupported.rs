//! Variables of the specification that nothing here follows: whoever sets one is told so.

use super::variables::{Problem, Variables};

struct Unsupported {
    name: &'static str,
    /// Values that say what is done anyway.
    kept: &'static [&'static str],
    used: &'static str,
}

const fn never(name: &'static str, used: &'static str) -> Unsupported {
    unless(name, &[], used)
}

const fn unless(
    name: &'static str,
    kept: &'static [&'static str],
    used: &'static str,
) -> Unsupported {
    Unsupported { name, kept, used }
}

const PROMETHEUS: &str = "what a service shows to Prometheus";
const VARIABLES: &str = "the variables";
const OTLP: &str = "OTLP and its variables";

const ALL: [Unsupported; 28] = [
    never("OTEL_CONFIG_FILE", VARIABLES),
    never("OTEL_EXPERIMENTAL_CONFIG_FILE", VARIABLES),
    never("OTEL_ENTITIES", "OTEL_RESOURCE_ATTRIBUTES"),
    unless("OTEL_METRICS_EXPORTER", &["none", "prometheus"], PROMETHEUS),
    unless(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        &["trace_based"],
        "trace_based",
    ),
    never("OTEL_METRIC_EXPORT_INTERVAL", PROMETHEUS),
    never("OTEL_METRIC_EXPORT_TIMEOUT", PROMETHEUS),
    never("OTEL_EXPORTER_PROMETHEUS_HOST", PROMETHEUS),
    never("OTEL_EXPORTER_PROMETHEUS_PORT", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_HEADERS", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_INSECURE", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", PROMETHEUS),
    never("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", PROMETHEUS),
    never(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        PROMETHEUS,
    ),
    never(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        PROMETHEUS,
    ),
    never("OTEL_EXPORTER_OTLP_METRIC_INSECURE", PROMETHEUS),
    never(
        "OTEL_EXPORTER_OTLP_SPAN_INSECURE",
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    ),
    never("OTEL_EXPORTER_ZIPKIN_ENDPOINT", OTLP),
    never("OTEL_EXPORTER_ZIPKIN_TIMEOUT", OTLP),
    never("OTEL_EXPORTER_JAEGER_ENDPOINT", OTLP),
    never("OTEL_EXPORTER_JAEGER_AGENT_HOST", OTLP),
    unless(
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        &["http"],
        "the stable conventions alone",
    ),
    never(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        "the methods of HTTP and PATCH",
    ),
];

pub(crate) fn report(env: &mut Variables<'_>) {
    for Unsupported { name, kept, used } in ALL {
        let Some(value) = env.get(name) else {
            continue;
        };
        let is_kept = |part: &str| {
            kept.iter()
                .any(|kept| part.trim().eq_ignore_ascii_case(kept))
        };
        if !value.split(',').all(is_kept) {
            env.report(Problem::unsupported(name, &value, used));
        }
    }
}
