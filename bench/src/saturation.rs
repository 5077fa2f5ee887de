//! What is lost when more spans are made than can be exported, and how much memory that takes.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::count::Counts;
use crate::figure::Figure;
use crate::helper::Helper;
use crate::load::{self, Load, Pace};
use crate::pipeline::Accounts;
use crate::requests::{self, HOST};
use crate::sink::{Behaviour, Sink};
use crate::spans;
use crate::subject::Subject;

/// Spans per second that are offered.
const OFFERED: [u64; 6] = [100_000, 150_000, 200_000, 300_000, 400_000, 600_000];

/// Of the service that is asked as fast as it answers.
const CONNECTIONS: u64 = 64;
const SPANS: usize = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u64,
    /// Of each load.
    pub(crate) duration: Duration,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Spans with seven attributes, made at a pace by one thread.
    pub(crate) offered: Vec<Offered>,
    /// Three spans per request, as many requests as are answered.
    pub(crate) service: Vec<Service>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Offered {
    pub(crate) subject: Subject,
    /// That many were wanted each second.
    pub(crate) per_second: u64,
    /// That many were made.
    pub(crate) made_per_second: Figure,
    pub(crate) lost: Lost,
}

#[derive(Debug, Serialize)]
pub(crate) struct Service {
    pub(crate) subject: Subject,
    /// Requests.
    pub(crate) per_second: Figure,
    pub(crate) lost: Lost,
}

/// Of several rounds, each in a process of its own with its own defaults.
#[derive(Debug, Serialize)]
pub(crate) struct Lost {
    pub(crate) made: u64,
    pub(crate) arrived: u64,
    /// Of 100 spans that were made.
    pub(crate) percent: Figure,
    /// Resident memory, at its highest.
    pub(crate) peak_mb: Figure,
    /// What the pipeline says of all rounds together, where it counts.
    pub(crate) accounts: Option<Accounts>,
}

/// What one round leaves.
struct Round {
    per_second: f64,
    made: u64,
    arrived: u64,
    peak_mb: f64,
    accounts: Option<Accounts>,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let subjects: Vec<_> = Subject::ALL
        .into_iter()
        .filter(|subject| matches!(subject, Subject::Stock | Subject::Ours))
        .collect();
    let cases: Vec<_> = OFFERED
        .into_iter()
        .flat_map(|per_second| subjects.iter().map(move |&subject| (subject, per_second)))
        .collect();
    let mut offered: Vec<Vec<Round>> = cases.iter().map(|_| Vec::new()).collect();
    let mut service: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.rounds {
        for ((subject, per_second), rounds) in cases.iter().zip(&mut offered) {
            rounds.push(offer(*subject, *per_second, effort.duration)?);
        }
        for (subject, rounds) in subjects.iter().zip(&mut service) {
            rounds.push(serve(*subject, effort.duration).await?);
        }
    }
    let figure = |rounds: &[Round]| {
        Figure::of(
            &rounds
                .iter()
                .map(|round| round.per_second)
                .collect::<Vec<_>>(),
        )
    };
    let offered = cases
        .into_iter()
        .zip(offered)
        .map(|((subject, per_second), rounds)| Offered {
            subject,
            per_second,
            made_per_second: figure(&rounds),
            lost: Lost::of(&rounds),
        });
    let service = subjects
        .into_iter()
        .zip(service)
        .map(|(subject, rounds)| Service {
            subject,
            per_second: figure(&rounds),
            lost: Lost::of(&rounds),
        });
    let report = Report {
        offered: offered.collect(),
        service: service.collect(),
    };
    for (what, subject, lost) in report.losses() {
        if let Some(accounts) = lost.accounts {
            let told = accounts.exported + accounts.dropped;
            counts.spans(what, subject, lost.made, told);
            counts.spans(
                "spans exported by the accounts",
                subject,
                accounts.exported,
                lost.arrived,
            );
        }
    }
    Ok(report)
}

impl Report {
    fn losses(&self) -> impl Iterator<Item = (&'static str, Subject, &Lost)> {
        let offered = self.offered.iter();
        let offered = offered.map(|it| {
            (
                "spans in the accounts of a paced load",
                it.subject,
                &it.lost,
            )
        });
        let service = self.service.iter();
        offered
            .chain(service.map(|it| ("spans in the accounts of a full load", it.subject, &it.lost)))
    }
}

fn offer(subject: Subject, per_second: u64, duration: Duration) -> anyhow::Result<Round> {
    let mut sink = Sink::start(Behaviour::Well)?;
    let (mut helper, ()) = Helper::start(&["run-spans", subject.name(), &sink.endpoint()])?;
    let answer = helper.ask(&spans::Ask::Pace(spans::Pace {
        per_second,
        duration,
    }))?;
    let spans::Answer::Pace(paced) = answer else {
        bail!("{answer:?} is no answer to a pace");
    };
    let answer = helper.ask(&spans::Ask::Shutdown)?;
    let spans::Answer::Shutdown(ended) = answer else {
        bail!("{answer:?} is no answer to a shutdown");
    };
    let round = Round {
        per_second: paced.made as f64 / paced.took.as_secs_f64(),
        made: paced.made,
        arrived: sink.arrived()?.spans,
        peak_mb: helper.process().peak_kb()? as f64 / 1e3,
        accounts: ended.accounts,
    };
    helper.stop()?;
    sink.stop()?;
    Ok(round)
}

async fn serve(subject: Subject, duration: Duration) -> anyhow::Result<Round> {
    let mut sink = Sink::start(Behaviour::Well)?;
    let (mut helper, addr) = requests::start(subject, SPANS, &sink.endpoint(), None)?;
    let load = Load {
        connections: CONNECTIONS,
        pace: Pace::Closed(duration),
    };
    let answers = load::run(addr, HOST, load).await?;
    let ended: requests::Answer = helper.ask(&requests::Ask::Shutdown)?;
    let round = Round {
        per_second: answers.per_second(),
        made: answers.requests * SPANS as u64,
        arrived: sink.arrived()?.spans,
        peak_mb: helper.process().peak_kb()? as f64 / 1e3,
        accounts: ended.accounts,
    };
    helper.stop()?;
    sink.stop()?;
    Ok(round)
}

impl Lost {
    fn of(rounds: &[Round]) -> Self {
        let percent: Vec<_> = rounds.iter().map(Round::lost_percent).collect();
        let peak: Vec<_> = rounds.iter().map(|round| round.peak_mb).collect();
        let accounts = rounds.iter().map(|round| round.accounts);
        Self {
            made: rounds.iter().map(|round| round.made).sum(),
            arrived: rounds.iter().map(|round| round.arrived).sum(),
            percent: Figure::of(&percent),
            peak_mb: Figure::of(&peak),
            accounts: accounts.reduce(|a, b| Some(a? + b?)).flatten(),
        }
    }
}

impl Round {
    fn lost_percent(&self) -> f64 {
        let lost = self.made.saturating_sub(self.arrived);
        100.0 * lost as f64 / self.made.max(1) as f64
    }
}
