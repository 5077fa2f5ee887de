//! What becomes of spans and of trace headers: the counts of [`Telemetry`] as metrics.
//!
//! Spans have the names of the conventions for SDKs; those that are sampled are counted, as no other is exported. Every series
//! is there from the beginning, at 0, so that a rate sees the first loss.
//!
//! <https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/>

use std::fmt;

use otlp_pipeline::{Accounts, Pipeline};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{Sampler, Telemetry, bad_contexts};

/// Shows what became of every span, the trace headers that were not believed, and how many spans the limit on callers left out.
///
/// Spans are shown if they are exported by OTLP. A span is processed once it is with the exporter, and exported once the
/// collector has it; with an `error_type` it was lost there.
pub fn register(registry: &mut Registry, telemetry: &Telemetry) {
    registry.register_collector(Box::new(Counts {
        pipeline: telemetry.pipeline().cloned(),
        sampler: telemetry.sampler().clone(),
    }));
}

#[derive(Debug)]
struct Counts {
    pipeline: Option<Pipeline>,
    sampler: Sampler,
}

type Labels<'a> = [(&'a str, &'a str)];

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(pipeline) = &self.pipeline {
            spans(&mut encoder, &pipeline.accounts())?;
        }
        let bad = bad_contexts();
        let labels = bad.iter().map(|bad| {
            let labels = [("header", bad.header), ("kind", bad.kind)];
            (labels, bad.count)
        });
        let help = "Trace headers that were not believed.";
        counters(&mut encoder, "telemetry_bad_contexts", help, labels)?;
        let help = "Traces that callers wanted sampled beyond their limit.";
        let limited = ConstCounter::new(self.sampler.limited());
        let name = "telemetry_limited_traces";
        limited.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
    }
}

fn spans(encoder: &mut DescriptorEncoder<'_>, accounts: &Accounts) -> fmt::Result {
    let Accounts {
        started,
        exported,
        dropped,
        pending,
        ..
    } = *accounts;
    let sampled = [("otel_span_sampling_result", "RECORD_AND_SAMPLE")];
    let help = "The number of created spans.";
    counters(encoder, "otel_sdk_span_started", help, [(sampled, started)])?;

    let failed = |cause, count| (Some(cause), count);
    let lost_by_exporter = [
        failed("rejected", dropped.rejected),
        failed("refused", dropped.refused),
        failed("gave_up", dropped.gave_up),
        failed("panicked", dropped.panicked),
        failed("unflushed", dropped.unflushed),
    ];
    let to_exporter = exported + lost_by_exporter.iter().map(|(_, count)| count).sum::<u64>();
    let processed = [
        (None, to_exporter),
        failed("queue_full", dropped.full),
        failed("oversized", dropped.oversized),
        failed("already_shutdown", dropped.late),
    ];
    let help =
        "The number of spans for which the processing has finished, either successful or failed.";
    let name = "otel_sdk_processor_span_processed";
    by_error(encoder, name, help, processed)?;
    let help = "The number of spans in the queue, those on their way included.";
    let name = "otel_sdk_processor_span_queue_size";
    let waiting = ConstGauge::new(i64::try_from(pending).unwrap_or(i64::MAX));
    waiting.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    let help =
        "The number of spans for which the export has finished, either successful or failed.";
    let all = std::iter::once((None, exported)).chain(lost_by_exporter);
    by_error(encoder, "otel_sdk_exporter_span_exported", help, all)
}

fn by_error(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl IntoIterator<Item = (Option<&'static str>, u64)>,
) -> fmt::Result {
    let labelled = |(error, count): (Option<&'static str>, u64)| {
        let label = error.map(|error| ("error_type", error));
        (Vec::from_iter(label), count)
    };
    counters(encoder, name, help, counts.into_iter().map(labelled))
}

fn counters<'a, L: AsRef<Labels<'a>>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&labels.as_ref())?)?;
    }
    Ok(())
}
