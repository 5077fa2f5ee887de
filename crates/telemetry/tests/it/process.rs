//! What is global, tried in a process of its own: this one, executed again.

mod otlp_logs;
mod scenarios;

use std::{
    collections::HashSet,
    env,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use faults::{Answer, Authority, Collector, Failure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Which scenario a process is to play.
const SCENARIO: &str = "TELEMETRY_TEST_SCENARIO";

/// Not a test, but where the other process begins.
#[test]
fn scenario() {
    if let Ok(name) = env::var(SCENARIO) {
        scenarios::play(&name);
    }
}

/// A process with only these variables of telemetry.
fn start(scenario: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    // With one thread the name of the test would stand in the first line.
    command.args([
        "--exact",
        "process::scenario",
        "--nocapture",
        "--test-threads=2",
    ]);
    let inherited = env::vars().filter(|(name, _)| name.starts_with("OTEL_"));
    for name in inherited
        .map(|(name, _)| name)
        .chain(["RUST_LOG".to_owned()])
    {
        command.env_remove(name);
    }
    command.env("OTEL_TRACES_EXPORTER", "none");
    command
        .env(SCENARIO, scenario)
        .envs(variables.iter().copied());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The lines that a process writes to its standard output, without those of the test harness.
fn lines(scenario: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let output = start(scenario, variables).wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{scenario}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let of_harness = |line: &&str| {
        line.is_empty() || line.starts_with("running 1 test") || line.starts_with("test ")
    };
    let lines = text.lines().filter(|line| !of_harness(line));
    lines.map(str::to_owned).collect()
}

fn records(scenario: &str, variables: &[(&str, &str)]) -> Vec<Value> {
    let lines = lines(scenario, variables);
    let record =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line:?}"));
    lines.iter().map(record).collect()
}

/// The records of a message.
fn of<'r>(records: &'r [Value], message: &str) -> Vec<&'r Value> {
    let found = records.iter().filter(|record| record["message"] == message);
    found.collect()
}

#[test]
fn telemetry_starts_once_in_a_process() {
    let records = records("twice", &[]);
    let told = "telemetry is initialized already, which can be done once in a process";
    assert_eq!(of(&records, told).len(), 1, "{records:?}");
}

#[test]
fn a_service_has_the_name_and_the_version_of_the_package_that_starts_telemetry() {
    let records = records("package", &[]);
    let told = of(&records, "package");
    assert_eq!(told[0]["fields"]["name"], "telemetry");
    assert_eq!(told[0]["fields"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told[0]["service.name"], "telemetry");
}

#[test]
fn spans_and_headers_of_the_global_api_are_those_of_telemetry() {
    let records = records("global", &[("OTEL_PROPAGATORS", "jaeger")]);
    let told = of(&records, "headers")[0];
    let (trace, header) = (
        told["trace_id"].as_str().unwrap(),
        told["fields"]["uber-trace-id"].as_str().unwrap(),
    );
    assert!(header.starts_with(trace), "{told}");
}

#[test]
fn bad_variables_are_logged_and_stop_nothing() {
    let records = records(
        "package",
        &[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%ff"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"),
        ],
    );
    let told: Vec<_> = records
        .iter()
        .filter(|record| record["level"] == "WARN")
        .collect();
    let messages: Vec<_> = told
        .iter()
        .map(|record| record["message"].as_str().unwrap())
        .collect();
    let expected = [
        "OTEL_TRACES_SAMPLER: `jaeger_remote` is not supported; using parentbased_always_on",
        "OTEL_EXPORTER_OTLP_HEADERS: `a` is not UTF-8 when decoded; using the pairs that are good",
        "OTEL_EXPORTER_OTLP_CERTIFICATE: `/nowhere` cannot be read: No such file or directory (os error 2); \
         using the certificates of the system",
    ];
    assert_eq!(messages, expected);
    assert_eq!(of(&records, "package").len(), 1);
}

