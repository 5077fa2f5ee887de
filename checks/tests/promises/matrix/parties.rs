//! Who hands trace headers on: edges that speak a format and edges that do not, services, and at the end of each
//! path a peer that writes down what arrives.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use telemetry::http::{ClientLayer, ServerLayer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};

use crate::lab::{LAB, Process};
use crate::traefik::Traefik;

/// The end of every path.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    last: Arc<Mutex<Option<HeaderMap>>>,
}

impl Peer {
    pub(crate) async fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let last = Arc::<Mutex<Option<HeaderMap>>>::default();
        let peer = Peer {
            addr,
            last: Arc::clone(&last),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let last = Arc::clone(&last);
                let note = service_fn(move |req: Request<Incoming>| {
                    *last.lock().unwrap() = Some(req.headers().clone());
                    async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
                });
                let note = TowerToHyperService::new(note);
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), note);
                tokio::spawn(serving);
            }
        });
        peer
    }

    /// The headers of the last request that arrived, once.
    pub(crate) fn arrived(&self) -> HeaderMap {
        let last = self.last.lock().unwrap().take();
        last.expect("a request has arrived")
    }
}

/// Something that listens, as long as this is kept.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) name: &'static str,
    pub(crate) addr: SocketAddr,
    _process: Option<Process>,
    /// With the file of its routes.
    _traefik: Option<(Traefik, TempDir)>,
}

impl Party {
    /// uservice3, which uses the raw API, with this peer. It knows no B3: `None` where that is all.
    pub(crate) async fn uservice3(propagators: &str, peer: SocketAddr) -> Option<Party> {
        let known = propagators
            .split(',')
            .filter(|name| !name.starts_with("b3"));
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            return None;
        }
        let mut command = part("uservice3");
        command
            .env("OTEL_TRACES_EXPORTER", "none")
            .env("OTEL_PROPAGATORS", known.join(","))
            .env("REDIS_LATENCY_MS", "0-0")
            .env("PEER_URL", format!("http://{peer}/"));
        Some(Party::listening("uservice3", command).await)
    }

    /// A service with the layers of `crates/telemetry` and the same peer.
    pub(crate) async fn telemetry(propagators: &str, peer: SocketAddr) -> Party {
        let config = telemetry::Config::parse(|name| match name {
            "OTEL_PROPAGATORS" => Some(propagators.to_owned()),
            "OTEL_TRACES_EXPORTER" => Some("none".to_owned()),
            _ => None,
        });
        assert!(config.problems().is_empty(), "{:?}", config.problems());
        let telemetry = telemetry::builder("telemetry", "").config(config);
        let telemetry = telemetry.build().unwrap();
        let tracer = telemetry.tracer("checks");
        let server = ServerLayer::new(tracer.clone()).propagator(telemetry.propagator());
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let client = ClientLayer::new(tracer)
            .propagator(telemetry.propagator())
            .layer(client);
        let url: Uri = format!("http://{peer}/").parse().unwrap();
        let answer = server.layer(service_fn(move |_: Request<Incoming>| {
            let asked = Request::get(&url).body(Empty::new()).unwrap();
            let asked = client.clone().oneshot(asked);
            async { Ok::<_, legacy::Error>(Response::new(asked.await?.into_body())) }
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            // Ends with the test's runtime, and only then may telemetry.
            let _telemetry = telemetry;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = TowerToHyperService::new(answer.clone());
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        Party {
            name: "telemetry",
            addr,
            _process: None,
            _traefik: None,
        }
    }

    /// Our edge in front of these, by host names.
    pub(crate) async fn edge(propagators: &str, routes: &[(&str, SocketAddr)]) -> Party {
        let routes: Vec<_> = routes
            .iter()
            .map(|(host, addr)| format!("{host}=http://{addr}"))
            .collect();
        let mut command = part("edge");
        command
            .env("OTEL_TRACES_EXPORTER", "none")
            .env("OTEL_PROPAGATORS", propagators)
            .env("ROUTES", routes.join(","));
        Party::listening("edge", command).await
    }

    async fn listening(name: &'static str, mut command: Command) -> Party {
        let process = Process::start(command.env("LISTEN_ADDR", "127.0.0.1:0"));
        let line = process.says("listening on ").await;
        let addr = line.trim().trim_start_matches("listening on ");
        Party {
            name,
            addr: addr.parse().unwrap(),
            _process: Some(process),
            _traefik: None,
        }
    }

    /// A real Traefik in front of these, which traces unless it is to speak no format. `None` where there is none.
    pub(crate) async fn traefik(
        propagators: Option<&str>,
        routes: &[(&str, SocketAddr)],
    ) -> Option<Party> {
        let folder = tempfile::tempdir().unwrap();
        let dynamic = folder.path().join("dynamic.yaml");
        write_routes(&dynamic, routes);
        let mut flags = vec![
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            "--log.level=ERROR".to_owned(),
            format!("--providers.file.filename={}", dynamic.display()),
            "--providers.file.watch=false".to_owned(),
        ];
        let mut variables = Vec::new();
        if let Some(propagators) = propagators {
            // Nobody listens there: what it hands on does not depend on that.
            flags.extend(
                [
                    "--tracing.otlp.grpc=true",
                    "--tracing.otlp.grpc.insecure=true",
                    "--tracing.otlp.grpc.endpoint=127.0.0.1:1",
                ]
                .map(str::to_owned),
            );
            variables.push(("OTEL_PROPAGATORS", propagators.to_owned()));
        }
        let traefik = Traefik::start(flags, &variables, routes[0].0).await?;
        Some(Party {
            name: "Traefik",
            addr: traefik.web,
            _process: None,
            _traefik: Some((traefik, folder)),
        })
    }
}

/// A part of the lab, with nothing of OpenTelemetry in its environment.
fn part(name: &str) -> Command {
    let mut command = Command::new(LAB);
    command.arg(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL") {
            command.env_remove(name);
        }
    }
    command
}

fn write_routes(file: &Path, routes: &[(&str, SocketAddr)]) {
    let routers = routes.iter().map(|(host, _)| {
        let name = host.replace('.', "-");
        format!("    {name}: {{ rule: \"Host(`{host}`)\", service: {name} }}\n")
    });
    let services = routes.iter().map(|(host, addr)| {
        let name = host.replace('.', "-");
        format!("    {name}: {{ loadBalancer: {{ servers: [ {{ url: \"http://{addr}\" }} ] }} }}\n")
    });
    let (routers, services): (String, String) = (routers.collect(), services.collect());
    let yaml = format!("http:\n  routers:\n{routers}  services:\n{services}");
    fs::write(file, yaml).unwrap();
}
