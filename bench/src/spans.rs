//! What a span costs: on the thread that makes it, and in the whole process until the collector has it.

mod export;
mod maker;
mod making;

use std::collections::BTreeMap;
use std::thread;

use anyhow::Context as _;
use serde::Serialize;

pub(crate) use self::maker::{Answer, Ask, Pace, run};
use self::maker::{Burst, BurstCost};
pub(crate) use self::making::Shape;
use crate::count::Counts;
use crate::figure::Figure;
use crate::helper::Helper;
use crate::sink::{Behaviour, Sink};
use crate::subject::Subject;

/// So many that the stock processor drops none of what is measured here.
pub(crate) const QUEUE: &str = "65536";

/// The attributes of the other shapes that are compared, and of those between them.
pub(crate) const COMPARED: [usize; 3] = [0, 7, 20];
const BETWEEN: [usize; 3] = [3, 13, 32];

/// Else glibc returns the top of the heap to the system after a batch, or does not, depending on what lies on top of it: as
/// happened, that made a batch cost half as much again, for all subjects.
const STEADY_HEAP: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "33554432"),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u64,
    pub(crate) bursts: u64,
    /// Of a thread in a burst.
    pub(crate) spans: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) costs: Vec<Cost>,
    pub(crate) export: Vec<ExportCost>,
    /// Cases run on one thread and on up to so many.
    pub(crate) max_threads: usize,
}

/// What was measured, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) shape: Shape,
    pub(crate) threads: usize,
    pub(crate) own_provider: bool,
}

/// Per span.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    #[serde(flatten)]
    pub(crate) case: Case,
    /// CPU time in nanoseconds on the thread that makes it.
    pub(crate) request_ns: Figure,
    /// The same of the whole process, exporter included.
    pub(crate) process_ns: Figure,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    pub(crate) process_allocations: f64,
}

/// From a finished span to its bytes, until nothing is left of the span, on the thread that does it: without the handing over
/// to other threads, without sending.
#[derive(Debug, Serialize)]
pub(crate) struct ExportCost {
    pub(crate) subject: Subject,
    pub(crate) shape: Shape,
    pub(crate) ns: Figure,
    pub(crate) allocations: f64,
}

impl Report {
    pub(crate) fn cost(&self, case: Case) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.case == case)
    }

    /// On one thread, with more and more attributes.
    pub(crate) fn by_attributes(&self) -> Vec<(Subject, usize, &Cost)> {
        let of_one = self.costs.iter().filter(|cost| cost.case.threads == 1);
        let counted = of_one.filter_map(|cost| match cost.case.shape {
            Shape::Attributes(count) => Some((cost.case.subject, count, cost)),
            Shape::Event | Shape::Family => None,
        });
        let mut costs: Vec<_> = counted.collect();
        costs.sort_by_key(|(subject, count, _)| (*subject, *count));
        costs
    }

    /// With seven attributes, on more and more threads.
    pub(crate) fn by_threads(&self) -> Vec<&Cost> {
        let seven = self
            .costs
            .iter()
            .filter(|cost| cost.case.shape == Shape::Attributes(7));
        let mut costs: Vec<_> = seven.collect();
        costs.sort_by_key(|cost| {
            let Case {
                subject,
                threads,
                own_provider,
                ..
            } = cost.case;
            (subject, own_provider, threads)
        });
        costs
    }
}

/// Everything on one thread, and what is compared over threads.
fn cases(max_threads: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let compared = COMPARED.into_iter().map(Shape::Attributes);
    let shapes = compared
        .chain([Shape::Event, Shape::Family])
        .chain(BETWEEN.into_iter().map(Shape::Attributes));
    for shape in shapes {
        for subject in Subject::ALL {
            let macros = subject == Subject::TracingOpentelemetry;
            if macros && !making::tracing_makes(shape) {
                continue;
            }
            cases.push(Case {
                subject,
                shape,
                threads: 1,
                own_provider: false,
            });
        }
    }
    for threads in 2..=max_threads {
        for subject in Subject::ALL {
            for own_provider in [false, true] {
                let sdk = matches!(subject, Subject::Drop | Subject::Stock | Subject::Ours);
                if own_provider && !sdk {
                    continue;
                }
                cases.push(Case {
                    subject,
                    shape: Shape::Attributes(7),
                    threads,
                    own_provider,
                });
            }
        }
    }
    cases
}