#[test]
fn at_a_signal_a_service_is_unready_and_then_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = start("stop", &[]);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(told(&mut output, "listening").contains("true"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        told(&mut output, "draining");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn in_the_delay_a_service_is_unready_and_a_second_signal_ends_it_at_once() {
    let mut child = start("stop_late", &[]);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    told(&mut output, "listening");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    told(&mut output, "unready");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("told to stop again"), "{rest}");
    assert!(!rest.contains("draining"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// A hundred at once are a thousand a second of a tenth each.
#[test]
fn no_request_that_is_open_at_a_signal_fails_and_each_has_its_span() {
    const OPEN: usize = 100;
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = collector.grpc_endpoint();
    let variables = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        // Only the shutdown sends.
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    let mut child = start("busy", &variables);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let listening: Value = serde_json::from_str(&told(&mut output, "listening")).unwrap();
    let address = listening["fields"]["address"].as_str().unwrap().to_owned();
    let asked: Vec<_> = (0..OPEN)
        .map(|nth| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let limit = Some(Duration::from_secs(60));
            stream.set_read_timeout(limit).unwrap();
            let request = format!("GET /slow/{nth} HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..OPEN {
        told(&mut output, "asked");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    for (nth, mut stream) in asked.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        assert!(answer.ends_with(&format!("\r\n\r\n{nth}")), "{answer:?}");
    }
    told(&mut output, "stopped");
    assert!(child.wait().unwrap().success());
    let exports = collector.exports();
    let spans = exports.iter().flat_map(faults::Export::spans);
    let traces: HashSet<_> = spans.map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), OPEN);
}

/// Waits for a line with this message.
fn told(output: &mut impl BufRead, message: &str) -> String {
    let mut line = String::new();
    while !line.contains(&format!("\"message\":\"{message}\"")) {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "{message}");
    }
    line
}

#[test]
fn a_json_record_says_when_where_and_in_which_span() {
    let records = records("logs", &[("OTEL_SERVICE_NAME", "shop")]);
    let record = of(&records, "outside")[0];
    let time: jiff::Timestamp = record["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(
        time.duration_until(jiff::Timestamp::now()).as_secs() < 600,
        "{record}"
    );
    assert_eq!(record["level"], "INFO");
    assert_eq!(record["target"], "it::process::scenarios");
    assert_eq!(record["service.name"], "shop");
    assert_eq!(record["trace_id"], Value::Null);
    assert_eq!(
        record["fields"],
        serde_json::json!({
            "text": "a \"b\"", "number": -1, "big": "340282366920938463463374607431768211455", "real": 0.5,
            "none": "NaN", "yes": true, "debug": "Some(1)", "error": "outer: inner",
        })
    );

    let inside = of(&records, "inside");
    let ids = &inside[0]["fields"];
    for record in &inside {
        assert_eq!(record["trace_id"], ids["trace"], "{record}");
        assert_eq!(record["span_id"], ids["span"], "{record}");
        assert_eq!(record["trace_flags"], "01", "{record}");
    }
    assert_eq!(of(&records, "of log")[0]["target"], "elsewhere");
    assert!(of(&records, "too fine").is_empty());
}

#[test]
fn nothing_that_is_logged_breaks_a_record_or_stands_for_another() {
    for format in ["json", "text"] {
        let lines = lines("hostile", &[("TELEMETRY_LOGS", format)]);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        for line in &lines {
            assert!(
                !line.contains(|c: char| c.is_control() || "\u{2028}\u{202e}".contains(c)),
                "{line:?}"
            );
            match format {
                "json" => {
                    let record: Value = serde_json::from_str(line).unwrap();
                    assert_eq!(record["trace_id"], Value::Null, "{line}");
                    assert_eq!(record["level"], "INFO", "{line}");
                    assert_eq!(record["service.name"], "telemetry", "{line}");
                }
                _ => {
                    let (_time, rest) = line.split_once(' ').unwrap();
                    assert!(rest.starts_with(" INFO [-] telemetry "), "{line}");
                }
            }
        }
    }
}

#[test]
fn a_line_for_people_has_the_ids_first() {
    let lines = lines(
        "logs",
        &[("TELEMETRY_LOGS", "text"), ("OTEL_SERVICE_NAME", "shop")],
    );
    let inside: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(": inside"))
        .collect();
    let (_, ids) = inside[0].split_once('[').unwrap();
    let (ids, rest) = ids.split_once("] ").unwrap();
    let (trace, span) = ids.split_once('-').unwrap();
    let told = format!("shop it::process::scenarios: inside trace=\"{trace}\" span=\"{span}\"");
    assert_eq!(rest, told);
    let outside = lines
        .iter()
        .find(|line| line.contains(": outside"))
        .unwrap();
    assert!(
        outside.contains(" INFO [-] shop it::process::scenarios: outside text=\"a \\\"b\\\"\""),
        "{outside}"
    );
}

#[test]
fn the_filter_is_that_of_rust_log() {
    let records = records("logs", &[("RUST_LOG", "off,it=trace")]);
    assert_eq!(of(&records, "too fine").len(), 1);
    assert!(of(&records, "of log").is_empty());
    assert!(lines("logs", &[("TELEMETRY_LOGS", "off")]).is_empty());
}

#[test]
fn what_the_sdk_says_of_itself_is_in_the_log_and_harms_nothing() {
    let records = records("overflow", &[]);
    let told = records
        .iter()
        .find(|record| record["fields"]["name"] == "Context.AttachFailed");
    assert_eq!(told.unwrap()["target"], "opentelemetry");
    let silent = ("OTEL_LOG_LEVEL", "none");
    let records = self::records("overflow", &[silent]);
    assert_eq!(records.len(), 1, "{records:?}");
}

#[test]
fn a_subscriber_of_the_program_goes_on() {
    let variables = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "xray"),
    ];
    let lines = lines("subscriber", &variables);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("the process has logs of its own"),
        "{lines:?}"
    );
    // Of a bad variable only we complain, and not the SDK too.
    assert!(
        lines[1].contains("OTEL_TRACES_SAMPLER: `xray`"),
        "{lines:?}"
    );
    assert!(lines[2].contains("mine"), "{lines:?}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    for exporter in ["none", "console"] {
        for format in ["json", "text"] {
            let mut child = start(
                "many",
                &[
                    ("OTEL_TRACES_EXPORTER", exporter),
                    ("TELEMETRY_LOGS", format),
                ],
            );
            // The harness has to write its first lines, and then nobody reads any more.
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("running 1 test") {
                line.clear();
                assert_ne!(output.read_line(&mut line).unwrap(), 0);
            }
            drop(output);
            drop(child.stdin.take());
            let mut errors = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut errors)
                .unwrap();
            let _ = child.wait().unwrap();
            // The harness itself minds.
            assert!(errors.contains("many: all of it done"), "{errors}");
        }
    }
}

