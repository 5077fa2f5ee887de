//! Answers every request with a page, after a Redis command (mocked) and a call to a peer service.

pub mod telemetry;

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::{env, process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, server::conn::http1, service::service_fn};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use opentelemetry::trace::{FutureExt, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::{task::JoinSet, time};

const NAME: &str = env!("CARGO_PKG_NAME");
const PAGE: &str = include_str!("../hello-world.html");

/// How long the peer may take for its whole answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection to the peer is kept: less than the peer does, lest it closes it under a request.
const PEER_IDLE: Duration = Duration::from_secs(5);

/// How much of a peer's body is read, in bytes.
const PEER_BODY_MAX: usize = 1 << 20;

/// How long open requests get to finish after a signal to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs the service until SIGTERM or Ctrl-C; called as `… healthcheck`, asks the one that runs how it is.
///
/// Exit code 0 stands for success, 1 for a failure, 2 for a bad environment.
pub async fn run() -> ExitCode {
    let config = match Config::parse(|name| Some(env::var_os(name)?.to_string_lossy().into())) {
        Ok(config) => config,
        Err(problems) => {
            complain(format_args!("bad environment: {problems}"));
            return ExitCode::from(2);
        }
    };
    let outcome = match env::args_os().next_back() {
        Some(last) if last == "healthcheck" => healthcheck(config.listen_addr).await,
        _ => start(config).await,
    };
    if let Err(err) = outcome {
        complain(format_args!("{err:#}"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[derive(Debug)]
struct Config {
    listen_addr: SocketAddr,
    peer_url: Uri,
    redis_latency: Millis,
    telemetry: telemetry::Config,
}

impl Config {
    /// `LISTEN_ADDR` (default `[::]:7878`), `PEER_URL` (required), `REDIS_LATENCY_MS` (default `100-199`).
    fn parse(var: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        let mut env = Environment::new(&var);
        let listen_addr = env.read("LISTEN_ADDR", Some("[::]:7878"), "an ip:port", parsed);
        let peer_url = env.read("PEER_URL", None, "an http:// URL", http_url);
        let redis_latency = env.read("REDIS_LATENCY_MS", Some("100-199"), "from-to", parsed);
        let telemetry = telemetry::Config::parse(&mut env);
        let config = || {
            Some(Config {
                listen_addr: listen_addr?,
                peer_url: peer_url?,
                redis_latency: redis_latency?,
                telemetry: telemetry?,
            })
        };
        match config() {
            Some(config) if env.problems.is_empty() => Ok(config),
            _ => Err(env.problems.join("; ")),
        }
    }
}

/// Reads variables and remembers everything that is wrong with them.
pub(crate) struct Environment<'a> {
    var: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Environment<'a> {
    fn new(var: &'a dyn Fn(&str) -> Option<String>) -> Environment<'a> {
        let problems = Vec::new();
        Environment { var, problems }
    }

    /// The value of a variable or else its default; an empty value means unset.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        default: Option<&str>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let set = (self.var)(name).filter(|value| !value.is_empty());
        let Some(value) = set.or(default.map(str::to_owned)) else {
            self.problems.push(format!("{name}: missing"));
            return None;
        };
        let parsed = parse(&value);
        if parsed.is_none() {
            self.problems
                .push(format!("{name}: `{value}` is not {expected}"));
        }
        parsed
    }
}

fn parsed<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

fn http_url(value: &str) -> Option<Uri> {
    let url: Uri = value.parse().ok()?;
    (url.scheme_str() == Some("http")).then_some(url)
}

/// How long a mock takes: from and to in milliseconds, both included.
#[derive(Clone, Debug)]
struct Millis(RangeInclusive<u64>);

impl FromStr for Millis {
    type Err = ();

    fn from_str(text: &str) -> Result<Millis, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let range = from.parse().map_err(drop)?..=to.parse().map_err(drop)?;
        if range.is_empty() {
            Err(())
        } else {
            Ok(Millis(range))
        }
    }
}

impl Millis {
    fn pick(&self) -> Duration {
        Duration::from_millis(rand::random_range(self.0.clone()))
    }
}

struct Service {
    peer_url: Uri,
    redis_latency: Millis,
    client: Client<HttpConnector, Empty<Bytes>>,
}

async fn start(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init(config.telemetry)?;
    let service = Arc::new(Service {
        peer_url: config.peer_url,
        redis_latency: config.redis_latency,
        client: Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(PEER_IDLE)
            .build_http(),
    });
    let served = serve(config.listen_addr, service).await;
    telemetry.shutdown().await;
    served
}

/// Serves connections until SIGTERM or Ctrl-C, then lets the open requests finish; a second signal ends it at once.
async fn serve(addr: SocketAddr, service: Arc<Service>) -> anyhow::Result<()> {
    let mut sigterm = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut sigint = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    let listener = bind(addr).await?;

    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .half_close(true);
    let draining = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let service = Arc::clone(&service);
                    let call = service_fn(move |req| handle_incoming_call(req, from, Arc::clone(&service)));
                    let connection = draining.watch(http.serve_connection(TokioIo::new(stream), call));
                    connections.spawn(async move {
                        match connection.await {
                            // That nothing more came on a connection is how most of them end.
                            Err(err) if !err.is_timeout() => {
                                complain(format_args!("connection from {from}: {err:#}"));
                            }
                            _ => {}
                        }
                    });
                }
                Err(err) => {
                    complain(format_args!("accepting a connection: {err}"));
                    // Most likely there are no file descriptors left: some must close first.
                    time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = sigterm.recv() => break,
            _ = sigint.recv() => break,
        }
    }
    drop(listener);
    tokio::spawn(async move {
        tokio::select! {
            _ = sigterm.recv() => {}
            _ = sigint.recv() => {}
        }
        complain(format_args!("told to stop again: what is open is given up"));
        std::process::exit(1);
    });
    if time::timeout(DRAIN, draining.shutdown()).await.is_err() {
        complain(format_args!(
            "cutting off requests that are still open after {DRAIN:?}"
        ));
    }
    connections.shutdown().await;
    Ok(())
}

/// Binds the address, or a free port where its own is taken, and says which.
async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind(addr).await {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
            complain(format_args!("{addr} is in use, taking a free port instead"));
            TcpListener::bind((addr.ip(), 0)).await
        }
        bound => bound,
    };
    let listener = listener.context(format!("listening on {addr}"))?;
    print(format_args!("listening on {}", listener.local_addr()?));
    Ok(listener)
}

