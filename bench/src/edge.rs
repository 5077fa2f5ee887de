//! What a request costs at the edge: CPU time and memory of the proxy's process alone, not of what is around it.

use std::env;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tempfile::TempDir;
use tokio::time;

use crate::chain::said;
use crate::count::Counts;
use crate::figure::Figure;
use crate::load::{self, Load};
use crate::process::{Process, is_file, on_path};
use crate::requests::CONNECTIONS;
use crate::sink::{Behaviour, Sink};

const HOST: &str = "bench.localhost";

const BARE: &str = "bare hyper";
pub(crate) const EDGE: &str = "edge";
pub(crate) const TRAEFIK: &str = "traefik";

/// Both proxies export every 200 ms, as in the lab; after this long every span of a round has arrived.
const SCHEDULE_DELAY_MS: &str = "200";
const SETTLE: Duration = Duration::from_millis(600);

/// How long a proxy may take until it answers.
const START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u64,
    /// Of each load.
    pub(crate) duration: Duration,
    /// Requests per second: so many that each proxy keeps up, and none drops spans.
    pub(crate) rate: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rate: u64,
    pub(crate) proxies: Vec<Proxy>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    /// In microseconds, per request.
    pub(crate) cpu: Figure,
    /// Of the edge's to this one's in the same round.
    pub(crate) edge_to_this: Figure,
    pub(crate) resident_mb: Figure,
    pub(crate) spans_per_request: f64,
}

/// A running proxy, and what was measured of it.
struct Running {
    name: &'static str,
    process: Process,
    addr: SocketAddr,
    cpu_micros: Vec<f64>,
    resident_mb: Vec<f64>,
    requests: u64,
    spans: u64,
}

/// Where the proxies find everything else.
struct Surroundings {
    upstream: SocketAddr,
    sink: SocketAddr,
    dir: TempDir,
}

/// Measures the edge, a bare proxy, and Traefik where there is one.
pub(crate) async fn measure(
    effort: Effort,
    traefik: Option<&Path>,
    counts: &mut Counts,
) -> anyhow::Result<Report> {
    let mut sink = Sink::start(Behaviour::Well)?;
    let around = Surroundings {
        upstream: load::hello().await?,
        sink: sink.addr,
        dir: TempDir::new()?,
    };
    let mut proxies = vec![start_bare(&around).await?, start_edge(&around).await?];
    if let Some(path) = find_traefik(traefik)? {
        proxies.push(start_traefik(&around, &path).await?);
    }
    for proxy in &proxies {
        let load = Load::steady(effort.rate, CONNECTIONS, effort.duration / 4);
        load::run(proxy.addr, HOST, load).await?;
    }
    for _ in 0..effort.rounds {
        for proxy in &mut proxies {
            round(proxy, &mut sink, effort).await.context(proxy.name)?;
        }
    }
    let edge = proxies.iter().find(|proxy| proxy.name == EDGE);
    let edge = edge.map_or(Vec::new(), |edge| edge.cpu_micros.clone());
    let report = proxies.iter().map(|proxy| {
        let ratios = edge.iter().zip(&proxy.cpu_micros);
        let ratios: Vec<_> = ratios.map(|(edge, this)| edge / this).collect();
        Proxy {
            name: proxy.name,
            cpu: Figure::of(&proxy.cpu_micros),
            edge_to_this: Figure::of(&ratios),
            resident_mb: Figure::of(&proxy.resident_mb),
            spans_per_request: proxy.spans as f64 / proxy.requests as f64,
        }
    });
    let report = report.collect();
    for proxy in proxies {
        if proxy.name == EDGE {
            counts.promised("spans of the edge", EDGE, 2 * proxy.requests, proxy.spans);
        }
        proxy.process.stop()?;
    }
    sink.stop()?;
    Ok(Report {
        rate: effort.rate,
        proxies: report,
    })
}

async fn round(proxy: &mut Running, sink: &mut Sink, effort: Effort) -> anyhow::Result<()> {
    time::sleep(SETTLE).await;
    let (cpu, spans) = (proxy.process.cpu()?, sink.arrived()?.spans);
    let load = Load::steady(effort.rate, CONNECTIONS, effort.duration);
    let answers = load::run(proxy.addr, HOST, load).await?;
    time::sleep(SETTLE).await;
    let cpu = proxy.process.cpu()? - cpu;
    let per_request = cpu.as_secs_f64() * 1e6 / answers.requests as f64;
    proxy.cpu_micros.push(per_request);
    proxy
        .resident_mb
        .push(proxy.process.resident_kb()? as f64 / 1e3);
    proxy.requests += answers.requests;
    proxy.spans += sink.arrived()?.spans - spans;
    Ok(())
}

async fn start_bare(around: &Surroundings) -> anyhow::Result<Running> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg("run-bare")
        .env_clear()
        .env("UPSTREAM", format!("http://{}", around.upstream));
    start_ours(BARE, command, around).await
}

async fn start_edge(around: &Surroundings) -> anyhow::Result<Running> {
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
) -> anyhow::Result<Running> {
    let log = around.dir.path().join(format!("{name}.log"));
    let process = Process::start(command.stdout(File::create(&log)?))?;
    let addr = said(&log, "listening on ").await?.parse()?;
    Ok(Running::new(name, process, addr))
}

/// Starts Traefik with what our edge does: every request traced over OTLP/gRPC and logged as JSON to a file.
async fn start_traefik(around: &Surroundings, path: &Path) -> anyhow::Result<Running> {
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
        while load::run(addr, HOST, Load::once()).await.is_err() {
            time::sleep(POLL).await;
        }
    };
    time::timeout(START, answering)
        .await
        .context("traefik does not answer")?;
    Ok(Running::new(TRAEFIK, process, addr))
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

impl Running {
    fn new(name: &'static str, process: Process, addr: SocketAddr) -> Self {
        Self {
            name,
            process,
            addr,
            cpu_micros: Vec::new(),
            resident_mb: Vec::new(),
            requests: 0,
            spans: 0,
        }
    }
}
