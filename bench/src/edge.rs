//! What a request costs at the edge: CPU time and memory of the proxy's process alone, not of what is around it.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::time;

use crate::load::{self, Load};
use crate::process::{Process, is_file, on_path};
use crate::sink::Sink;

const HOST: &str = "bench.localhost";

const BARE: &str = "bare hyper";
const EDGE: &str = "edge";
const TRAEFIK: &str = "traefik";

/// Both proxies export every 200 ms, as in the lab; after this long every span of a round has arrived.
const SCHEDULE_DELAY_MS: &str = "200";
const SETTLE: Duration = Duration::from_millis(600);

/// How long a proxy may take until it answers.
const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The Traefik to compare with; else the one on PATH or in target/tools.
    #[arg(long, value_name = "PATH")]
    traefik: Option<PathBuf>,
    /// Requests per proxy and round.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    requests: u64,
    /// Rounds; every proxy is measured once in each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// Connections that stay open.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    connections: u64,
    /// Requests per second: so many that each proxy keeps up, and none drops spans.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rate: u64,
}

/// A running proxy, and what was measured of it.
struct Subject {
    name: &'static str,
    process: Process,
    addr: SocketAddr,
    cpu_micros: Vec<f64>,
    spans: Vec<f64>,
    resident_kb: u64,
}

/// Where the proxies find everything else.
struct Surroundings {
    upstream: SocketAddr,
    sink: SocketAddr,
    dir: TempDir,
}

pub(crate) async fn measure(options: &Options) -> anyhow::Result<()> {
    let (sink, sink_addr) = Sink::start().await?;
    let around = Surroundings {
        upstream: load::hello().await?,
        sink: sink_addr,
        dir: TempDir::new()?,
    };
    let mut subjects = vec![start_bare(&around).await?, start_edge(&around).await?];
    match find_traefik(options.traefik.as_deref())? {
        Some(path) => subjects.push(start_traefik(&around, &path).await?),
        None => writeln!(
            io::stdout(),
            "no traefik on PATH or in target/tools (see --traefik): measuring without it"
        )?,
    }
    for subject in &subjects {
        let warm_up = Load {
            requests: options.requests / 4,
            ..options.load()
        };
        load::run(subject.addr, HOST, warm_up).await?;
    }
    for _ in 0..options.rounds {
        for subject in &mut subjects {
            round(subject, &sink, options)
                .await
                .with_context(|| subject.name)?;
        }
    }
    report(&mut subjects, options)?;
    subjects.into_iter().try_for_each(|it| it.process.stop())
}

async fn round(subject: &mut Subject, sink: &Sink, options: &Options) -> anyhow::Result<()> {
    time::sleep(SETTLE).await;
    let (cpu, spans) = (subject.process.cpu()?, sink.spans());
    load::run(subject.addr, HOST, options.load()).await?;
    time::sleep(SETTLE).await;
    let cpu = subject.process.cpu()? - cpu;
    let requests = (options.requests / options.connections * options.connections) as f64;
    subject.cpu_micros.push(cpu.as_secs_f64() * 1e6 / requests);
    subject.spans.push((sink.spans() - spans) as f64 / requests);
    subject.resident_kb = subject.resident_kb.max(subject.process.resident_kb()?);
    Ok(())
}

fn report(subjects: &mut [Subject], options: &Options) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "median of {} rounds of {} requests over {} connections, {} per second\n\n\
         {:<12} {:>15} {:>12} {:>14}",
        options.rounds,
        options.requests,
        options.connections,
        options.rate,
        "",
        "CPU µs/request",
        "resident MB",
        "spans/request",
    )?;
    for subject in &mut *subjects {
        writeln!(
            out,
            "{:<12} {:>15.1} {:>12.1} {:>14.2}",
            subject.name,
            median(&mut subject.cpu_micros),
            subject.resident_kb as f64 / 1e3,
            median(&mut subject.spans),
        )?;
    }
    for subject in subjects.iter_mut().filter(|subject| subject.name != BARE) {
        if median(&mut subject.spans) < 1.99 {
            writeln!(out, "{} lost spans: its numbers flatter it", subject.name)?;
        }
    }
    let cpu: Vec<(&str, f64)> = subjects
        .iter_mut()
        .map(|subject| (subject.name, median(&mut subject.cpu_micros)))
        .collect();
    for (_, edge) in cpu.iter().filter(|(name, _)| *name == EDGE) {
        for (other, cpu) in cpu.iter().filter(|(name, _)| *name != EDGE) {
            writeln!(out, "{EDGE} / {other}: {:.2}", edge / cpu)?;
        }
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn start_bare(around: &Surroundings) -> anyhow::Result<Subject> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("run-bare")
        .env_clear()
        .env("UPSTREAM", format!("http://{}", around.upstream));
    start_ours(BARE, command, around).await
}