async fn handle_incoming_call(
    req: Request<Incoming>,
    from: SocketAddr,
    service: Arc<Service>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if req.uri().path() == "/healthz" {
        return Ok(Response::new(Full::from("ok\n")));
    }
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(req.headers()))
    });
    let tracer = telemetry::tracer();
    let span = tracer
        .span_builder("handle_incoming_call")
        .with_kind(SpanKind::Server)
        .with_attributes(telemetry::server_attributes(&req, from))
        .start_with_context(&tracer, &parent);
    let cx = parent.with_span(span);

    print(format_args!("Request: {:#}", as_json(req.headers())));
    cx.span()
        .add_event("Request decoded!", vec![KeyValue::new("happened", true)]);

    let mut response = match work(&service).with_context(cx.clone()).await {
        Ok(()) => html(StatusCode::OK, PAGE.into()),
        Err(err) => {
            complain(format_args!("{err:#}"));
            blame_peer(&service.peer_url, &err)
        }
    };
    telemetry::record_reply(&cx, &mut response);
    Ok(response)
}

async fn work(service: &Service) -> anyhow::Result<()> {
    call_redis(service).await;
    let status = call_other_uservice(service).await?;
    ensure!(
        status.is_success(),
        "{} answered {status}",
        service.peer_url
    );
    Ok(())
}

