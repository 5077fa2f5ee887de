//! The chain of services, blind and traced: what its two processes use for a request.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tempfile::TempDir;
use tokio::time;

use crate::count::Counts;
use crate::figure::Figure;
use crate::load::{self, Load};
use crate::pipeline::{self, Accounts, Pipeline};
use crate::process::Process;
use crate::requests::CONNECTIONS;
use crate::sink::{Behaviour, Sink};
use crate::subject::Subject;

const HOST: &str = "uservice.localhost";

/// Spans of a request in both services.
const SPANS: u64 = 5;

/// How often batches leave, as in the lab, and how long after a load all of them have left.
const SCHEDULE_DELAY_MS: &str = "200";
const SETTLE: Duration = Duration::from_millis(600);

/// How long a service may take to say what it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// What a service says once it exports through the pipeline that was put under it.
const INSTALLED: &str = "exporting through another pipeline";

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
    pub(crate) chains: Vec<Chain>,
}

/// Of both processes together.
#[derive(Debug, Serialize)]
pub(crate) struct Chain {
    pub(crate) services: &'static str,
    pub(crate) subject: Subject,
    /// In microseconds, per request.
    pub(crate) cpu: Figure,
    /// In microseconds, by how much more than the blind chain in the same round.
    pub(crate) added: Figure,
    pub(crate) resident_mb: Figure,
    pub(crate) spans_per_request: f64,
}

/// A service by its name, which is also what it is started as.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Name {
    Uservice1,
    Uservice2,
    Uservice3,
    Uservice4,
}

struct Running {
    services: &'static str,
    subject: Subject,
    /// The one that is called, and the one that it calls.
    processes: [Process; 2],
    logs: [PathBuf; 2],
    addr: SocketAddr,
    sink: Sink,
    requests: u64,
    rounds: Vec<Round>,
}

struct Round {
    cpu: f64,
    resident_mb: f64,
}

pub(crate) async fn measure(effort: Effort, counts: &mut Counts) -> anyhow::Result<Report> {
    let dir = TempDir::new()?;
    let mut chains = Vec::new();
    for subject in [Subject::None, Subject::Stock, Subject::Ours] {
        if !Subject::ALL.contains(&subject) {
            continue;
        }
        let mut chain = Running::start(subject, dir.path()).await?;
        chain.round(effort.rate, effort.duration / 4).await?;
        chain.rounds.clear();
        chains.push(chain);
    }
    for _ in 0..effort.rounds {
        for chain in &mut chains {
            chain.round(effort.rate, effort.duration).await?;
        }
    }
    let blind = chains.iter().find(|chain| chain.subject == Subject::None);
    let blind: Vec<_> = blind
        .iter()
        .flat_map(|it| &it.rounds)
        .map(|it| it.cpu)
        .collect();
    let mut report = Vec::new();
    for mut chain in chains {
        let figure =
            |of: fn(&Round) -> f64| Figure::of(&chain.rounds.iter().map(of).collect::<Vec<_>>());
        let added = chain
            .rounds
            .iter()
            .zip(&blind)
            .map(|(it, blind)| it.cpu - blind);
        let mut of_chain = Chain {
            services: chain.services,
            subject: chain.subject,
            cpu: figure(|round| round.cpu),
            added: Figure::of(&added.collect::<Vec<_>>()),
            resident_mb: figure(|round| round.resident_mb),
            spans_per_request: 0.0,
        };
        chain.processes.into_iter().try_for_each(Process::stop)?;
        let arrived = chain.sink.arrived()?.spans;
        chain.sink.stop()?;
        of_chain.spans_per_request = arrived as f64 / chain.requests as f64;
        if chain.subject != Subject::None {
            counts.spans(
                "spans of the chain",
                chain.subject,
                chain.requests * SPANS,
                arrived,
            );
        }
        if chain.subject == Subject::Ours {
            let accounts = chain.logs.iter().map(|log| last_accounts(log));
            let accounts: Vec<_> = accounts.collect::<anyhow::Result<_>>()?;
            let exported = accounts.iter().map(|it| it.exported).sum();
            counts.spans(
                "spans of the chain by the accounts",
                chain.subject,
                exported,
                arrived,
            );
        }
        report.push(of_chain);
    }
    Ok(Report {
        rate: effort.rate,
        chains: report,
    })
}