async fn start_edge(around: &Surroundings) -> anyhow::Result<Subject> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("run-edge")
        .env_clear()
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("ROUTES", format!("{HOST}=http://{}", around.upstream))
        .env(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            format!("http://{}", around.sink),
        )
        .env("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_DELAY_MS);
    start_ours(EDGE, command, around).await
}

/// Starts one of our own proxies, whose log begins with the address it got.
async fn start_ours(
    name: &'static str,
    mut command: Command,
    around: &Surroundings,
) -> anyhow::Result<Subject> {
    let log = around.dir.path().join(format!("{name}.log"));
    let process = Process::start(command.stdout(File::create(&log)?))?;
    let listening = async {
        loop {
            let text = fs::read_to_string(&log)?;
            let line = text.split_once('\n').map(|(line, _)| line);
            if let Some(addr) = line.and_then(|line| line.strip_prefix("listening on ")) {
                return anyhow::Ok(addr.parse()?);
            }
            time::sleep(POLL).await;
        }
    };
    let addr = time::timeout(START, listening)
        .await
        .with_context(|| format!("{name} does not listen"))??;
    Ok(Subject::new(name, process, addr))
}

/// Starts Traefik with what our edge does: every request traced over OTLP/gRPC and logged as JSON to a file.
async fn start_traefik(around: &Surroundings, path: &Path) -> anyhow::Result<Subject> {
    let dir = around.dir.path();
    let dynamic = dir.join("dynamic.yaml");
    let upstream = around.upstream;
    fs::write(
        &dynamic,
        format!(
            "http:\n\
             \x20 routers:\n\
             \x20   bench: {{ rule: \"Host(`{HOST}`)\", service: bench }}\n\
             \x20 services:\n\
             \x20   bench: {{ loadBalancer: {{ servers: [ {{ url: \"http://{upstream}\" }} ] }} }}\n"
        ),
    )?;
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(path);
    command
        .args([
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            "--accesslog.format=json",
            "--tracing.otlp.grpc.insecure=true",
        ])
        .arg(format!("--entrypoints.web.address={addr}"))
        .arg(format!(
            "--accesslog.filepath={}",
            dir.join("traefik.log").display()
        ))
        .arg(format!("--tracing.otlp.grpc.endpoint={}", around.sink))
        .arg(format!("--providers.file.filename={}", dynamic.display()))
        .arg("--providers.file.watch=false")
        .env_clear()
        .env("OTEL_PROPAGATORS", "jaeger")
        .env("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_DELAY_MS)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::start(&mut command)?;
    let answering = async {
        let once = Load {
            requests: 1,
            connections: 1,
            rate: 100,
        };
        while load::run(addr, HOST, once).await.is_err() {
            time::sleep(POLL).await;
        }
    };
    time::timeout(START, answering)
        .await
        .context("traefik does not answer")?;
    Ok(Subject::new(TRAEFIK, process, addr))
}

/// The Traefik to measure, if there is one.
fn find_traefik(wanted: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = wanted {
        if !is_file(path) {
            bail!("--traefik: {} is not a file", path.display());
        }
        return Ok(Some(path.to_owned()));
    }
    // This program is in target/release.
    let exe = env::current_exe()?;
    let target = exe.ancestors().nth(2);
    let tool = target.map(|target| target.join("tools/traefik"));
    Ok(on_path("traefik").or(tool.filter(|tool| is_file(tool))))
}

impl Options {
    fn load(&self) -> Load {
        Load {
            requests: self.requests,
            connections: self.connections,
            rate: self.rate,
        }
    }
}

impl Subject {
    fn new(name: &'static str, process: Process, addr: SocketAddr) -> Self {
        Self {
            name,
            process,
            addr,
            cpu_micros: Vec::new(),
            spans: Vec::new(),
            resident_kb: 0,
        }
    }
}
