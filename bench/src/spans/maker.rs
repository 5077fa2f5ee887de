//! The process that makes spans as fast as it can, or at a pace, and says what they cost it.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use alloc_tracker::Session;
use anyhow::bail;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::export;
use super::making::{self, Shape};
use crate::figure::median;
use crate::helper;
use crate::pipeline::{self, Accounts, Pipeline, SCOPE};
use crate::subject::Subject;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Burst(Burst),
    Export(export::Burst),
    Pace(Pace),
    /// Ends the pipeline.
    Shutdown,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Burst(BurstCost),
    Export(export::Cost),
    Pace(Paced),
    Shutdown(Ended),
}

/// Spans in tight loops, all of them exported after each.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Burst {
    pub(crate) shape: Shape,
    pub(crate) threads: usize,
    /// Whether each thread has a tracer provider of its own.
    pub(crate) own_provider: bool,
    /// Of each thread and burst.
    pub(crate) spans: u64,
    pub(crate) bursts: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BurstCost {
    pub(crate) made: u64,
    /// CPU time of the threads that made them, per span; median of the bursts.
    pub(crate) request_ns: f64,
    /// CPU time of the whole process, per span.
    pub(crate) process_ns: f64,
    /// On one of the threads that made them, per span.
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// In the whole process, per span.
    pub(crate) process_allocations: f64,
}

/// So many spans with seven attributes per second, in groups a millisecond apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) per_second: u64,
    pub(crate) duration: Duration,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Paced {
    pub(crate) made: u64,
    pub(crate) took: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// What the shutdown returned.
    pub(crate) outcome: Result<(), String>,
    pub(crate) accounts: Option<Accounts>,
}

/// Answers until there are no more questions.
pub(crate) fn run(options: pipeline::Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let subject = options.subject;
    let mut pipeline = Pipeline::install(options)?;
    drop(guard);
    helper::serve(&(), |ask| {
        let _guard = runtime.enter();
        Ok(match ask {
            Ask::Burst(burst) => Answer::Burst(measure(&mut pipeline, subject, burst)?),
            Ask::Export(burst) => Answer::Export(export::measure(&pipeline, subject, burst)?),
            Ask::Pace(pace) => Answer::Pace(keep_pace(&mut pipeline, subject, pace)?),
            Ask::Shutdown => Answer::Shutdown(Ended {
                outcome: pipeline.shutdown().map_err(|err| err.to_string()),
                accounts: pipeline.accounts(),
            }),
        })
    })
}

/// What one thread makes its spans with.
enum Maker {
    Nothing,
    NoOp(global::BoxedTracer),
    Sdk(opentelemetry_sdk::trace::SdkTracer),
    Tracing,
    Fastrace,
}

impl Maker {
    fn new(subject: Subject, provider: Option<&SdkTracerProvider>) -> anyhow::Result<Self> {
        Ok(match (subject, provider) {
            (Subject::None, _) => Self::Nothing,
            (Subject::NoOp, _) => Self::NoOp(global::tracer(SCOPE)),
            (Subject::TracingOpentelemetry, _) => Self::Tracing,
            (Subject::Fastrace, _) => Self::Fastrace,
            (_, Some(provider)) => Self::Sdk(provider.tracer(SCOPE)),
            (_, None) => bail!("{subject} has no provider"),
        })
    }

    /// Makes so many spans, or a few less.
    fn make(&self, shape: Shape, spans: u64) {
        let times = spans / shape.spans();
        let root = Context::new();
        match self {
            Self::Nothing => (0..times).for_each(|_| {
                std::hint::black_box(shape);
            }),
            Self::NoOp(tracer) => {
                (0..times).for_each(|_| making::opentelemetry(tracer, &root, shape));
            }
            Self::Sdk(tracer) => {
                (0..times).for_each(|_| making::opentelemetry(tracer, &root, shape));
            }
            Self::Tracing => (0..times).for_each(|_| making::tracing(shape)),
            Self::Fastrace => (0..times).for_each(|_| making::fastrace(shape)),
        }
    }
}

