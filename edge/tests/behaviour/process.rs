//! The edge as its operator has it: environment, output, signals and exit status.

use std::convert::Infallible;
use std::process::{Output, Stdio};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::support::{
    HOST, Upstream, header, in_time, listener, read_to_end, silent_upstream, status,
};

/// An edge with this environment and no other.
fn edge(vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
    command
        .env_clear()
        .envs(vars.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts an edge, and reads the address it listens on.
async fn started(command: &mut Command) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let addr = listening(&mut stdout).await;
    (child, stdout, addr)
}

async fn listening(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    in_time(stdout.read_line(&mut line)).await.unwrap();
    let addr = line.strip_prefix("listening on ").expect(&line);
    addr.trim_end().to_owned()
}

async fn get(addr: &str) -> String {
    ask(addr, "GET /").await
}

/// Asks e.g. for `GET /`, of the service.
async fn ask(addr: &str, what: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("{what} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

/// Asks the edge to stop, and waits for its end.
async fn stopped(child: Child, signal: Signal) -> Output {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    in_time(child.wait_with_output()).await.unwrap()
}

fn routes(upstream: &Upstream) -> String {
    format!("{HOST}=http://{}", upstream.addr)
}

/// A collector that keeps what it is sent, and where it listens.
pub(crate) async fn collector() -> (mpsc::UnboundedReceiver<Bytes>, String) {
    let (export, exports) = mpsc::unbounded_channel();
    let (listener, addr) = listener().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let export = export.clone();
            let service = service_fn(move |req: Request<Incoming>| {
                let export = export.clone();
                async move {
                    let body = req.into_body().collect().await.unwrap();
                    let _ = export.send(body.to_bytes());
                    // An empty message, not compressed, and the status OK.
                    let response = Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "0")
                        .body(Full::new(Bytes::from_static(&[0; 5])));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            let http = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    (exports, format!("http://{addr}"))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_bad_environment_is_named_in_one_message_and_exits_with_2() {
    let mut command = edge(&[
        ("LISTEN_ADDR", "8000"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_PROPAGATORS", "xray"),
    ]);
    let output = in_time(command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "bad environment: LISTEN_ADDR: `8000` is not ip:port; ROUTES: missing; \
         OTEL_PROPAGATORS: `xray` is not tracecontext, baggage, jaeger, b3, b3multi or none; \
         OTEL_TRACES_EXPORTER: `zipkin` is not otlp, console or none\n"
    );
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_ends_the_start() {
    let mut command = edge(&[
        ("ROUTES", "a.localhost=http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none.pem"),
    ]);
    let output = in_time(command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let named = "bad environment: OTEL_EXPORTER_OTLP_CERTIFICATE: `/none.pem`";
    assert!(said.starts_with(named), "{said}");
}

#[tokio::test]
async fn the_last_spans_are_flushed_on_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::hello().await;
        let (mut exports, endpoint) = collector().await;
        let (child, _stdout, addr) = started(&mut edge(&[
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("ROUTES", &routes(&upstream)),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
            ("OTEL_SERVICE_NAME", "the-name"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=not-the-name,x=y"),
        ]))
        .await;
        assert_eq!(status(&get(&addr).await), 200);
        let output = stopped(child, signal).await;
        assert!(output.status.success(), "{output:?}");
        let export = in_time(exports.recv()).await.unwrap();
        for text in ["GET", "ReverseProxy", "the-name"] {
            assert!(contains(&export, text), "{text}");
        }
        assert!(!contains(&export, "not-the-name"));
    }
}

#[tokio::test]
async fn a_collector_that_is_down_or_silent_delays_nobody_and_is_reported() {
    let nobody = listener().await.1;
    let silent = silent_upstream().await;
    for collector in [nobody, silent] {
        let upstream = Upstream::hello().await;
        let (child, _stdout, addr) = started(&mut edge(&[
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("ROUTES", &routes(&upstream)),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                &format!("http://{collector}"),
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ]))
        .await;
        assert_eq!(status(&get(&addr).await), 200);
        let output = stopped(child, Signal::TERM).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("2 spans were not delivered: "), "{stderr}");
    }
}

#[tokio::test]
async fn every_request_that_was_answered_before_a_stop_has_its_line() {
    let upstream = Upstream::hello().await;
    let (child, mut stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    for number in 0..20 {
        let answer = ask(&addr, &format!("GET /{number}")).await;
        assert_eq!(status(&answer), 200);
    }
    let output = stopped(child, Signal::TERM).await;
    assert!(output.status.success(), "{output:?}");
    let mut lines = String::new();
    in_time(stdout.read_to_string(&mut lines)).await.unwrap();
    let path = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["path"].as_str().unwrap()[1..].parse::<u32>().unwrap()
    };
    let mut paths: Vec<_> = lines.lines().map(path).collect();
    paths.sort_unstable();
    assert_eq!(paths, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (upstream, silent) = listener().await;
    let (child, mut stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &format!("{HOST}=http://{silent}")),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    let asked = addr.clone();
    let waiting = tokio::spawn(async move { get(&asked).await });
    let _held = in_time(upstream.accept()).await.unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // Once it listens no more, it has heard of the first.
    in_time(async { while TcpStream::connect(&addr).await.is_ok() {} }).await;
    let output = stopped(child, Signal::TERM).await;
    assert_eq!(output.status.code(), Some(1));
    let mut said = String::new();
    in_time(stdout.read_to_string(&mut said)).await.unwrap();
    assert!(said.contains("told to stop again"), "{said}");
    assert_eq!(in_time(waiting).await.unwrap(), "");
}

#[tokio::test]
async fn for_the_delay_it_serves_on_and_is_not_ready() {
    let upstream = Upstream::hello().await;
    let (child, _stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
        // A day: nothing here waits for its end.
        ("SHUTDOWN_DELAY_MS", "86400000"),
    ]))
    .await;
    let ready = async || {
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        let request = "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        status(&read_to_end(&mut stream).await)
    };
    assert_eq!(ready().await, 200);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    in_time(async { while ready().await == 200 {} }).await;
    assert_eq!(ready().await, 503);
    assert_eq!(status(&get(&addr).await), 200);
    let output = stopped(child, Signal::TERM).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn after_the_delay_it_ends_as_it_does_without_one() {
    let upstream = Upstream::hello().await;
    let (child, _stdout, _) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("SHUTDOWN_DELAY_MS", "1"),
    ]))
    .await;
    let output = stopped(child, Signal::TERM).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_busy_port_is_named_with_the_port_taken_instead() {
    let upstream = Upstream::hello().await;
    let (taken, wished) = listener().await;
    let (child, _stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", &wished.to_string()),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    assert_ne!(addr, wished.to_string());
    assert_eq!(status(&get(&addr).await), 200);
    let output = stopped(child, Signal::TERM).await;
    let port = addr.rsplit(':').next().unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("port {} is in use, taking {port} instead\n", wished.port())
    );
    drop(taken);
}

#[tokio::test]
async fn metrics_are_on_a_port_of_their_own() {
    let upstream = Upstream::hello().await;
    let mut child = edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("METRICS_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_SERVICE_NAME", "the-name"),
    ])
    .spawn()
    .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    in_time(stdout.read_line(&mut line)).await.unwrap();
    let metrics = line.trim_end().strip_prefix("metrics on ").expect(&line);
    let addr = listening(&mut stdout).await;
    assert_eq!(status(&get(&addr).await), 200);
    // The request is over when its line is there.
    let mut access = String::new();
    in_time(stdout.read_line(&mut access)).await.unwrap();

    let shown = ask(metrics, "GET /metrics").await;
    assert_eq!(status(&shown), 200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(header(&shown, "content-type"), Some(kind));
    for part in [
        "target_info{",
        "service_name=\"the-name\"",
        "process_resident_memory_bytes ",
        &format!("server_address=\"{HOST}\",http_response_status_code=\"200\"}} 1\n"),
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(shown.ends_with("# EOF\n"), "{shown}");
    assert_eq!(status(&ask(metrics, "GET /").await), 404);
    assert_eq!(status(&ask(metrics, "POST /metrics").await), 405);
    // Nor are they among what the edge forwards.
    let forwarded = ask(&addr, "GET /metrics").await;
    assert!(!forwarded.contains("target_info"), "{forwarded}");
    assert!(stopped(child, Signal::TERM).await.status.success());
}

#[tokio::test]
async fn both_loopback_addresses_share_a_port() {
    let upstream = Upstream::hello().await;
    let (mut child, mut stdout, first) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0,[::1]:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    assert_eq!(status(&get(&first).await), 200);
    if TcpListener::bind("[::1]:0").await.is_ok() {
        let second = listening(&mut stdout).await;
        let port = first.rsplit(':').next().unwrap();
        assert_eq!(second, format!("[::1]:{port}"));
        assert_eq!(status(&get(&second).await), 200);
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_closed_log_pipe_stops_nothing() {
    let upstream = Upstream::hello().await;
    let mut command = edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]);
    let (mut child, stdout, addr) = started(&mut command).await;
    drop(stdout);
    drop(child.stderr.take());
    for _ in 0..3 {
        assert_eq!(status(&get(&addr).await), 200);
    }
    let output = stopped(child, Signal::TERM).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn the_access_log_is_a_line_of_json_on_stdout() {
    let upstream = Upstream::hello().await;
    let (_child, mut stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    get(&addr).await;
    let mut line = String::new();
    in_time(stdout.read_line(&mut line)).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["status"], 200);
    // Without an exporter there is still a trace, for the services behind.
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn where_telemetry_is_switched_off_trace_headers_pass_unchanged() {
    let mut upstream = Upstream::hello().await;
    let (_child, mut stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("ROUTES", &routes(&upstream)),
        ("OTEL_SDK_DISABLED", "true"),
    ]))
    .await;
    let trace = "uber-trace-id: 0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1";
    for headers in [format!("{trace}\r\n"), String::new()] {
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        let request =
            format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(&mut stream).await;
        assert_eq!(status(&response), 200);
        assert!(!response.contains("traceresponse"), "{response}");
        let forwarded = upstream.request().await;
        assert_eq!(
            forwarded.contains(trace),
            !headers.is_empty(),
            "{forwarded}"
        );
        assert_eq!(
            forwarded.contains("uber-trace-id"),
            !headers.is_empty(),
            "{forwarded}"
        );
        let mut line = String::new();
        in_time(stdout.read_line(&mut line)).await.unwrap();
        assert!(!line.contains("trace_id"), "{line}");
    }
}

#[tokio::test]
async fn a_health_check_exits_with_0_or_1() {
    let upstream = Upstream::hello().await;
    let routes = routes(&upstream);
    let (child, _stdout, addr) = started(&mut edge(&[
        ("LISTEN_ADDR", "0.0.0.0:0"),
        ("ROUTES", &routes),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]))
    .await;
    let mut check = edge(&[("LISTEN_ADDR", &addr)]);
    check.args(["edge", "healthcheck"]);
    let output = in_time(check.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stopped(child, Signal::TERM).await;
    let output = in_time(check.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn running_out_of_file_descriptors_is_survived() {
    let upstream = Upstream::hello().await;
    // Each worker has a few of its own.
    let workers = std::thread::available_parallelism().unwrap().get();
    let limit = 16 + 4 * workers;
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            &format!("ulimit -n {limit}; exec \"$0\""),
            env!("CARGO_BIN_EXE_edge"),
        ])
        .env_clear()
        .envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("ROUTES", &*routes(&upstream)),
            ("OTEL_TRACES_EXPORTER", "none"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let (mut child, _stdout, addr) = started(&mut command).await;
    let mut crowd = Vec::new();
    for _ in 0..limit + 10 {
        crowd.push(TcpStream::connect(&addr).await.unwrap());
    }
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    in_time(stderr.read_line(&mut line)).await.unwrap();
    assert!(line.starts_with("accepting connections: "), "{line}");
    drop(crowd);
    assert_eq!(status(&get(&addr).await), 200);
    let output = stopped(child, Signal::TERM).await;
    assert!(output.status.success());
    // It was said once, not at every attempt.
    let mut rest = String::new();
    in_time(stderr.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.lines().count() < 3, "{rest}");
}
