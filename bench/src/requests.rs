//! What tracing adds to a request: CPU time and memory of a service's whole process, exporter included.

mod service;

use std::net::SocketAddr;
use std::time::Duration;
use std::{io, iter};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

pub(crate) use self::service::{Answer, Ask};
use crate::count::Counts;
use crate::figure::{Figure, median};
use crate::helper::Helper;
use crate::load::{self, Load};
use crate::pipeline;
use crate::sink::{Behaviour, Sink};
use crate::spans::QUEUE;
use crate::subject::Subject;

/// Not looked at by the service.
pub(crate) const HOST: &str = "bench.localhost";

/// Connections of the rounds that do not compare numbers of them.
pub(crate) const CONNECTIONS: u64 = 16;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Where goals are about a few of them.
    pub(crate) goal_rounds: u64,
    pub(crate) rounds: u64,
    /// The same where numbers of spans and connections are compared.
    pub(crate) sweep_rounds: u64,
    /// How often each takes its turn in a round: often, so that what changes on the machine meanwhile changes all alike.
    pub(crate) turns: u64,
    /// Of the load in each turn.
    pub(crate) duration: Duration,
    /// Requests per second: so many that every subject keeps up.
    pub(crate) rate: u64,
    /// The same where up to sixteen spans are made of each.
    pub(crate) gentle_rate: u64,
    /// The same where goals are about a few of them: so many that the service is seldom idle.
    pub(crate) busy_rate: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rate: u64,
    pub(crate) gentle_rate: u64,
    pub(crate) busy_rate: u64,
    /// Three spans per request, at the busy rate.
    pub(crate) busy: Vec<Cost>,
    /// One and three spans per request, of every subject.
    pub(crate) subjects: Vec<Cost>,
    /// More spans per request, at the gentle rate.
    pub(crate) spans: Vec<Cost>,
    /// More connections, at the gentle rate.
    pub(crate) connections: Vec<Cost>,
}

/// What was measured, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) spans: usize,
    pub(crate) connections: u64,
    pub(crate) rate: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    #[serde(flatten)]
    pub(crate) case: Case,
    /// In microseconds, per request: of each round, the median of its turns.
    pub(crate) cpu: Figure,
    /// In microseconds, by how much more than without instrumentation in the same round.
    pub(crate) added: Figure,
    /// How often one of its threads got a processor, per request. Most of what it costs to wake up is in `cpu`, so that subjects
    /// with other figures here are compared with care.
    pub(crate) switches: Figure,
    pub(crate) resident_mb: Figure,
    /// Requests that were answered each second, in the slowest round.
    pub(crate) slowest: f64,
    /// Spans that arrived, of those that were made.
    pub(crate) arrived: f64,
}

/// What was measured of a case.
struct Measured {
    case: Case,
    rounds: Vec<Round>,
}

/// A running service, its collector, and what was measured of it in this round.
struct Running {
    case: Case,
    helper: Helper,
    addr: SocketAddr,
    sink: Sink,
    round: Round,
}

#[derive(Default)]
struct Round {
    turns: Vec<Turn>,
    took: Duration,
    resident_mb: f64,
    requests: u64,
    made: u64,
    arrived: u64,
}

/// Both per request.
struct Turn {
    /// In microseconds.
    cpu: f64,
    switches: f64,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let case = |subject, spans, connections, rate| Case {
        subject,
        spans,
        connections,
        rate,
    };
    let pinned = Pinned::beside_services()?;
    let processor = pinned.services;
    let sweep = Effort {
        rounds: effort.sweep_rounds,
        ..effort
    };
    let goals = Effort {
        rounds: effort.goal_rounds,
        ..effort
    };
    let floor = |connections, rate| iter::once(case(Subject::None, 0, connections, rate));
    let few = |spans, connections, rate| {
        [Subject::Drop, Subject::Stock, Subject::Ours]
            .map(|subject| case(subject, spans, connections, rate))
    };
    let rate = effort.busy_rate;
    let busy = floor(CONNECTIONS, rate).chain(few(3, CONNECTIONS, rate));
    let busy = compare(busy.collect(), goals, processor, counts).await?;

