//! The lab's processes: none is lost, none is left behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};

use crate::http::{get, visit};
use crate::lab::{LAB, Lab, PATIENCE, Process};
use crate::need::{self, TRAEFIK};
use crate::trace::Trace;

/// Waits until nothing listens any more where the parts of a lab did.
async fn all_gone(lab: &Lab) {
    for (part, url) in lab.parts() {
        let addr = url.trim_start_matches("http://");
        let begun = std::time::Instant::now();
        while TcpStream::connect(addr).await.is_ok() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{part} is left behind at {addr}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The process of uservice4, which its spans tell.
async fn uservice4(lab: &Lab) -> Pid {
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let trace = Trace::of(&lab.url("tracestore"), &id, 7).await;
    let pid = &trace.span("uservice4", "database_call").resource["process.pid"];
    Pid::from_raw(pid.parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_killed_lab_leaves_nobody_behind() {
    let mut lab = Lab::start(&[]).await;
    lab.signal(Signal::KILL);
    lab.process.ended().await;
    all_gone(&lab).await;
}

#[tokio::test]
async fn a_killed_lab_leaves_no_traefik_behind() {
    if need::program("traefik", TRAEFIK).is_none() {
        return;
    }
    let mut lab = Lab::start(&["--edge", "traefik"]).await;
    visit(&lab.url("edge"), "uservice1.localhost").await;
    lab.signal(Signal::KILL);
    lab.process.ended().await;
    all_gone(&lab).await;
}

#[tokio::test]
async fn a_part_that_does_not_stop_is_killed() {
    let mut lab = Lab::start(&[]).await;
    kill_process(uservice4(&lab).await, Signal::STOP).unwrap();
    lab.signal(Signal::TERM);
    lab.process.ended().await;
    lab.process.says("uservice4 did not stop within 6s").await;
    all_gone(&lab).await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut lab = Lab::start(&[]).await;
    kill_process(uservice4(&lab).await, Signal::STOP).unwrap();
    lab.signal(Signal::INT);
    lab.process.says("stopping").await;
    lab.signal(Signal::INT);
    lab.process.ended().await;
    assert!(
        !lab.process.log().contains("did not stop"),
        "{}",
        lab.process.log()
    );
    all_gone(&lab).await;
}

#[tokio::test]
async fn a_part_that_dies_is_named_and_ends_the_run() {
    let mut lab = Lab::start(&[]).await;
    kill_process(uservice4(&lab).await, Signal::KILL).unwrap();
    assert_eq!(lab.process.ended().await.code(), Some(1));
    lab.process.says("uservice4 was ended by signal 9").await;
    all_gone(&lab).await;
}

#[tokio::test]
async fn with_keep_going_the_others_go_on() {
    let lab = Lab::start(&["--keep-going"]).await;
    kill_process(uservice4(&lab).await, Signal::KILL).unwrap();
    lab.process.says("uservice4 was ended by signal 9").await;
    visit(&lab.url("edge"), "uservice1.localhost").await;
    let answer = get(&lab.url("edge"), &[("host", b"uservice3.localhost")])
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
}

#[tokio::test]
async fn a_closed_log_pipe_ends_the_lab_and_is_no_panic() {
    let mut process = Process::start(Command::new("sh").args([
        "-c",
        // The status of the lab, not that of head.
        "( \"$0\" --free-ports --latency 0.01; echo \"status $?\" >&2 ) | head -n 3",
        LAB,
    ]));
    process.says("status 0").await;
    process.ended().await;
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

#[tokio::test]
async fn a_service_whose_log_nobody_reads_goes_on() {
    let mut command = Command::new(LAB);
    command
        .arg("uservice2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let addr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    command.envs([
        ("LISTEN_ADDR", addr.to_string().as_str()),
        ("DATABASE_LATENCY_MS", "0-0"),
    ]);
    let mut service = command.spawn().unwrap();
    drop(service.stdout.take());
    let url = format!("http://{addr}/");
    let begun = std::time::Instant::now();
    while get(&url, &[]).await.is_err() {
        assert!(begun.elapsed() < PATIENCE && service.try_wait().unwrap().is_none());
    }
    assert_eq!(get(&url, &[]).await.unwrap().status, 200);
    service.kill().unwrap();
    service.wait().unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_one_taken_instead() {
    let taken = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let _taken = TcpListener::bind(taken).await.unwrap();
    for (part, variable) in [
        ("uservice2", "LISTEN_ADDR"),
        ("tracestore", "OTLP_GRPC_ADDR"),
    ] {
        let mut command = Command::new(LAB);
        command.arg(part).envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("OTLP_GRPC_ADDR", "127.0.0.1:0"),
        ]);
        let process = Process::start(command.env(variable, taken.to_string()));
        process.says(&taken.to_string()).await;
        let line = process.says("listening on 127.0.0.1:").await;
        assert!(!line.contains(&taken.to_string()), "{line}");
    }
}

#[tokio::test]
async fn healthcheck_asks_the_service_that_runs() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let command = |args: &[&str]| {
        let mut command = Command::new(LAB);
        command.args(args).env("LISTEN_ADDR", &addr);
        command
    };
    let mut nobody = Process::start(&mut command(&["uservice2", "healthcheck"]));
    assert_eq!(nobody.ended().await.code(), Some(1));
    let service = Process::start(&mut command(&["uservice2"]));
    service.says("listening on ").await;
    let mut asked = Process::start(&mut command(&["uservice2", "healthcheck"]));
    assert_eq!(asked.ended().await.code(), Some(0), "{}", asked.log());
    assert!(
        !service.log().contains("Request"),
        "a healthcheck is not printed"
    );
}
