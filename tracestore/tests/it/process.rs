//! The program as a process: its environment, its output, its end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    inputs::{CHAIN, chain},
    server::{client, get},
};

pub(crate) fn program(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracestore"));
    command
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OTLP_GRPC_ADDR", "127.0.0.1:0")
        .env_remove("OTLP_HTTP_ADDR")
        .env_remove("JAEGER_HTTP_ADDR")
        .env_remove("MAX_MEMORY")
        .env_remove("MAX_REQUEST_SIZE")
        .env_remove("MAX_DISK")
        .env_remove("MAX_AGE")
        .env_remove("MAX_LOG_MEMORY")
        .env_remove("MAX_LOG_DISK")
        .env_remove("MAX_LOG_AGE")
        .env_remove("FSYNC")
        .env_remove("DATA")
        .env_remove("ALLOW_HOSTS")
        .env_remove("METRICS_GENERATOR")
        .env_remove("LOG")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not in the folder of whoever runs the tests.
    if !variables
        .iter()
        .any(|(name, _)| ["DATA", "MEMORY"].contains(name))
    {
        command.env("MEMORY", "true");
    }
    command
}

/// The same by way of another program, which is given its name and runs it in its place.
pub(crate) fn by_way_of(mut other: Command, program: &Command) -> Command {
    other.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other.stdout(Stdio::piped()).stderr(Stdio::piped());
    other
}

pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) http: String,
    pub(crate) otlp: String,
    pub(crate) otlp_http: String,
    pub(crate) jaeger: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn start(variables: &[(&str, &str)]) -> Running {
    run(&mut program(variables))
}

pub(crate) fn run(command: &mut Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut announced = |what: &str| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix(what)
            .unwrap_or_else(|| panic!("{line:?}"));
        address.trim_end_matches('\n').to_owned()
    };
    let otlp_http = announced("receiving OTLP/HTTP on ");
    let jaeger = announced("receiving Jaeger thrift on ");
    let otlp = announced("receiving OTLP/gRPC on ");
    let http = announced("listening on ");
    Running {
        child,
        stdout,
        http,
        otlp,
        otlp_http,
        jaeger,
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

/// The exit code; a process that does not end within a minute fails the test.
pub(crate) fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("still running");
}

