//! Whether a request notices that the collector is in trouble.
//!
//! What a machine does meanwhile makes the slowest requests of one second twice as slow as those of another. So a service whose
//! collector is in trouble and one whose collector is well take short turns, each turn is compared with the one beside it, and of
//! many such ratios the median counts. Connections stay open meanwhile, since the first request of each is among the slowest. A
//! stall too rare for all that is in the slowest of all requests.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::count::Counts;
use crate::figure::Figure;
use crate::helper::Helper;
use crate::load::{Clients, Pace};
use crate::pipeline::Accounts;
use crate::requests::{self, CONNECTIONS, HOST, Pinned};
use crate::sink::{Behaviour, Sink};
use crate::subject::Subject;

const SPANS: usize = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Of each case of ours; of stock a quarter, which is there to compare with.
    pub(crate) turns: usize,
    /// Of each turn.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: u64,
    /// Requests before the first turn, faster than in it: so many that memory for spans is used up where none are taken.
    pub(crate) before: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rate: u64,
    pub(crate) cases: Vec<Case>,
}

/// A collector and a subject. Figures are medians of turns, and between what they are with 95 % certainty.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) collector: Behaviour,
    /// In microseconds, from when a request was due.
    pub(crate) p50: Figure,
    pub(crate) p99: Figure,
    /// Of the requests of all turns together.
    pub(crate) p99_of_all: f64,
    /// To those of the turn beside it, with a collector that is well. Where this one is well too they are what two of a kind
    /// differ by.
    pub(crate) p50_ratio: Figure,
    pub(crate) p99_ratio: Figure,
    /// The most after any turn.
    pub(crate) resident_mb: f64,
    /// After the last turn.
    pub(crate) accounts: Option<Accounts>,
}

struct Running {
    subject: Subject,
    collector: Behaviour,
    helper: Helper,
    clients: Clients,
    sink: Sink,
    latency: Histogram<u64>,
    made: u64,
    resident_mb: f64,
    accounts: Option<Accounts>,
}

/// In microseconds.
#[derive(Clone, Copy)]
struct Turn {
    p50: f64,
    p99: f64,
}

/// A service whose collector may be in trouble, and one of the same subject whose collector is well. Each has one of its own to
/// be compared with, since who is asked more often answers faster.
struct Pair {
    it: Running,
    well: Running,
    turns: Vec<(Turn, Turn)>,
}

/// The services of a subject.
struct Group {
    pairs: Vec<Pair>,
    /// It takes part in each nth turn.
    each: usize,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let pinned = Pinned::beside_services()?;
    let mut groups = Vec::new();
    for (subject, each) in [(Subject::Stock, 4), (Subject::Ours, 1)] {
        groups.push(Group::start(subject, each, effort, pinned.services).await?);
    }
    for turn in 0..effort.turns {
        for group in &mut groups {
            if turn % group.each == 0 {
                group.turn(effort.turn()).await?;
            }
        }
    }
    let pairs = groups.iter().flat_map(|group| &group.pairs);
    let report = Report {
        rate: effort.rate,
        cases: pairs.map(Case::of).collect(),
    };
    for pair in groups.into_iter().flat_map(|group| group.pairs) {
        pair.it.stop(counts)?;
        pair.well.stop(counts)?;
    }
    Ok(report)
}

impl Effort {
    fn turn(self) -> Pace {
        let Self { requests, rate, .. } = self;
        Pace::Steady { requests, rate }
    }
}

impl Group {
    async fn start(
        subject: Subject,
        each: usize,
        effort: Effort,
        processor: Option<usize>,
    ) -> anyhow::Result<Self> {
        let (requests, rate) = (effort.before, 5 * effort.rate);
        let before = Pace::Steady { requests, rate };
        let start = async |collector| {
            let mut it = Running::start(subject, collector, processor).await?;
            it.ask(before).await?;
            it.latency.reset();
            anyhow::Ok(it)
        };
        let mut pairs = Vec::new();
        for collector in [Behaviour::Well].into_iter().chain(Behaviour::IN_TROUBLE) {
            pairs.push(Pair {
                it: start(collector).await?,
                well: start(Behaviour::Well).await?,
                turns: Vec::new(),
            });
        }
        Ok(Self { pairs, each })
    }

    async fn turn(&mut self, pace: Pace) -> anyhow::Result<()> {
        for Pair { it, well, turns } in &mut self.pairs {
            // Neither is always the later one.
            turns.push(if turns.len() % 2 == 0 {
                let beside = well.ask(pace).await?;
                (it.ask(pace).await?, beside)
            } else {
                (it.ask(pace).await?, well.ask(pace).await?)
            });
        }
        Ok(())
    }
}

impl Running {
    async fn start(
        subject: Subject,
        collector: Behaviour,
        processor: Option<usize>,
    ) -> anyhow::Result<Self> {
        let sink = Sink::start(collector)?;
        let endpoint = sink.endpoint();
        let (helper, addr) = requests::start_on(processor, subject, SPANS, &endpoint, None)?;
        Ok(Self {
            subject,
            collector,
            helper,
            clients: Clients::connect(addr, CONNECTIONS).await?,
            sink,
            latency: Histogram::new(3)?,
            made: 0,
            resident_mb: 0.0,
            accounts: None,
        })
    }

    async fn ask(&mut self, pace: Pace) -> anyhow::Result<Turn> {
        let answers = self.clients.ask(HOST, pace).await?;
        let answer: requests::Answer = self.helper.ask(&requests::Ask::Accounts)?;
        let resident_mb = self.helper.process().resident_kb()? as f64 / 1e3;
        self.resident_mb = self.resident_mb.max(resident_mb);
        self.made += answers.requests * SPANS as u64;
        self.accounts = answer.accounts;
        self.latency.add(&answers.latency)?;
        Ok(Turn {
            p50: micros(&answers.latency, 0.5),
            p99: micros(&answers.latency, 0.99),
        })
    }

    fn stop(mut self, counts: &mut Counts) -> anyhow::Result<()> {
        if self.collector == Behaviour::Well {
            let _: requests::Answer = self.helper.ask(&requests::Ask::Flush)?;
            let arrived = self.sink.arrived()?.spans;
            counts.spans("spans beside faults", self.subject, self.made, arrived);
        }
        // With a collector in trouble a shutdown would wait for it, which is not measured here.
        drop(self.helper);
        self.sink.stop()
    }
}

fn micros(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

impl Case {
    fn of(pair: &Pair) -> Self {
        let Pair { it, turns, .. } = pair;
        let figure = |of: fn(&(Turn, Turn)) -> f64| {
            let samples: Vec<_> = turns.iter().map(of).collect();
            Figure::of_median(&samples)
        };
        Self {
            subject: it.subject,
            collector: it.collector,
            p50: figure(|(it, _)| it.p50),
            p99: figure(|(it, _)| it.p99),
            p99_of_all: micros(&it.latency, 0.99),
            p50_ratio: figure(|(it, well)| it.p50 / well.p50),
            p99_ratio: figure(|(it, well)| it.p99 / well.p99),
            resident_mb: it.resident_mb,
            accounts: it.accounts,
        }
    }
}
