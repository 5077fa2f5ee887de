//! Each program of docker-compose.yaml accepts its committed configuration, where it is at hand.
//!
//! `TEMPO`, `LOKI`, `ALLOY` and `JAEGER` name them. No registry of programs has them, so `.ci/run` sets none.
//! Prometheus is asked in `alerts`, and Traefik in `dashboards`.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant, sleep};

use crate::http::{get, visit};
use crate::lab::{Lab, PATIENCE, Process};
use crate::trace::Trace;
use crate::{need, repository};

/// Runs a program of which a variable has the path.
async fn accepted(variable: &str, arguments: &[&str]) {
    let Some([program]) = need::variables([variable]) else {
        return;
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository::root());
    let mut process = Process::start(&mut command);
    let ended = process.ended().await;
    assert!(ended.success(), "{arguments:?}:\n{}", process.log());
}

#[tokio::test]
async fn tempo_accepts_its_configuration() {
    let file = "-config.file=conf/tempo/tempo.yaml";
    accepted("TEMPO", &["-config.verify=true", file]).await;
}

#[tokio::test]
async fn loki_accepts_its_configuration() {
    let file = "-config.file=conf/loki/loki.yaml";
    accepted("LOKI", &["-verify-config", file]).await;
}

#[tokio::test]
async fn alloy_accepts_its_configuration() {
    accepted("ALLOY", &["validate", "conf/alloy/config.alloy"]).await;
}

#[tokio::test]
async fn jaeger_accepts_its_configuration() {
    let file = "conf/jaeger/jaeger.yaml";
    accepted("JAEGER", &["validate", "--config", file]).await;
}

#[tokio::test]
async fn jaeger_keeps_what_it_gets_and_hands_it_on() {
    let Some([program]) = need::variables(["JAEGER"]) else {
        return;
    };
    // Its store takes the place of Tempo.
    let behind = Lab::start(&[]).await;
    let mut config = repository::read("conf/jaeger/jaeger.yaml");
    let mut ports = Vec::new();
    for committed in [
        "0.0.0.0:4317",
        "0.0.0.0:4318",
        "0.0.0.0:16686",
        "127.0.0.1:16685",
        "0.0.0.0:13133",
    ] {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap().to_string();
        assert!(config.contains(committed), "nothing at {committed}");
        config = config.replace(committed, &address);
        ports.push((port, address));
    }
    let metrics = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = metrics.local_addr().unwrap().port();
    config = config
        .replace("port: 8888", &format!("port: {port}"))
        .replace("tempo:4317", &behind.url("otlp").replace("http://", ""));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jaeger.yaml");
    fs::write(&file, config).unwrap();
    let addresses: Vec<_> = ports.into_iter().map(|(_, address)| address).collect();
    drop(metrics);
    let [otlp, _, page, _, health] = &addresses[..] else {
        unreachable!()
    };
    let jaeger = Process::start(Command::new(program).arg("--config").arg(file));
    answered(&format!("http://{health}/status"), &jaeger, |_| true).await;

    let lab = Lab::start(&["--otlp", &format!("http://{otlp}")]).await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&behind.url("tracestore"), &id, 7).await;
    let all = |body: &str| {
        let answer: Value = serde_json::from_str(body).unwrap();
        let spans = answer["data"][0]["spans"].as_array();
        spans.is_some_and(|spans| spans.len() == 7)
    };
    answered(&format!("http://{page}/api/traces/{id}"), &jaeger, all).await;
}

/// Waits until a success looks as it should.
async fn answered(url: &str, process: &Process, is_right: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    loop {
        let answer = get(url, &[]).await;
        if answer.is_ok_and(|answer| answer.status.is_success() && is_right(&answer.body)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{url}:\n{}", process.log());
        sleep(Duration::from_millis(50)).await;
    }
}