    let one_and_three = Subject::ALL.iter().flat_map(|&subject| {
        let spans: &[usize] = if subject == Subject::None {
            &[0]
        } else {
            &[1, 3]
        };
        spans
            .iter()
            .map(move |&spans| case(subject, spans, CONNECTIONS, effort.rate))
    });
    let subjects = compare(one_and_three.collect(), effort, processor, counts).await?;

    let rate = effort.gentle_rate;
    let spans = [1, 2, 4, 8, 16].into_iter();
    let spans = spans.flat_map(|spans| few(spans, CONNECTIONS, rate));
    let spans = floor(CONNECTIONS, rate).chain(spans);
    let spans = compare(spans.collect(), sweep, processor, counts).await?;

    let connections = [1, 4, 16, 64].into_iter();
    let connections = connections.flat_map(|it| floor(it, rate).chain(few(3, it, rate)));
    let connections = compare(connections.collect(), sweep, processor, counts).await?;
    Ok(Report {
        rate: effort.rate,
        gentle_rate: effort.gentle_rate,
        busy_rate: effort.busy_rate,
        busy,
        subjects,
        spans,
        connections,
    })
}

/// Measures each case in every round, in processes of that round: what a process costs also depends on where its memory
/// happens to be. A case without instrumentation is what those with as many connections are compared with.
async fn compare(
    cases: Vec<Case>,
    effort: Effort,
    processor: Option<usize>,
    counts: &mut Counts,
) -> anyhow::Result<Vec<Cost>> {
    let mut measured: Vec<_> = cases
        .into_iter()
        .map(|case| Measured {
            case,
            rounds: Vec::new(),
        })
        .collect();
    for _ in 0..effort.rounds {
        let mut running = Vec::new();
        for Measured { case, .. } in &measured {
            let mut it = Running::start(*case, processor)?;
            it.turn(effort.duration).await?;
            it.round = Round::default();
            running.push(it);
        }
        for turn in 0..effort.turns {
            let mut order: Vec<_> = running.iter_mut().collect();
            // There and back, so that nobody is always measured later than another.
            if turn % 2 == 1 {
                order.reverse();
            }
            for it in order {
                it.turn(effort.duration).await?;
            }
        }
        for (case, it) in measured.iter_mut().zip(running) {
            case.rounds.push(it.stop(counts)?);
        }
    }
    let costs = measured.iter().map(|it| {
        let floor = measured.iter().find(|other| {
            other.case.subject == Subject::None && other.case.connections == it.case.connections
        });
        Cost::of(it, floor)
    });
    Ok(costs.collect())
}

impl Running {
    fn start(case: Case, processor: Option<usize>) -> anyhow::Result<Self> {
        let sink = Sink::start(Behaviour::Well)?;
        let (endpoint, queue) = (sink.endpoint(), Some(QUEUE));
        let (helper, addr) = start_on(processor, case.subject, case.spans, &endpoint, queue)?;
        Ok(Self {
            case,
            helper,
            addr,
            sink,
            round: Round::default(),
        })
    }

    /// Adds a turn to the round.
    async fn turn(&mut self, duration: Duration) -> anyhow::Result<()> {
        let Case {
            connections, rate, ..
        } = self.case;
        let (used, arrived) = (self.helper.process().used()?, self.sink.arrived()?.spans);
        let load = Load::steady(rate, connections, duration);
        let answers = load::run(self.addr, HOST, load).await?;
        let _: Answer = self.helper.ask(&Ask::Flush)?;
        let process = self.helper.process();
        let used = process.used()?.since(used);
        let resident_mb = process.resident_kb()? as f64 / 1e3;
        let arrived = self.sink.arrived()?.spans - arrived;
        let requests = answers.requests as f64;
        self.round.turns.push(Turn {
            cpu: used.cpu.as_secs_f64() * 1e6 / requests,
            switches: used.switches as f64 / requests,
        });
        self.round.took += answers.took;
        self.round.resident_mb = self.round.resident_mb.max(resident_mb);
        self.round.requests += answers.requests;
        self.round.made += answers.requests * self.case.spans as u64;
        self.round.arrived += arrived;
        Ok(())
    }

