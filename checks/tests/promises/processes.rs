//! The lab's processes: none is lost, none is left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use crate::http::{get, visit};
use crate::lab::{LAB, Lab, PATIENCE, Process, until};
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
            time::sleep(Duration::from_millis(20)).await;
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
async fn a_traefik_whose_keeper_dies_goes_too() {
    if need::program("traefik", TRAEFIK).is_none() {
        return;
    }
    let mut lab = Lab::start(&["--edge", "traefik"]).await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let trace = Trace::of(&lab.url("tracestore"), &id, 7).await;
    let traefik = &trace.span("traefik", "ReverseProxy").resource["process.pid"];
    let keeper = Command::new("ps")
        .args(["-o", "ppid=", "-p", traefik])
        .output()
        .unwrap();
    let keeper = String::from_utf8(keeper.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
    assert_eq!(lab.process.ended().await.code(), Some(1));
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
async fn a_second_signal_ends_a_service_that_still_has_a_request() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = format!("http://{}/", silent.local_addr().unwrap());
    for service in ["uservice1", "uservice2", "uservice3", "uservice4"] {
        let mut command = Command::new(LAB);
        command.arg(service).envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("DATABASE_LATENCY_MS", "60000-60000"),
            ("REDIS_LATENCY_MS", "60000-60000"),
            ("PEER_URL", &peer),
            ("OTEL_TRACES_EXPORTER", "none"),
        ]);
        // Where the first signal's time for open requests was over before the second one came, nothing was tried.
        let mut ended = async || {
            let mut process = Process::start(&mut command);
            let line = process.says("listening on ").await;
            let addr = line.trim_start_matches("listening on ").to_owned();
            let url = format!("http://{addr}");
            let asked = tokio::spawn(async move { get(&url, &[]).await });
            process.says("Request: {").await;
            kill_process(process.pid(), Signal::TERM).unwrap();
            // Once it listens no more, it has heard of it.
            while TcpStream::connect(&addr).await.is_ok() {}
            kill_process(process.pid(), Signal::TERM).unwrap();
            let status = process.ended().await;
            assert!(asked.await.unwrap().is_err(), "{service}");
            let log = process.log();
            (!log.contains("cutting off")).then_some((status.code(), log))
        };
        let mut outcome = None;
        for _ in 0..5 {
            outcome = ended().await;
            if outcome.is_some() {
                break;
            }
        }
        let (code, log) = outcome.expect("a second signal in time");
        assert_eq!(code, Some(1), "{service}: {log}");
        assert!(log.contains("told to stop again"), "{service}: {log}");
    }
}

#[tokio::test]
async fn a_closed_log_pipe_ends_the_lab_and_is_no_panic() {
    let mut process = Process::start(Command::new("sh").args([
        "-c",
        // The status of the lab, not that of head.
        "( \"$0\" --free-ports --memory --latency 0.01; echo \"status $?\" >&2 ) | head -n 3",
        LAB,
    ]));
    process.says("status 0").await;
    process.ended().await;
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

#[tokio::test]
async fn a_log_that_nobody_reads_on_does_not_keep_the_lab_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("addresses.json");
    let mut command = Lab::command(&file);
    command
        .args(["--memory", "--latency", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut lab = command.spawn().unwrap();
    let addresses = until(|| fs::read_to_string(&file).ok()).await.unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&addresses).unwrap();
    let edge = addresses["edge"].as_str().unwrap();
    // More lines than all the pipes and queues on their way hold; answers come until those are full.
    let visit = || {
        let edge = edge.to_owned();
        tokio::spawn(async move { get(&edge, &[("host", b"uservice1.localhost")]).await })
    };
    let visits: Vec<_> = (0..400).map(|_| visit()).collect();
    let pid = Pid::from_raw(lab.id().cast_signed()).unwrap();
    let stuck = async {
        for visit in visits {
            let _ = visit.await;
        }
    };
    assert!(
        time::timeout(Duration::from_secs(5), stuck).await.is_err(),
        "nothing was stuck"
    );
    kill_process(pid, Signal::TERM).unwrap();
    let status = until(|| lab.try_wait().unwrap()).await;
    if status.is_none() {
        lab.kill().unwrap();
        lab.wait().unwrap();
    }
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[tokio::test]
async fn a_service_whose_log_nobody_reads_goes_on() {
    for service in ["uservice2", "uservice3"] {
        let mut command = Command::new(LAB);
        command
            .arg(service)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("DATABASE_LATENCY_MS", "0-0"),
            ("REDIS_LATENCY_MS", "0-0"),
            ("PEER_URL", "http://127.0.0.1:1/"),
            ("OTEL_TRACES_EXPORTER", "console"),
        ]);
        let mut process = command.spawn().unwrap();
        // Its end would tell the service to stop once more, and that at once.
        let _stdin = process.stdin.take();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim_end().replace("listening on ", "http://");
        let status = if service == "uservice3" { 502 } else { 200 };
        for _ in 0..3 {
            assert_eq!(get(&url, &[]).await.unwrap().status, status);
        }
        kill_process(
            Pid::from_raw(process.id().cast_signed()).unwrap(),
            Signal::TERM,
        )
        .unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("panicked"),
            "{output:?}"
        );
    }
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
            ("MEMORY", "true"),
        ]);
        let process = Process::start(command.env(variable, taken.to_string()));
        process.says(&taken.to_string()).await;
        let line = process.says("listening on 127.0.0.1:").await;
        assert!(!line.contains(&taken.to_string()), "{line}");
    }
}

#[tokio::test]
async fn healthcheck_asks_the_service_that_runs() {
    let command = |args: &[&str], addr: &str| {
        let mut command = Command::new(LAB);
        command.args(args).env("LISTEN_ADDR", addr);
        command
    };
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = mute.local_addr().unwrap().to_string();
    let mut asked = Process::start(&mut command(&["uservice2", "healthcheck"], &addr));
    assert_eq!(asked.ended().await.code(), Some(1));

    let service = Process::start(&mut command(&["uservice2"], "127.0.0.1:0"));
    let addr = service
        .says("listening on ")
        .await
        .replace("listening on ", "");
    let mut asked = Process::start(&mut command(&["uservice2", "healthcheck"], &addr));
    assert_eq!(asked.ended().await.code(), Some(0), "{}", asked.log());
    assert!(
        !service.log().contains("Request"),
        "a healthcheck is not printed"
    );
}