impl Running {
    async fn start(subject: Subject, dir: &Path) -> anyhow::Result<Self> {
        let sink = Sink::start(Behaviour::Well)?;
        let endpoint = sink.endpoint();
        let (services, [front, back]) = match subject {
            Subject::None => ("uservice1 and 2", ["uservice1", "uservice2"]),
            _ => ("uservice3 and 4", ["uservice3", "uservice4"]),
        };
        let start = async |name: &str, peer: Option<SocketAddr>| {
            let log = dir.join(format!("{name}-{subject}.log"));
            let mut command = Command::new(env::current_exe()?);
            command.args(["run-uservice", name]).env_clear();
            command
                .env("LISTEN_ADDR", "127.0.0.1:0")
                .env("REDIS_LATENCY_MS", "0-0")
                .env("DATABASE_LATENCY_MS", "0-0")
                .env("OTEL_PROPAGATORS", "tracecontext")
                .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint)
                .env("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_DELAY_MS);
            if let Some(peer) = peer {
                command.env("PEER_URL", format!("http://{peer}"));
            }
            if subject == Subject::Ours {
                command.arg(&endpoint).env("OTEL_TRACES_EXPORTER", "none");
            }
            command.stdin(Stdio::piped()).stdout(File::create(&log)?);
            let mut process = Process::start(&mut command)?;
            let addr: SocketAddr = said(&log, "listening on ").await?.parse()?;
            if subject == Subject::Ours {
                // It has installed its own provider before it listens: now ours can take its place.
                let stdin = process.stdin().context("started with a pipe")?;
                drop(stdin);
                said(&log, INSTALLED).await?;
            }
            anyhow::Ok((process, log, addr))
        };
        let (back, back_log, peer) = start(back, None).await?;
        let (front, front_log, addr) = start(front, Some(peer)).await?;
        Ok(Self {
            services,
            subject,
            processes: [front, back],
            logs: [front_log, back_log],
            addr,
            sink,
            requests: 0,
            rounds: Vec::new(),
        })
    }

    async fn round(&mut self, rate: u64, duration: Duration) -> anyhow::Result<()> {
        let before = self.cpu()?;
        let answers = load::run(self.addr, HOST, Load::steady(rate, CONNECTIONS, duration)).await?;
        time::sleep(SETTLE).await;
        let cpu = self.cpu()? - before;
        let resident: u64 = self
            .processes
            .iter()
            .map(Process::resident_kb)
            .sum::<anyhow::Result<_>>()?;
        self.requests += answers.requests;
        self.rounds.push(Round {
            cpu: cpu.as_secs_f64() * 1e6 / answers.requests as f64,
            resident_mb: resident as f64 / 1e3,
        });
        Ok(())
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        self.processes.iter().map(Process::cpu).sum()
    }
}

/// Waits for a line that begins so, and returns the rest of it.
pub(crate) async fn said(log: &Path, beginning: &str) -> anyhow::Result<String> {
    let waiting = async {
        loop {
            let text = fs::read_to_string(log)?;
            // The last line may be half written.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(rest) = whole.lines().find_map(|line| line.strip_prefix(beginning)) {
                return anyhow::Ok(rest.to_owned());
            }
            time::sleep(POLL).await;
        }
    };
    let waited = time::timeout(PATIENCE, waiting).await;
    waited.with_context(|| format!("{} does not say `{beginning}`", log.display()))?
}

const ACCOUNTS: &str = "accounts: ";

fn last_accounts(log: &Path) -> anyhow::Result<Accounts> {
    let file = io::BufReader::new(File::open(log)?);
    for line in file.lines() {
        if let Some(accounts) = line?.strip_prefix(ACCOUNTS) {
            return Ok(serde_json::from_str(accounts)?);
        }
    }
    bail!("{} has no accounts", log.display())
}

/// The process of a service. With an endpoint, our pipeline takes the place of its own once standard input ends.
pub(crate) fn run(name: Name, endpoint: Option<String>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let installing = endpoint.map(|endpoint| {
        let handle = runtime.handle().clone();
        thread::spawn(move || -> anyhow::Result<Pipeline> {
            io::copy(&mut io::stdin(), &mut io::sink())?;
            let _guard = handle.enter();
            let pipeline = Pipeline::install(pipeline::Options {
                subject: Subject::Ours,
                endpoint,
                queue: None,
            })?;
            writeln!(io::stdout(), "{INSTALLED}")?;
            Ok(pipeline)
        })
    });
    let code = runtime.block_on(async {
        match name {
            Name::Uservice1 => uservice1::run().await,
            Name::Uservice2 => uservice2::run().await,
            Name::Uservice3 => uservice3::run().await,
            Name::Uservice4 => uservice4::run().await,
        }
    });
    if let Some(installing) = installing {
        let installed = installing.join().ok().context("the pipeline panicked")?;
        let pipeline = installed?;
        pipeline.shutdown()?;
        if let Some(accounts) = pipeline.accounts() {
            writeln!(
                io::stdout(),
                "{ACCOUNTS}{}",
                serde_json::to_string(&accounts)?
            )?;
        }
    }
    Ok(code)
}