pub(crate) fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The same without what is said when all is well.
pub(crate) fn complaints(child: &mut Child) -> String {
    let text = stderr(child);
    let is_usual = |line: &&str| {
        (line.starts_with("opened ") && line.ends_with(" ms"))
            || line.starts_with("keeping traces in memory only: they end")
            || (line.starts_with("evicted ") && line.ends_with(" to stay within the limits"))
    };
    let lines = text.lines().filter(|line| !is_usual(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn it_names_its_addresses_serves_and_ends_on_a_signal() {
    for name in ["-TERM", "-INT"] {
        let mut running = start(&[]);
        client(&running.otlp).await.export(chain()).await.unwrap();
        let found = get(&running.http, &format!("/api/traces/{CHAIN}"), &[]).await;
        assert_eq!(found.status, 200);

        signal(&running.child, name);
        assert_eq!(ended(&mut running.child), Some(0));
        let mut rest = String::new();
        running.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let log = stderr(&mut running.child);
        let lines: Vec<_> = log.lines().collect();
        let [kept, stopping, stopped] = lines[..] else {
            panic!("{log}");
        };
        assert_eq!(
            kept,
            "keeping traces in memory only: they end with the process"
        );
        assert_eq!(
            stopping,
            "stopping: open requests have 3 s, a second signal ends at once"
        );
        let took = stopped.strip_prefix("stopped after ").unwrap();
        let took = took.strip_suffix(" ms").unwrap();
        took.parse::<u64>().unwrap();
    }
}

/// Fewer arenas of the C library's allocator, which only the environment of a process that begins can ask for.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_process_begins_with_two_arenas_unless_told_how_many() {
    for (told, expected) in [(None, "2"), (Some("8"), "8")] {
        let mut command = program(&[]);
        command
            .env_remove("MALLOC_ARENA_MAX")
            .envs(told.map(|count| ("MALLOC_ARENA_MAX", count)));
        let running = run(&mut command);
        let process = format!("/proc/{}", running.child.id());
        let environment = std::fs::read_to_string(format!("{process}/environ")).unwrap();
        let arenas: Vec<_> = (environment.split('\0'))
            .filter_map(|variable| variable.strip_prefix("MALLOC_ARENA_MAX="))
            .collect();
        assert_eq!(arenas, [expected]);
        let name = std::fs::read_to_string(format!("{process}/comm")).unwrap();
        assert_eq!(name, "tracestore\n");
    }
}

#[test]
fn a_busy_port_is_named_and_another_one_taken() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for (variable, what) in [
        ("LISTEN_ADDR", "HTTP"),
        ("OTLP_GRPC_ADDR", "OTLP/gRPC"),
        ("OTLP_HTTP_ADDR", "OTLP/HTTP"),
        ("JAEGER_HTTP_ADDR", "Jaeger thrift"),
    ] {
        // Where it is not told, a receiver over HTTP would take its usual port.
        let elsewhere = [
            ("OTLP_HTTP_ADDR", "127.0.0.1:0"),
            ("JAEGER_HTTP_ADDR", "127.0.0.1:0"),
        ];
        let mut running = start(&[&elsewhere[..], &[(variable, &address)]].concat());
        let taken = match what {
            "HTTP" => &running.http,
            "OTLP/gRPC" => &running.otlp,
            "OTLP/HTTP" => &running.otlp_http,
            _ => &running.jaeger,
        }
        .clone();
        assert_ne!(taken, address);
        signal(&running.child, "-TERM");
        assert_eq!(ended(&mut running.child), Some(0));
        let expected = format!("\n{address} is in use: {what} takes {taken} instead\n");
        let log = stderr(&mut running.child);
        assert!(log.contains(&expected), "{log}");
    }
}

#[test]
fn all_bad_values_are_named_at_once() {
    let variables = [
        ("LISTEN_ADDR", "3200"),
        ("OTLP_HTTP_ADDR", "4318"),
        ("JAEGER_HTTP_ADDR", "14268"),
        ("MAX_MEMORY", "lots"),
    ];
    let output = program(&variables).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    for (name, _) in variables {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_a_failure() {
    let output = program(&[("LISTEN_ADDR", "192.0.2.1:1")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("\nbinding --listen-addr: "), "{text}");
}

#[test]
fn healthcheck_says_whether_the_server_is_ready() {
    let running = start(&[]);
    let check = |address: &str| {
        let mut command = program(&[("LISTEN_ADDR", address)]);
        command.arg("healthcheck").output().unwrap()
    };
    assert_eq!(check(&running.http).status.code(), Some(0));
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let down = check(&address);
    assert_eq!(down.status.code(), Some(1));
    let text = String::from_utf8(down.stderr).unwrap();
    assert!(text.starts_with("asking for /ready: "), "{text}");
}

#[tokio::test]
async fn a_closed_log_is_no_reason_to_stop() {
    let mut running = start(&[]);
    running.child.stderr.take();
    let broken = client(&running.otlp).await.export(chain()).await;
    broken.unwrap();
    // Refusing a request writes a line, which nobody reads.
    let mut large = chain();
    large.resource_spans[0].schema_url = "u".repeat(17 << 20);
    let refused = client(&running.otlp).await.export(large).await;
    refused.unwrap_err();
    let found = get(&running.http, &format!("/api/traces/{CHAIN}"), &[]).await;
    assert_eq!(found.status, 200);
}

#[tokio::test]
async fn what_was_accepted_is_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("traces");
    let start = || {
        let mut command = program(&[]);
        // The folder is shown from where the process stands.
        command.current_dir(&folder).env("MEMORY", "");
        run(command.arg("--data").arg(&data))
    };
    let mut running = start();
    client(&running.otlp).await.export(chain()).await.unwrap();
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(0));
    let log = stderr(&mut running.child);
    let opened = "opened traces: 0 segments, 0 spans, replayed 0 requests in ";
    assert!(log.starts_with(opened), "{log}");

    let mut running = start();
    let found = get(&running.http, &format!("/api/traces/{CHAIN}"), &[]).await;
    assert_eq!(found.status, 200);
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(0));
    let log = stderr(&mut running.child);
    let opened = "opened traces: 0 segments, 7 spans, replayed 1 request in ";
    assert!(log.starts_with(opened), "{log}");
}

#[test]
fn traces_are_kept_at_home_or_in_memory_where_there_is_none() {
    let home = tempfile::tempdir().unwrap();
    let kept = |home: &str| {
        let mut command = program(&[("MEMORY", ""), ("HOME", home)]);
        let mut running = run(command.env_remove("XDG_DATA_HOME"));
        signal(&running.child, "-TERM");
        assert_eq!(ended(&mut running.child), Some(0));
        stderr(&mut running.child)
    };
    let log = kept(home.path().to_str().unwrap());
    let folder = home.path().join(".local/share/tracestore");
    assert!(folder.is_dir());
    assert!(
        log.starts_with(&format!("opened {}: ", folder.display())),
        "{log}"
    );
    let log = kept("");
    assert!(log.starts_with("keeping traces in memory only: "), "{log}");
}

#[test]
fn a_log_for_machines_has_an_object_on_every_line() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut child = program(&[("LOG", "json"), ("LISTEN_ADDR", &address)])
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut announced = String::new();
    for _ in 0..4 {
        stdout.read_line(&mut announced).unwrap();
    }
    signal(&child, "-TERM");
    assert_eq!(ended(&mut child), Some(0));
    let log = stderr(&mut child);
    let parsed = |text: &str| -> Vec<Value> {
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let announced = parsed(&announced);
    let listening = announced[3]["fields"]["address"].as_str().unwrap();
    assert_eq!(announced[3]["message"], format!("listening on {listening}"));
    let log = parsed(&log);
    let severities: Vec<_> = log.iter().map(|line| &line["severity"]).collect();
    assert_eq!(severities, ["INFO", "WARN", "INFO", "INFO"], "{log:#?}");
    assert_eq!(log[1]["fields"]["address"], listening);
    assert!(log[3]["fields"]["milliseconds"].is_u64(), "{log:#?}");
}

#[test]
fn an_argument_that_is_not_known_and_help_are_answered_at_once() {
    let run = |argument: &str| program(&[]).arg(argument).output().unwrap();
    let unknown = run("--colour");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--colour"));
    let help = run("--help");
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--allow-host <NAME>"));
}

/// A request to the OTLP/HTTP receiver that is short of its last byte.
fn unfinished(running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(&running.otlp_http).unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // The server asks for the body once it has begun to read it.
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    reader.read_line(&mut line).unwrap();
    stream.write_all(b"{").unwrap();
    stream
}

/// Waits for a line on standard error.
fn says(child: &mut Child, text: &str) -> BufReader<ChildStderr> {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "never says {text}");
    }
    log
}

