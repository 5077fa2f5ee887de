//! What tracing adds to a request: CPU time and memory of a service's whole process, exporter included.

mod service;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

pub(crate) use self::service::{Answer, Ask, run};
use crate::count::Counts;
use crate::figure::Figure;
use crate::helper::Helper;
use crate::load::{self, Load};
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
    pub(crate) rounds: u64,
    /// Of each load.
    pub(crate) duration: Duration,
    /// The same where numbers of spans and connections are compared.
    pub(crate) sweep_rounds: u64,
    pub(crate) sweep_duration: Duration,
    /// Requests per second: so many that every subject keeps up.
    pub(crate) rate: u64,
    /// The same where up to sixteen spans are made of each.
    pub(crate) gentle_rate: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rate: u64,
    pub(crate) gentle_rate: u64,
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
    /// In microseconds, per request.
    pub(crate) cpu: Figure,
    /// In microseconds, by how much more than without instrumentation in the same round.
    pub(crate) added: Figure,
    pub(crate) resident_mb: Figure,
    /// Requests that were answered each second, in the slowest round.
    pub(crate) slowest: f64,
    /// Spans that arrived, of those that were made.
    pub(crate) arrived: f64,
}

/// A running service, its collector, and what was measured of it.
struct Running {
    case: Case,
    helper: Helper,
    addr: SocketAddr,
    sink: Sink,
    rounds: Vec<Round>,
}

struct Round {
    cpu: f64,
    resident_mb: f64,
    per_second: f64,
    made: u64,
    arrived: u64,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let case = |subject, spans, connections, rate| Case {
        subject,
        spans,
        connections,
        rate,
    };
    let measured = (effort.rounds, effort.duration);
    let sweep = (effort.sweep_rounds, effort.sweep_duration);
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
    let subjects = compare(one_and_three.collect(), measured, counts).await?;

    let few: Vec<_> = Subject::ALL
        .into_iter()
        .filter(|it| matches!(it, Subject::Drop | Subject::Stock | Subject::Ours))
        .collect();
    let rate = effort.gentle_rate;
    let spans = [1, 2, 4, 8, 16].into_iter().flat_map(|spans| {
        few.iter()
            .map(move |&subject| case(subject, spans, CONNECTIONS, rate))
    });
    let floor = [case(Subject::None, 0, CONNECTIONS, rate)];
    let spans = compare(floor.into_iter().chain(spans).collect(), sweep, counts).await?;

    let connections = [1, 4, 16, 64].into_iter().flat_map(|connections| {
        let few = few
            .iter()
            .map(move |&subject| case(subject, 3, connections, rate));
        [case(Subject::None, 0, connections, rate)]
            .into_iter()
            .chain(few)
    });
    let connections = compare(connections.collect(), sweep, counts).await?;
    Ok(Report {
        rate: effort.rate,
        gentle_rate: effort.gentle_rate,
        subjects,
        spans,
        connections,
    })
}

/// Measures each case once in every round. A case without instrumentation is what those with as many connections
/// are compared with.
async fn compare(
    cases: Vec<Case>,
    (rounds, duration): (u64, Duration),
    counts: &mut Counts,
) -> anyhow::Result<Vec<Cost>> {
    let mut running = Vec::new();
    for case in cases {
        let mut it = Running::start(case)?;
        it.round(duration / 4).await?;
        it.rounds.clear();
        running.push(it);
    }
    for _ in 0..rounds {
        for it in &mut running {
            it.round(duration).await?;
        }
    }
    let mut costs = Vec::new();
    for it in &running {
        let floor = running.iter().find(|other| {
            other.case.subject == Subject::None && other.case.connections == it.case.connections
        });
        costs.push(Cost::of(it, floor));
    }
    for it in running {
        if it.case.subject.exports() {
            let made = it.rounds.iter().map(|round| round.made).sum();
            let arrived = it.rounds.iter().map(|round| round.arrived).sum();
            counts.spans("spans of requests", it.case.subject, made, arrived);
        }
        it.helper.stop()?;
        it.sink.stop()?;
    }
    Ok(costs)
}

impl Running {
    fn start(case: Case) -> anyhow::Result<Self> {
        let sink = Sink::start(Behaviour::Well)?;
        let (helper, addr) = start(case.subject, case.spans, &sink.endpoint(), Some(QUEUE))?;
        Ok(Self {
            case,
            helper,
            addr,
            sink,
            rounds: Vec::new(),
        })
    }

    async fn round(&mut self, duration: Duration) -> anyhow::Result<()> {
        let Case {
            connections, rate, ..
        } = self.case;
        let (cpu, arrived) = (self.helper.process().cpu()?, self.sink.arrived()?.spans);
        let load = Load::steady(rate, connections, duration);
        let answers = load::run(self.addr, HOST, load).await?;
        let _: Answer = self.helper.ask(&Ask::Flush)?;
        let process = self.helper.process();
        let cpu = process.cpu()? - cpu;
        self.rounds.push(Round {
            cpu: cpu.as_secs_f64() * 1e6 / answers.requests as f64,
            resident_mb: process.resident_kb()? as f64 / 1e3,
            per_second: answers.per_second(),
            made: answers.requests * self.case.spans as u64,
            arrived: self.sink.arrived()?.spans - arrived,
        });
        Ok(())
    }
}

/// Starts a service that makes so many spans of each request.
pub(crate) fn start(
    subject: Subject,
    spans: usize,
    endpoint: &str,
    queue: Option<&str>,
) -> anyhow::Result<(Helper, SocketAddr)> {
    let spans = spans.to_string();
    let mut arguments = vec!["run-service", subject.name(), endpoint, &spans];
    if let Some(queue) = queue {
        arguments.extend(["--queue", queue]);
    }
    Helper::start(&arguments)
}

impl Cost {
    fn of(running: &Running, floor: Option<&Running>) -> Self {
        let Running { case, rounds, .. } = running;
        let figure = |of: fn(&Round) -> f64| Figure::of(&rounds.iter().map(of).collect::<Vec<_>>());
        let floor = floor.iter().flat_map(|floor| &floor.rounds);
        let added: Vec<_> = rounds
            .iter()
            .zip(floor)
            .map(|(it, floor)| it.cpu - floor.cpu)
            .collect();
        let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum::<u64>() as f64;
        let (made, arrived) = (sum(|round| round.made), sum(|round| round.arrived));
        Self {
            case: *case,
            cpu: figure(|round| round.cpu),
            added: Figure::of(&added),
            resident_mb: figure(|round| round.resident_mb),
            slowest: figure(|round| round.per_second).low,
            arrived: if made > 0.0 { arrived / made } else { 1.0 },
        }
    }
}