#[test]
fn spans_on_the_console_are_json_lines() {
    let records = records("console", &[("OTEL_TRACES_EXPORTER", "console")]);
    assert_eq!(records.len(), 2, "{records:#?}");
    let (child, parent) = (&records[0], &records[1]);
    assert_eq!(child["span"], "child\nwith a line");
    assert_eq!(child["parent_span_id"], parent["span_id"]);
    assert_eq!(child["trace_id"], parent["trace_id"]);
    assert_eq!(child["status"], "error");
    assert_eq!(child["status_description"], "broken");
    assert_eq!(
        child["attributes"],
        serde_json::json!({"a": 1, "b": ["x", "y"], "c": "d"})
    );
    assert_eq!(child["events"][0]["event"], "e");
    assert_eq!(
        child["events"][0]["attributes"],
        serde_json::json!({"k": true})
    );
    assert_eq!(parent["service.name"], "telemetry");
    assert_eq!(parent["kind"], "server");
    assert_eq!(parent["parent_span_id"], Value::Null);
    assert_eq!(parent["scope"], "t");
    let start: Result<jiff::Timestamp, _> = parent["start"].as_str().unwrap().parse();
    assert!(
        start.is_ok() && parent["duration_ms"].as_f64().unwrap() >= 0.0,
        "{parent}"
    );
}

