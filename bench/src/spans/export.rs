//! What the way from a finished span to its bytes costs, until nothing is left of the span.
//!
//! The same is measured of both, and no other part of the way to the collector. Of the stock pipeline: its exporter's copy of
//! the batch, the conversion, the encoding, and the end of the batch; not the queue in which its processor hands each span to
//! its thread. Of ours: all of `on_end`, which finds the thread's buffer, encodes, and ends the span. What the whole process
//! takes, queues and sending among it, is measured with the bursts.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloc_tracker::Session;
use anyhow::bail;
use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use prost::Message as _;
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::maker::cpu;
use super::making::{self, Shape};
use crate::figure::median;
use crate::pipeline::{self, Pipeline, SCOPE};
use crate::subject::Subject;

/// As many as the stock processor exports at once.
pub(crate) const BATCH: usize = 512;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Burst {
    pub(crate) shape: Shape,
    pub(crate) batches: u64,
}

/// Per span.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) ns: f64,
    pub(crate) allocations: f64,
    /// How many spans were handed to a pipeline that exports them.
    pub(crate) made: u64,
}

pub(crate) fn measure(pipeline: &Pipeline, subject: Subject, burst: Burst) -> anyhow::Result<Cost> {
    let batch = finished(burst.shape);
    match subject {
        Subject::Stock => {
            let resource = ResourceAttributesWithSchema::from(&pipeline::resource());
            let cost = timed(
                burst.batches,
                &batch,
                |batch| {
                    // The exporter keeps the batch until it is sent, and works on a copy.
                    let resource_spans =
                        group_spans_by_resource_and_scope(batch.clone(), &resource);
                    black_box(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
                    drop(batch);
                },
                || (),
            )?;
            // Nobody sends these.
            Ok(Cost { made: 0, ..cost })
        }
        Subject::Ours => {
            let mut processor = pipeline.ours_processor()?;
            processor.set_resource(&pipeline::resource());
            let end = |batch: Vec<SpanData>| batch.into_iter().for_each(|it| processor.on_end(it));
            timed(burst.batches, &batch, end, || {
                // What it failed to export is seen by whoever counts what arrived.
                let _ = processor.force_flush();
            })
        }
        other => bail!("{other} exports no batches here"),
    }
}

/// Times the work on copies of a batch, made beforehand; in between it may be waited for others.
fn timed(
    batches: u64,
    batch: &[SpanData],
    mut work: impl FnMut(Vec<SpanData>),
    between: impl Fn(),
) -> anyhow::Result<Cost> {
    let mut times = Vec::new();
    // The first one warms up.
    for number in 0..=batches {
        let copy = batch.to_vec();
        let before = cpu(ClockId::ThreadCPUTime);
        work(copy);
        let took = cpu(ClockId::ThreadCPUTime) - before;
        if number > 0 {
            times.push(took.as_nanos() as f64 / batch.len() as f64);
        }
        between();
    }
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("export");
    let copy = batch.to_vec();
    let span = operation.measure_thread();
    work(copy);
    drop(span.iterations(batch.len() as u64));
    between();
    let report = session.to_report();
    let counted = report.operations().next();
    Ok(Cost {
        ns: median(&times),
        allocations: counted
            .and_then(|(_, it)| it.allocations())
            .unwrap_or_default(),
        made: (batches + 2) * batch.len() as u64,
    })
}

/// A batch of spans that have ended.
fn finished(shape: Shape) -> Vec<SpanData> {
    let kept = Keeping::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(kept.clone())
        .with_resource(pipeline::resource())
        .build();
    let tracer = provider.tracer(SCOPE);
    for _ in 0..BATCH {
        making::opentelemetry(&tracer, &Context::new(), shape);
    }
    kept.0
        .lock()
        .map(|mut spans| std::mem::take(&mut *spans))
        .unwrap_or_default()
}

#[derive(Clone, Debug, Default)]
struct Keeping(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Keeping {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Ok(mut spans) = self.0.lock() {
            spans.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
