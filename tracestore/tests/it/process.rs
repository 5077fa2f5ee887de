//! The program as a process: its environment, its output, its end.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    inputs::{CHAIN, chain},
    server::{client, get},
};

fn program(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracestore"));
    command
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OTLP_GRPC_ADDR", "127.0.0.1:0")
        .env_remove("OTLP_HTTP_ADDR")
        .env_remove("JAEGER_HTTP_ADDR")
        .env_remove("MAX_BYTES")
        .env_remove("ALLOW_HOSTS")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    http: String,
    otlp: String,
    otlp_http: String,
    jaeger: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(variables: &[(&str, &str)]) -> Running {
    let mut child = program(variables).spawn().unwrap();
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

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

/// The exit code; a process that does not end within 10 seconds fails the test.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("still running");
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
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
        assert_eq!(stderr(&mut running.child), "");
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
        let expected = format!("{address} is in use: {what} takes {taken} instead\n");
        assert_eq!(stderr(&mut running.child), expected);
    }
}

#[test]
fn all_bad_values_are_named_at_once() {
    let variables = [
        ("LISTEN_ADDR", "3200"),
        ("OTLP_HTTP_ADDR", "4318"),
        ("JAEGER_HTTP_ADDR", "14268"),
        ("MAX_BYTES", "lots"),
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
    assert!(text.starts_with("binding LISTEN_ADDR: "), "{text}");
}

#[test]
fn healthcheck_says_whether_the_server_is_ready() {
    let running = start(&[]);
    let check = |address: &str| {
        let mut command = program(&[("LISTEN_ADDR", address)]);
        command
            .args(["tracestore", "healthcheck"])
            .output()
            .unwrap()
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
