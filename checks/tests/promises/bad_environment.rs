//! A start with a bad environment ends with one message that names everything that is wrong.

use std::process::Command;

use crate::lab::{LAB, Process};

async fn refused(part: &str, env: &[(&str, &str)], named: &[&str]) {
    let mut process = Process::start(Command::new(LAB).arg(part).envs(env.iter().copied()));
    assert_eq!(process.ended().await.code(), Some(2), "{part}");
    let message = process.says("bad ").await;
    for name in named {
        assert!(
            message.contains(name),
            "{part} does not name {name}: {message}"
        );
    }
}

#[tokio::test]
async fn blind_services_name_all_bad_variables() {
    let bad = [
        ("LISTEN_ADDR", "7878"),
        ("REDIS_LATENCY_MS", "199-100"),
        ("PEER_URL", ""),
    ];
    refused(
        "uservice1",
        &bad,
        &[
            "LISTEN_ADDR: `7878`",
            "REDIS_LATENCY_MS",
            "PEER_URL: missing",
        ],
    )
    .await;
    let bad = [("LISTEN_ADDR", "here:80"), ("DATABASE_LATENCY_MS", "1s")];
    refused(
        "uservice2",
        &bad,
        &["LISTEN_ADDR: `here:80`", "DATABASE_LATENCY_MS: `1s`"],
    )
    .await;
}

#[tokio::test]
async fn traced_services_name_the_bad_variables_of_telemetry_too() {
    let bad = [
        ("LISTEN_ADDR", "7878"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_PROPAGATORS", "jaeger,b3"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", ""),
        ("TRACE_URL", "http://here/"),
    ];
    let names = bad.map(|(name, _)| name);
    for service in ["uservice3", "uservice4"] {
        refused(service, &bad, &names).await;
    }
}

#[tokio::test]
async fn the_edge_and_the_store_name_all_bad_variables() {
    let bad = [
        ("LISTEN_ADDR", "8000"),
        ("ROUTES", "uservice1.localhost=nowhere"),
    ];
    refused("edge", &bad, &["LISTEN_ADDR", "ROUTES"]).await;
    let bad = [
        ("LISTEN_ADDR", "3200"),
        ("OTLP_GRPC_ADDR", "4317"),
        ("MAX_MEMORY", "much"),
        ("FSYNC", "never"),
        ("DATA", "traces"),
        ("MEMORY", "true"),
    ];
    refused("tracestore", &bad, &bad.map(|(name, _)| name)).await;
}

#[tokio::test]
async fn the_store_names_bad_flags_and_bad_variables_in_one_message() {
    let mut process = Process::start(
        Command::new(LAB)
            .args(["tracestore", "--listen-addr=3200", "--max-age=soon"])
            .env("MAX_DISK", "none"),
    );
    assert_eq!(process.ended().await.code(), Some(2));
    let message = process.says("bad settings: ").await;
    for named in [
        "--listen-addr: \"3200\"",
        "--max-age: \"soon\"",
        "MAX_DISK: \"none\"",
    ] {
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test]
async fn an_empty_variable_is_an_unset_one() {
    let empty = [
        "REDIS_LATENCY_MS",
        "OTEL_TRACES_EXPORTER",
        "OTEL_PROPAGATORS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_SERVICE_NAME",
        "TRACE_URL",
    ];
    let mut command = Command::new(LAB);
    command.arg("uservice3").envs(empty.map(|name| (name, "")));
    command.envs([
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("PEER_URL", "http://127.0.0.1:1/"),
    ]);
    Process::start(&mut command)
        .says("listening on 127.0.0.1:")
        .await;
}

#[tokio::test]
async fn bad_arguments_of_the_lab_are_refused() {
    for (args, message) in [
        (["--latency", "fast"], "not a number from 0 to 100"),
        (["--otlp", "localhost:4317"], "not an http:// URL"),
        (["--edge", "nginx"], "embedded, traefik"),
        (["--memory", "--data=here"], "cannot be used with"),
    ] {
        let mut process = Process::start(Command::new(LAB).args(args));
        assert_eq!(process.ended().await.code(), Some(2));
        process.says(message).await;
    }
}
