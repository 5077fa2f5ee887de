//! How a run ends, and what it says when something is amiss.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
};

use faults::{Answer, Collector, Failure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    run::{Said, bare, playground},
    store::get,
};

#[test]
fn without_anybody_who_listens_it_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = Said::by(&mut playground(&endpoint, &[]));
    assert_eq!(said.code, Some(1), "{}", said.summary);
    let told = format!("Nothing takes traces at {endpoint}. ");
    assert!(said.summary.contains(&told), "{}", said.summary);
    assert!(
        said.summary.contains("onnection refused"),
        "{}",
        said.summary
    );
    // There is nothing to look for.
    assert!(
        said.traces().is_empty() && said.queries().is_empty(),
        "{}",
        said.summary
    );
}

#[test]
fn a_store_that_does_not_know_log_records_is_no_failure() {
    let collector = Collector::start(|export| match export.log_records().next() {
        Some(_) => Answer::Fail(Failure::new(12, 404, "unknown service")),
        None => Answer::Accept,
    });
    let said = Said::by(&mut playground(&collector.grpc_endpoint(), &[]));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    let told = "What takes the spans does not take log records.";
    assert!(said.summary.contains(told), "{}", said.summary);
    assert_eq!(said.traces().len(), 12);
    let lines = said
        .log
        .lines()
        .filter(|line| line.contains("log records are dropped"));
    assert_eq!(lines.count(), 1, "{}", said.log);
}

#[test]
fn spans_that_are_lost_are_a_failure() {
    let collector = Collector::start(|export| match export.spans().next() {
        Some(_) => Answer::Partial(1, "one is too old".to_owned()),
        None => Answer::Accept,
    });
    let said = Said::by(&mut playground(&collector.grpc_endpoint(), &[]));
    assert_eq!(said.code, Some(1), "{}", said.summary);
    assert!(
        said.summary
            .contains("They find fewer, since spans were lost."),
        "{}",
        said.summary
    );
}

#[test]
fn a_signal_ends_it_with_a_summary_and_without_a_loss() {
    let collector = Collector::start(|_| Answer::Accept);
    let mut command = playground(&collector.grpc_endpoint(), &["--requests", "0"]);
    let mut process = command.spawn().unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let mut rest = Vec::new();
    log.read_to_end(&mut rest).unwrap();
    let mut said = Said::at_the_end(process.wait_with_output().unwrap());
    said.log = first + &String::from_utf8(rest).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.summary);
    let begun = said
        .log
        .lines()
        .filter(|line| line.contains("\"message\":\"request\""))
        .count();
    assert!(begun > 0);
    assert_eq!(said.traces().len(), begun, "{}", said.summary);
    let spans: usize = collector
        .exports()
        .iter()
        .map(|export| export.spans().count())
        .sum();
    let told = format!("spans: {spans} of {spans} arrived");
    assert!(said.summary.contains(&told), "{}", said.summary);
}

#[test]
fn without_telemetry_there_is_nothing_to_look_for() {
    let collector = Collector::start(|_| Answer::Accept);
    let mut command = playground(&collector.grpc_endpoint(), &[]);
    let said = Said::by(command.env("OTEL_SDK_DISABLED", "true"));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    assert!(said.summary.contains("12 requests"), "{}", said.summary);
    assert!(
        said.summary.contains("OTEL_SDK_DISABLED"),
        "{}",
        said.summary
    );
    assert!(said.queries().is_empty() && collector.exports().is_empty());
}

#[test]
fn only_traces_that_were_sampled_are_listed_and_looked_for() {
    let collector = Collector::start(|_| Answer::Accept);
    let mut command = playground(&collector.grpc_endpoint(), &["--requests", "100"]);
    command.envs([
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ]);
    let said = Said::by(&mut command);
    let mut roots = collector
        .exports()
        .iter()
        .flat_map(|export| export.spans().cloned().collect::<Vec<_>>())
        .collect::<Vec<_>>();
    roots.retain(|span| span.parent_span_id.is_empty());
    assert!((20..80).contains(&roots.len()), "{}", roots.len());
    assert_eq!(said.queries()[0].finds, roots.len(), "{}", said.summary);
    assert_eq!(said.traces().len(), roots.len());
}

#[test]
fn bad_arguments_are_told() {
    for (arguments, told) in [
        (["--rate", "0"], "not a number from 0.001 to 10000"),
        (["--latency", "-1"], "unexpected argument"),
        (["--requests", "many"], "invalid digit"),
    ] {
        let said = Said::by(&mut bare("http://127.0.0.1:1", &arguments));
        assert_eq!(said.code, Some(2), "{}", said.summary);
        assert!(said.summary.contains(told), "{}", said.summary);
    }
}

#[test]
fn metrics_are_shown_somewhere_else_if_nobody_asks_for_a_place_and_the_usual_one_is_taken() {
    // Unless another playground of these tests has it at the moment, and may not have it any more in the next.
    let taken = TcpListener::bind("127.0.0.1:9464");
    let collector = Collector::start(|_| Answer::Accept);
    let said = Said::by(&mut playground(&collector.grpc_endpoint(), &[]));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    let line = said.summary.lines().next().unwrap();
    assert!(line.starts_with("metrics at http://127.0.0.1:"), "{line}");
    assert!(taken.is_err() || !line.contains(":9464/"), "{line}");
}

#[test]
fn metrics_are_shown_where_they_are_asked_for() {
    let collector = Collector::start(|_| Answer::Accept);
    let arguments = ["--requests", "0", "--listen", "127.0.0.1:0"];
    let mut process = playground(&collector.grpc_endpoint(), &arguments)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("metrics at ").unwrap();
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    // So that one is over.
    log.find(|line| line.as_ref().unwrap().contains("\"message\":\"failed\""))
        .unwrap()
        .unwrap();
    log.find(|line| line.as_ref().unwrap().contains("\"message\":\"answered\""))
        .unwrap()
        .unwrap();
    let drained = std::thread::spawn(move || log.for_each(drop));
    let metrics = get(url).unwrap();
    for text in [
        "http_server_request_duration_seconds_bucket{",
        "http_route=\"/orders/{id}\"",
        "# {trace_id=\"",
        "error_type=\"50",
        "http_server_active_requests{",
        "service_version=\"",
        "otel_sdk_span_started_total{",
        "otel_sdk_exporter_span_exported_total",
        "process_cpu_seconds_total",
    ] {
        assert!(metrics.contains(text), "{text} is not in {metrics}");
    }
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    drained.join().unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0), "{rest}");
}

#[test]
fn what_the_environment_does_not_want_sent_is_not() {
    let collector = Collector::start(|_| Answer::Accept);
    let mut command = playground(&collector.grpc_endpoint(), &[]);
    command.envs([
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "console"),
    ]);
    let said = Said::by(&mut command);
    assert_eq!(said.code, Some(0), "{}", said.summary);
    for what in ["spans", "log records"] {
        let told = format!("{what} were not sent, as the environment says");
        assert!(said.summary.contains(&told), "{}", said.summary);
    }
    assert!(said.log.lines().count() > 12);
    assert!(said.queries().is_empty() && collector.exports().is_empty());
}
