//! Tells what was counted, in the words that Grafana asks Prometheus for.

use std::fmt::{self, Write as _};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::{MetricType, exemplar::Exemplar},
};

use super::{
    calls::{self, CallCounts, CallLabels, Example},
    edges::{self, EdgeCounts, EdgeLabels},
    series::{Histogram, Shown},
};

/// What was known at one moment.
pub(crate) struct Snapshot {
    pub(super) calls: Vec<Shown<CallLabels, CallCounts>>,
    pub(super) edges: Vec<Shown<EdgeLabels, EdgeCounts>>,
    pub(super) overflows: u64,
    pub(super) skipped: u64,
    pub(super) half_edges: usize,
}

/// The histogram whose buckets lead to spans.
const LATENCY: &str = "traces_spanmetrics_latency";

/// The newest span of each bucket of each series, in the order in which they are shown.
///
/// The library gives no way to make an exemplar for a histogram of our own, so they are put behind its lines.
#[derive(Debug)]
pub(crate) struct Exemplars(Vec<Option<Example>>);

impl Exemplars {
    /// Adds them to what was written of the same snapshot in the format of OpenMetrics.
    ///
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars>
    pub(crate) fn add(&self, written: &str, to: &mut String) -> fmt::Result {
        let bucket = format!("{LATENCY}_bucket{{");
        let mut examples = self.0.iter();
        for line in written.lines() {
            to.push_str(line);
            if line.starts_with(&bucket)
                && let Some(Some(example)) = examples.next()
            {
                let Example {
                    trace,
                    span,
                    seconds,
                    end_unix_nano,
                } = example;
                let (second, nanos) = (end_unix_nano / NANOS, end_unix_nano % NANOS);
                write!(
                    to,
                    " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {seconds} {second}.{nanos:09}"
                )?;
            }
            to.push('\n');
        }
        Ok(())
    }
}

const NANOS: u64 = 1_000_000_000;

impl Snapshot {
    pub(crate) fn exemplars(&self) -> Exemplars {
        let calls = self.calls.iter();
        Exemplars(calls.flat_map(|call| call.values.examples).collect())
    }
}

type Text<'a> = Vec<(&'static str, &'a str)>;

/// The labels of all that overflows, as in Tempo.
const OVERFLOW: (&str, &str) = ("metric_overflow", "true");

impl Shown<CallLabels, CallCounts> {
    fn text(&self) -> Text<'_> {
        match &self.labels {
            None => vec![OVERFLOW],
            Some(call) => vec![
                ("service", &call.service),
                ("span_name", &call.name),
                ("span_kind", call.kind().proto_name()),
                ("status_code", call.status().proto_name()),
            ],
        }
    }
}

impl Shown<EdgeLabels, EdgeCounts> {
    fn text(&self) -> Text<'_> {
        match &self.labels {
            None => vec![OVERFLOW],
            Some(edge) => vec![
                ("client", &edge.client),
                ("server", &edge.server),
                ("connection_type", edge.connection.name()),
            ],
        }
    }

    fn is_edge(&self) -> bool {
        self.values.unpaired == 0 && self.values.dropped == 0 || self.values.requests > 0
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        let edges = || self.edges.iter().filter(|edge| edge.is_edge());
        counters(
            to,
            "traces_service_graph_request",
            "Calls between two services, of which either the spans of both ends came or one tells who the other is",
            edges().map(|edge| (edge.text(), edge.values.requests)),
        )?;
        counters(
            to,
            "traces_service_graph_request_failed",
            "Calls between two services in which the span of either end has the status Error",
            edges().map(|edge| (edge.text(), edge.values.failed)),
        )?;
        histograms(
            to,
            "traces_service_graph_request_client_seconds",
            "How long calls between two services took for the client",
            &edges::BOUNDS,
            edges().map(|edge| (edge.text(), &edge.values.client_seconds)),
        )?;
        histograms(
            to,
            "traces_service_graph_request_server_seconds",
            "How long calls between two services took for the server",
            &edges::BOUNDS,
            edges().map(|edge| (edge.text(), &edge.values.server_seconds)),
        )?;
        let lost = |lost: fn(&EdgeCounts) -> u64| {
            let counts = self.edges.iter();
            let counts = counts.map(move |edge| (edge.text(), lost(&edge.values)));
            counts.filter(|(_, count)| *count > 0)
        };
        counters(
            to,
            "traces_service_graph_unpaired_spans",
            "Spans at one end of a call whose other end did not come within 10 seconds and is not named",
            lost(|counts| counts.unpaired),
        )?;
        counters(
            to,
            "traces_service_graph_dropped_spans",
            "Spans at one end of a call that were forgotten before the other end came, because too many waited",
            lost(|counts| counts.dropped),
        )?;
        let calls = || self.calls.iter();
        counters(
            to,
            "traces_spanmetrics_calls",
            "Spans by service, name, kind and status",
            calls().map(|call| (call.text(), call.values.seconds.count())),
        )?;
        histograms(
            to,
            LATENCY,
            "How many seconds spans took",
            &calls::BOUNDS,
            calls().map(|call| (call.text(), &call.values.seconds)),
        )?;
        counters(
            to,
            "traces_spanmetrics_size",
            "Bytes of spans, as protobuf",
            calls().map(|call| (call.text(), call.values.bytes)),
        )?;
        counters(
            to,
            "tracestore_span_metrics_skipped_spans",
            "Spans that are kept and not counted in traces_*, because they ended more than 30 seconds before or \
             after they came",
            [(Text::new(), self.skipped)],
        )?;
        counters(
            to,
            "tracestore_span_metrics_overflows",
            "Spans and calls that are counted as metric_overflow in traces_*, because there are too many combinations \
             of labels",
            [(Text::new(), self.overflows)],
        )?;
        for (name, help, value) in [
            (
                "tracestore_span_metrics_label_sets",
                "Combinations of labels in traces_*; those that got nothing for 15 minutes are forgotten",
                self.calls.len() + self.edges.len(),
            ),
            (
                "tracestore_span_metrics_waiting_spans",
                "Spans at one end of a call that wait for the other end",
                self.half_edges,
            ),
        ] {
            let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&(value as u64))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Text<'a>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in rows {
        let none: Option<&Exemplar<NoLabelSet, u64>> = None;
        match labels.is_empty() {
            true => metric.encode_counter(&count, none)?,
            false => metric
                .encode_family(&labels)?
                .encode_counter(&count, none)?,
        }
    }
    Ok(())
}

fn histograms<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    bounds: &[f64],
    rows: impl Iterator<Item = (Text<'a>, &'a Histogram<N>)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in rows {
        let mut metric: MetricEncoder<'_> = metric.encode_family(&labels)?;
        let (sum, count, buckets) = (
            histogram.sum(),
            histogram.count(),
            histogram.buckets(bounds),
        );
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}