fn measure(pipeline: &mut Pipeline, subject: Subject, burst: Burst) -> anyhow::Result<BurstCost> {
    let per_burst = burst.spans / burst.shape.spans() * burst.shape.spans();
    let providers = pipeline.providers(if burst.own_provider { burst.threads } else { 1 })?;
    let makers = (0..burst.threads).map(|thread| {
        let provider = providers.get(thread % providers.len().max(1));
        Maker::new(subject, provider)
    });
    let makers = makers.collect::<anyhow::Result<Vec<_>>>()?;
    let pipeline = &*pipeline;

    // Twice for each burst: all begin at once, and nobody flushes before all are done.
    let barrier = Barrier::new(burst.threads + 1);
    let session = Session::new().no_stdout().no_file();
    let (thread, process) = (session.operation("thread"), session.operation("process"));
    let (mut of_threads, mut of_process) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let barrier = &barrier;
        let threads: Vec<_> = makers
            .iter()
            .enumerate()
            .map(|(number, maker)| {
                let thread = (number == 0).then_some(&thread);
                scope.spawn(move || {
                    let mut costs = Vec::new();
                    for phase in phases(burst.bursts) {
                        barrier.wait();
                        let thread = thread.filter(|_| phase == Phase::Counted);
                        let span = thread.map(|it| it.measure_thread());
                        let before = cpu(ClockId::ThreadCPUTime);
                        maker.make(burst.shape, burst.spans);
                        let cost = cpu(ClockId::ThreadCPUTime) - before;
                        drop(span.map(|it| it.iterations(per_burst)));
                        barrier.wait();
                        if phase == Phase::Timed {
                            costs.push(cost.as_nanos() as f64 / per_burst as f64);
                        }
                    }
                    costs
                })
            })
            .collect();
        let made_at_once = per_burst * burst.threads as u64;
        for phase in phases(burst.bursts) {
            let span = (phase == Phase::Counted).then(|| process.measure_process());
            let before = cpu(ClockId::ProcessCPUTime);
            barrier.wait();
            barrier.wait();
            // What it failed to export is seen by whoever counts what arrived.
            let _ = pipeline.flush();
            let cost = cpu(ClockId::ProcessCPUTime) - before;
            drop(span.map(|it| it.iterations(made_at_once)));
            if phase == Phase::Timed {
                of_process.push(cost.as_nanos() as f64 / made_at_once as f64);
            }
        }
        for thread in threads {
            of_threads.extend(thread.join().unwrap_or_default());
        }
    });
    let report = session.to_report();
    let of = |name| {
        let mut operations = report.operations();
        let (_, found) = operations.find(|(operation, _)| *operation == name)?;
        Some((found.allocations()?, found.bytes()?))
    };
    let (allocations, bytes) = of("thread").unwrap_or_default();
    let (process_allocations, _) = of("process").unwrap_or_default();
    Ok(BurstCost {
        made: (burst.bursts + 2) * per_burst * burst.threads as u64,
        request_ns: median(&of_threads),
        process_ns: median(&of_process),
        allocations,
        bytes,
        process_allocations,
    })
}

/// What a burst is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Timed,
    /// Allocations are counted: what they cost is not to be in the time.
    Counted,
}

fn phases(bursts: u64) -> impl Iterator<Item = Phase> {
    (0..bursts + 2).map(move |burst| match burst {
        0 => Phase::WarmUp,
        last if last > bursts => Phase::Counted,
        _ => Phase::Timed,
    })
}

fn keep_pace(pipeline: &mut Pipeline, subject: Subject, pace: Pace) -> anyhow::Result<Paced> {
    let providers = pipeline.providers(1)?;
    let maker = Maker::new(subject, providers.first())?;
    let (start, mut made) = (Instant::now(), 0);
    loop {
        let elapsed = start.elapsed().min(pace.duration);
        let due = (elapsed.as_secs_f64() * pace.per_second as f64) as u64;
        maker.make(Shape::Attributes(7), due - made);
        made = due;
        if elapsed == pace.duration {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed();
    // It fails if spans were dropped, and here some are to be. What arrived is counted elsewhere.
    let _ = pipeline.flush();
    Ok(Paced { made, took })
}

/// The time of a clock that counts what was used of the CPU.
pub(super) fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