    /// Ends the processes, and says what was measured.
    fn stop(self, counts: &mut Counts) -> anyhow::Result<Round> {
        let Self { case, round, .. } = self;
        if case.subject.exports() {
            let (made, arrived) = (round.made, round.arrived);
            counts.spans("spans of requests", case.subject, made, arrived);
        }
        self.helper.stop()?;
        self.sink.stop()?;
        Ok(round)
    }
}

impl Round {
    /// The median of what its turns say, so that one turn in which the machine did something else does not count.
    fn of_turns(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(&self.turns.iter().map(of).collect::<Vec<_>>())
    }

    /// In microseconds, per request.
    fn cpu(&self) -> f64 {
        self.of_turns(|turn| turn.cpu)
    }

    /// Per request.
    fn switches(&self) -> f64 {
        self.of_turns(|turn| turn.switches)
    }

    /// Requests answered.
    fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }
}

/// Keeps this thread, and those that it starts, off the processor that services have to themselves.
///
/// Where threads move between processors, how often one wakes up, and on which side of a cold cache, differs from turn to turn
/// by more than what is measured.
pub(crate) struct Pinned {
    before: CpuSet,
    /// The one that services have, if there are several.
    pub(crate) services: Option<usize>,
}

impl Pinned {
    pub(crate) fn beside_services() -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let services = last_of_several(&before);
        if let Some(services) = services {
            let mut others = before;
            others.unset(services);
            sched_setaffinity(None, &others)?;
        }
        Ok(Self { before, services })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed now.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Keeps this thread, and those that it starts, on one processor.
fn keep_to(number: usize) -> io::Result<()> {
    let mut own = CpuSet::new();
    own.set(number);
    sched_setaffinity(None, &own)?;
    Ok(())
}

/// None if there is but one.
fn last_of_several(set: &CpuSet) -> Option<usize> {
    let last = (0..CpuSet::MAX_CPU).rev().find(|&it| set.is_set(it));
    last.filter(|_| set.count() > 1)
}

/// The process of a service, kept on a processor if one is said.
pub(crate) fn run(
    options: pipeline::Options,
    spans: usize,
    processor: Option<usize>,
) -> anyhow::Result<()> {
    if let Some(processor) = processor {
        keep_to(processor)?;
    }
    service::run(options, spans)
}

/// Starts a service that makes so many spans of each request.
pub(crate) fn start(
    subject: Subject,
    spans: usize,
    endpoint: &str,
    queue: Option<&str>,
) -> anyhow::Result<(Helper, SocketAddr)> {
    start_on(None, subject, spans, endpoint, queue)
}

/// As [`start`], and keeps all of it on one processor.
pub(crate) fn start_on(
    processor: Option<usize>,
    subject: Subject,
    spans: usize,
    endpoint: &str,
    queue: Option<&str>,
) -> anyhow::Result<(Helper, SocketAddr)> {
    let spans = spans.to_string();
    let processor = processor.map(|number| number.to_string());
    let mut arguments = vec!["run-service", subject.name(), endpoint, &spans];
    if let Some(queue) = queue {
        arguments.extend(["--queue", queue]);
    }
    if let Some(processor) = &processor {
        arguments.extend(["--processor", processor]);
    }
    Helper::start(&arguments)
}

impl Cost {
    fn of(measured: &Measured, floor: Option<&Measured>) -> Self {
        let Measured { case, rounds } = measured;
        let figure = |of: fn(&Round) -> f64| Figure::of(&rounds.iter().map(of).collect::<Vec<_>>());
        let floor = floor.iter().flat_map(|floor| &floor.rounds);
        let added: Vec<_> = rounds
            .iter()
            .zip(floor)
            .map(|(it, floor)| it.cpu() - floor.cpu())
            .collect();
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>() as f64;
        let (made, arrived) = (sum(|round| round.made), sum(|round| round.arrived));
        Self {
            case: *case,
            cpu: figure(Round::cpu),
            added: Figure::of(&added),
            switches: figure(Round::switches),
            resident_mb: figure(|round| round.resident_mb),
            slowest: figure(Round::per_second).low,
            arrived: if made > 0.0 { arrived / made } else { 1.0 },
        }
    }
}