pub(crate) fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let max_threads = thread::available_parallelism()?.get().clamp(2, 4);
    let mut makers = Vec::new();
    for subject in Subject::ALL {
        let sink = Sink::start(Behaviour::Well)?;
        let endpoint = sink.endpoint();
        let arguments = ["run-spans", subject.name(), &endpoint, "--queue", QUEUE];
        let (helper, ()) = Helper::start_with(&arguments, &STEADY_HEAP)?;
        makers.push((subject, helper, sink, 0));
    }
    let cases = cases(max_threads);
    let mut costs: Vec<Vec<BurstCost>> = vec![Vec::new(); cases.len()];
    let mut export: BTreeMap<(Subject, usize), Vec<export::Cost>> = BTreeMap::new();
    let exported = [Shape::Attributes(7), Shape::Event];
    for _ in 0..effort.rounds {
        for (case, costs) in cases.iter().zip(&mut costs) {
            let maker = makers.iter_mut().find(|(it, ..)| *it == case.subject);
            let (_, helper, _, made) = maker.context("every subject has a process")?;
            let burst = Burst {
                shape: case.shape,
                threads: case.threads,
                own_provider: case.own_provider,
                spans: effort.spans,
                bursts: effort.bursts,
            };
            let answer = helper
                .ask(&Ask::Burst(burst))
                .with_context(|| format!("{case:?}"))?;
            let Answer::Burst(cost) = answer else {
                anyhow::bail!("{answer:?} is no answer to a burst");
            };
            *made += cost.made;
            costs.push(cost);
        }
        for (subject, helper, _, made) in &mut makers {
            if !matches!(subject, Subject::Stock | Subject::Ours) {
                continue;
            }
            for (index, shape) in exported.into_iter().enumerate() {
                let batches = effort.bursts;
                let answer = helper.ask(&Ask::Export(export::Burst { shape, batches }))?;
                let Answer::Export(cost) = answer else {
                    anyhow::bail!("{answer:?} is no answer to an export");
                };
                *made += cost.made;
                export.entry((*subject, index)).or_default().push(cost);
            }
        }
    }
    for (subject, mut helper, mut sink, made) in makers {
        let _: Answer = helper.ask(&Ask::Shutdown)?;
        if subject.exports() {
            let arrived = sink.arrived()?.spans;
            counts.spans("spans in bursts", subject, made, arrived);
        }
        helper.stop()?;
        sink.stop()?;
    }
    Ok(Report {
        costs: cases
            .into_iter()
            .zip(costs)
            .map(|(case, rounds)| Cost::of(case, &rounds))
            .collect(),
        export: export
            .into_iter()
            .map(|((subject, index), rounds)| {
                let ns: Vec<_> = rounds.iter().map(|cost| cost.ns).collect();
                let allocations: Vec<_> = rounds.iter().map(|cost| cost.allocations).collect();
                ExportCost {
                    subject,
                    shape: exported[index],
                    ns: Figure::of(&ns),
                    allocations: Figure::of(&allocations).median,
                }
            })
            .collect(),
        max_threads,
    })
}

impl Cost {
    fn of(case: Case, rounds: &[BurstCost]) -> Self {
        let figure =
            |of: fn(&BurstCost) -> f64| Figure::of(&rounds.iter().map(of).collect::<Vec<_>>());
        Self {
            case,
            request_ns: figure(|cost| cost.request_ns),
            process_ns: figure(|cost| cost.process_ns),
            allocations: figure(|cost| cost.allocations).median,
            bytes: figure(|cost| cost.bytes).median,
            process_allocations: figure(|cost| cost.process_allocations).median,
        }
    }
}