#[tokio::test]
async fn while_it_stops_it_finishes_what_it_began_and_is_not_ready() {
    let mut running = start(&[]);
    let mut request = unfinished(&running);
    assert_eq!(get(&running.http, "/ready", &[]).await.status, 200);
    signal(&running.child, "-TERM");
    let _log = says(&mut running.child, "stopping");
    let ready = get(&running.http, "/ready", &[]).await;
    assert_eq!((ready.status.as_u16(), ready.text()), (503, "stopping\n"));
    let check = program(&[("LISTEN_ADDR", &running.http)])
        .arg("healthcheck")
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1));
    let text = String::from_utf8(check.stderr).unwrap();
    assert!(text.contains("503 Service Unavailable"), "{text}");

    request.write_all(b"}").unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(ended(&mut running.child), Some(0));
}

#[tokio::test]
async fn for_the_delay_it_serves_on_and_is_not_ready() {
    // As good as for ever: what is seen here has no other end than the second signal.
    let mut running = start(&[("SHUTDOWN_DELAY", "7d")]);
    signal(&running.child, "-TERM");
    let _log = says(&mut running.child, "stopping in 604800s: not ready");
    let mut ready = get(&running.http, "/ready", &[]).await;
    while ready.status == 200 {
        ready = get(&running.http, "/ready", &[]).await;
    }
    assert_eq!((ready.status.as_u16(), ready.text()), (503, "stopping\n"));
    assert_eq!(get(&running.http, "/api/echo", &[]).await.status, 200);
    let mut sender = TcpStream::connect(&running.otlp_http).unwrap();
    let request = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                   content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    sender.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    sender.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(1));
}

#[tokio::test]
async fn after_the_delay_it_ends_as_it_does_without_one() {
    let mut running = start(&[("SHUTDOWN_DELAY", "1ms")]);
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut running = start(&[]);
    let _request = unfinished(&running);
    signal(&running.child, "-INT");
    let mut log = says(&mut running.child, "stopping");
    signal(&running.child, "-INT");
    // With 0, had it waited for the request.
    assert_eq!(ended(&mut running.child), Some(1));
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "a second signal: ending at once\n");
}

#[test]
fn a_request_that_does_not_end_keeps_it_for_three_seconds() {
    let mut running = start(&[]);
    let _request = unfinished(&running);
    signal(&running.child, "-TERM");
    assert_eq!(ended(&mut running.child), Some(0));
    let log = stderr(&mut running.child);
    let (_, after) = log.split_once("\nstopped after ").unwrap();
    let (took, _) = after.split_once(" ms").unwrap();
    let took: u32 = took.replace(',', "").parse().unwrap();
    assert!(took >= 3000, "{log}");
}