#[test]
fn macros_of_tracing_make_spans_if_asked_to() {
    let records = records("bridge", &[("OTEL_TRACES_EXPORTER", "console")]);
    let spans: Vec<_> = records
        .iter()
        .filter(|record| record["span"].is_string())
        .collect();
    let names: Vec<_> = spans
        .iter()
        .map(|span| span["span"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["inner", "outer"], "{records:#?}");
    assert_eq!(spans[0]["parent_span_id"], spans[1]["span_id"]);
    let attributes = spans[1]["attributes"].as_object().unwrap();
    let names: Vec<_> = attributes
        .keys()
        .filter(|name| !name.ends_with("_ns"))
        .collect();
    assert_eq!(names, ["user"], "{attributes:?}");
    // The log knows where it is.
    let inside = of(&records, "inside")[0];
    assert_eq!(inside["trace_id"], spans[0]["trace_id"]);
    assert_eq!(inside["span_id"], spans[0]["span_id"]);
    assert_eq!(
        inside["spans"],
        serde_json::json!([{"name": "outer", "fields": {"user": "bob"}}, {"name": "inner"}])
    );
    let named = of(&records, "named")[0];
    assert_eq!(named["span_id"], spans[1]["span_id"]);
}

#[test]
fn exporting_spans_of_tracing_makes_no_others() {
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = collector.grpc_endpoint();
    let variables = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("RUST_LOG", "trace"),
    ];
    let records = records("bridge", &variables);
    // It would have been heard.
    assert!(
        records
            .iter()
            .any(|record| record["target"].as_str().unwrap().starts_with("h2::"))
    );
    let exports = collector.exports();
    let spans = exports.iter().flat_map(|export| export.spans());
    let mut names: Vec<_> = spans.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["inner", "outer"]);
}

/// `SSL_CERT_FILE` says where they are, in place of where systems have them.
#[test]
fn the_certificates_of_the_system_are_trusted() {
    let authority = Authority::new("ours");
    let tls = authority.issue(&["127.0.0.1"]).server(&["h2"], None);
    let collector = Collector::start_with(Some(tls), |_| Answer::Accept);
    let endpoint = collector.grpc_endpoint();
    let folder = tempfile::tempdir().unwrap();
    let said = |certificates: &str| {
        let file = folder.path().join("certificates.pem");
        std::fs::write(&file, certificates).unwrap();
        let variables = [
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
            ("SSL_CERT_FILE", file.to_str().unwrap()),
        ];
        let records = records("sent", &variables);
        records.last().unwrap().clone()
    };
    let sent = said(&authority.certificate());
    assert_eq!(sent["fields"]["exported"], 1, "{sent}");
    let other = said(&Authority::new("other").certificate());
    let error = other["fields"]["error"].as_str().unwrap();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[test]
fn what_is_lost_for_want_of_a_shutdown_is_logged() {
    let collector = Collector::start(|_| Answer::Fail(Failure::invalid()));
    let endpoint = collector.grpc_endpoint();
    let variables = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
    ];
    let records = records("dropped", &variables);
    let told = of(&records, "telemetry was dropped without a shutdown")[0];
    assert_eq!(told["level"], "ERROR");
    let error = told["fields"]["error"].as_str().unwrap();
    assert!(
        error.starts_with("3 spans were not delivered: 3 refused"),
        "{error}"
    );
    // The pipeline speaks for itself as well.
    let warns = |record: &Value| record["target"] == "otlp_pipeline" && record["level"] != "INFO";
    assert!(records.iter().any(warns), "{records:#?}");
}

#[test]
fn a_storm_of_callers_that_want_to_be_sampled_is_one_line_in_the_log() {
    let variables = [
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        // One token, and the next in a quarter of an hour.
        ("TELEMETRY_REMOTE_TRACES_PER_SECOND", "0.001"),
    ];
    let records = records("storm", &variables);
    assert_eq!(records.len(), 2, "{records:#?}");
    assert_eq!(records[0]["level"], "WARN");
    assert_eq!(
        records[0]["fields"],
        serde_json::json!({"limit": 0.001, "refused": 1})
    );
    let counted = serde_json::json!({"sampled": 1, "limited": 999});
    assert_eq!(records[1]["fields"], counted);
}

#[test]
fn a_storm_of_bad_trace_headers_is_one_line_in_the_log() {
    let records = records("bad_headers", &[]);
    assert_eq!(records.len(), 2, "{records:#?}");
    assert_eq!(records[0]["level"], "WARN");
    let why = serde_json::json!({"header": "traceparent", "kind": "length"});
    assert_eq!(records[0]["fields"], why);
    assert_eq!(records[1]["fields"], serde_json::json!({"total": 1000}));
}
