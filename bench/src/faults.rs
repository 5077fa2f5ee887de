//! Whether a request notices that the collector is in trouble.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::count::Counts;
use crate::figure::Figure;
use crate::helper::Helper;
use crate::load::{self, Load};
use crate::pipeline::Accounts;
use crate::requests::{self, CONNECTIONS, HOST};
use crate::sink::{Behaviour, Sink};
use crate::subject::Subject;

const SPANS: usize = 3;

/// The first is what the others are compared with.
const BEHAVIOURS: [Behaviour; 5] = [
    Behaviour::Well,
    Behaviour::Refused,
    Behaviour::Blackhole,
    Behaviour::Slow,
    Behaviour::Flapping,
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u64,
    /// Of each load.
    pub(crate) duration: Duration,
    /// Requests per second.
    pub(crate) rate: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rate: u64,
    pub(crate) cases: Vec<Case>,
}

/// A collector and a subject.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) collector: Behaviour,
    /// In microseconds, from when a request was due.
    pub(crate) p50: Figure,
    pub(crate) p99: Figure,
    /// To those of the same round with a collector that is well.
    pub(crate) p50_ratio: Figure,
    pub(crate) p99_ratio: Figure,
    pub(crate) resident_mb: Figure,
    /// In the last round.
    pub(crate) accounts: Option<Accounts>,
}

struct Running {
    subject: Subject,
    collector: Behaviour,
    helper: Helper,
    addr: SocketAddr,
    sink: Sink,
    rounds: Vec<Round>,
    made: u64,
    accounts: Option<Accounts>,
}

struct Round {
    p50: f64,
    p99: f64,
    resident_mb: f64,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let mut running = Vec::new();
    for subject in Subject::ALL {
        if !matches!(subject, Subject::Stock | Subject::Ours) {
            continue;
        }
        for collector in BEHAVIOURS {
            let mut it = Running::start(subject, collector)?;
            it.round(effort.rate, effort.duration / 4).await?;
            it.rounds.clear();
            running.push(it);
        }
    }
    for _ in 0..effort.rounds {
        for it in &mut running {
            it.round(effort.rate, effort.duration).await?;
        }
    }
    let cases = running.iter().map(|it| {
        let well = running
            .iter()
            .find(|well| well.subject == it.subject && well.collector == Behaviour::Well);
        Case::of(it, well.map_or(&[], |well| &well.rounds))
    });
    let cases = cases.collect();
    for mut it in running {
        if it.collector == Behaviour::Well {
            let _: requests::Answer = it.helper.ask(&requests::Ask::Flush)?;
            counts.spans(
                "spans beside faults",
                it.subject,
                it.made,
                it.sink.arrived()?.spans,
            );
        }
        // With a collector in trouble a shutdown would wait for it, which is not measured here.
        drop(it.helper);
        it.sink.stop()?;
    }
    Ok(Report {
        rate: effort.rate,
        cases,
    })
}

impl Running {
    fn start(subject: Subject, collector: Behaviour) -> anyhow::Result<Self> {
        let sink = Sink::start(collector)?;
        let (helper, addr) = requests::start(subject, SPANS, &sink.endpoint(), None)?;
        Ok(Self {
            subject,
            collector,
            helper,
            addr,
            sink,
            rounds: Vec::new(),
            made: 0,
            accounts: None,
        })
    }

    async fn round(&mut self, rate: u64, duration: Duration) -> anyhow::Result<()> {
        let load = Load::steady(rate, CONNECTIONS, duration);
        let answers = load::run(self.addr, HOST, load).await?;
        let answer: requests::Answer = self.helper.ask(&requests::Ask::Accounts)?;
        let micros = |quantile| answers.latency.value_at_quantile(quantile) as f64 / 1e3;
        self.rounds.push(Round {
            p50: micros(0.5),
            p99: micros(0.99),
            resident_mb: self.helper.process().resident_kb()? as f64 / 1e3,
        });
        self.made += answers.requests * SPANS as u64;
        self.accounts = answer.accounts;
        Ok(())
    }
}

impl Case {
    fn of(running: &Running, well: &[Round]) -> Self {
        let rounds = &running.rounds;
        let figure = |of: fn(&Round) -> f64| Figure::of(&rounds.iter().map(of).collect::<Vec<_>>());
        let ratio = |of: fn(&Round) -> f64| {
            let ratios = rounds.iter().zip(well).map(|(it, well)| of(it) / of(well));
            Figure::of(&ratios.collect::<Vec<_>>())
        };
        Self {
            subject: running.subject,
            collector: running.collector,
            p50: figure(|round| round.p50),
            p99: figure(|round| round.p99),
            p50_ratio: ratio(|round| round.p50),
            p99_ratio: ratio(|round| round.p99),
            resident_mb: figure(|round| round.resident_mb),
            accounts: running.accounts,
        }
    }
}
