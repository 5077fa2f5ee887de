//! What a runtime of Tokio does. There are no conventions for it; the names are Tokio's own.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::runtime::Handle;

#[derive(Debug)]
pub(crate) struct Runtime(pub(crate) Handle);

impl Collector for Runtime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = self.0.metrics();
        for (name, help, value) in [
            (
                "tokio_workers",
                "Threads that run tasks.",
                metrics.num_workers(),
            ),
            (
                "tokio_alive_tasks",
                "Tasks that have begun and not ended.",
                metrics.num_alive_tasks(),
            ),
            (
                "tokio_global_queue_depth",
                "Tasks that wait for a thread in the queue that all threads share.",
                metrics.global_queue_depth(),
            ),
        ] {
            let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            value.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