/// Stands in for a Redis command.
async fn call_redis(service: &Service) {
    let tracer = telemetry::tracer();
    let span = tracer
        .span_builder("redis_call")
        .with_kind(SpanKind::Internal)
        .start(&tracer);
    let cx = Context::current_with_span(span);
    cx.span()
        .set_attribute(KeyValue::new("test-attribute-1", "test-values-1"));

    time::sleep(service.redis_latency.pick()).await;
}

async fn call_other_uservice(service: &Service) -> anyhow::Result<StatusCode> {
    let tracer = telemetry::tracer();
    let span = tracer
        .span_builder("other_uservice_call")
        .with_kind(SpanKind::Client)
        .with_attributes(telemetry::client_attributes(&service.peer_url))
        .start(&tracer);
    let cx = Context::current_with_span(span);

    let mut req = Request::get(&service.peer_url).body(Empty::new())?;
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&cx, &mut HeaderInjector(req.headers_mut()));
    });
    let answer = exchange(service, req).with_context(cx.clone()).await;
    telemetry::record_answer(&cx, &answer);
    answer
}

/// Sends a request to the peer and prints its answer.
///
/// # Errors
/// No answer, a broken one, or none within [`PEER_TIMEOUT`]. A status that says "failed" is an answer.
async fn exchange(service: &Service, req: Request<Empty<Bytes>>) -> anyhow::Result<StatusCode> {
    let exchange = async {
        let response = service.client.request(req).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), PEER_BODY_MAX).collect();
        let body = body.await.map_err(anyhow::Error::from_boxed)?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        print(format_args!("Response: {status} {}", body.trim_end()));
        Ok(status)
    };
    let answered = time::timeout(PEER_TIMEOUT, exchange).await;
    answered
        .map_err(anyhow::Error::from)
        .flatten()
        .context(format!("calling {}", service.peer_url))
}

/// 504 for a peer that was too slow, 502 for one that failed in another way.
fn blame_peer(peer: &Uri, err: &anyhow::Error) -> Response<Full<Bytes>> {
    let status = match err.is::<time::error::Elapsed>() {
        true => StatusCode::GATEWAY_TIMEOUT,
        false => StatusCode::BAD_GATEWAY,
    };
    let peer = peer.authority().map_or("", |authority| authority.as_str());
    let peer = peer.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!DOCTYPE html>\n<title>{status}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <h1>{status}</h1>\n<p>{NAME} is up, but its peer {peer} did not give it a proper answer.</p>\n"
    );
    html(status, page)
}

fn html(status: StatusCode, page: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(page));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

/// Headers by name; a name that occurs twice has an array of values, bytes that are no text are escaped.
fn as_json(headers: &HeaderMap) -> Value {
    let shown = |value: &HeaderValue| match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if !text.contains(char::is_control) => Value::from(text),
        _ => Value::from(value.as_bytes().escape_ascii().to_string()),
    };
    let values = |name| match headers.get_all(name).iter().map(shown).collect() {
        Value::Array(mut values) if values.len() == 1 => values.remove(0),
        values => values,
    };
    let headers = headers.keys().map(|name| (name.to_string(), values(name)));
    Value::Object(headers.collect::<Map<_, _>>())
}

async fn healthcheck(mut addr: SocketAddr) -> anyhow::Result<()> {
    match addr.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let url: Uri = format!("http://{addr}/healthz").parse()?;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = time::timeout(Duration::from_secs(1), client.get(url.clone())).await;
    let status = response.context("asking")??.status();
    ensure!(status.is_success(), "{url} answered {status}");
    Ok(())
}

/// Writes a line to the log in one call, so that it stays whole among others; a closed pipe is no failure.
fn print(line: fmt::Arguments) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line about trouble to the error log, as [`print`] does.
fn complain(line: fmt::Arguments) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
