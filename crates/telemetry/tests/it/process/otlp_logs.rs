//! Log records that arrive at a collector, beside the lines that stand on standard output.

use faults::{Answer, Collector, Failure};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use serde_json::{Value, json};

use super::{lines, of, records};

/// Scope and record, in the order of the requests.
fn arrived(collector: &Collector) -> Vec<(String, LogRecord)> {
    let mut found = Vec::new();
    for export in collector
        .exports()
        .into_iter()
        .filter(|export| export.taken())
    {
        for scope in export
            .logs
            .resource_logs
            .into_iter()
            .flat_map(|of| of.scope_logs)
        {
            let name = scope.scope.unwrap().name;
            let records = scope.log_records.into_iter();
            found.extend(records.map(|record| (name.clone(), record)));
        }
    }
    found
}

fn json(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(value)) => value.into(),
        Some(Any::IntValue(value)) => value.into(),
        Some(Any::DoubleValue(value)) if value.is_nan() => "NaN".into(),
        Some(Any::DoubleValue(value)) => value.into(),
        other => panic!("{other:?}"),
    }
}

fn attributes(list: Vec<KeyValue>) -> serde_json::Map<String, Value> {
    let pairs = list.into_iter();
    pairs.map(|pair| (pair.key, json(pair.value))).collect()
}

fn hex(id: &[u8]) -> Value {
    match id {
        [] => Value::Null,
        id => id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
    }
}

/// A line as it should be if it says what a record does, but for its time.
fn line(scope: String, mut record: LogRecord) -> Value {
    let attributes = attributes(std::mem::take(&mut record.attributes));
    let of_program = attributes
        .into_iter()
        .filter(|(name, _)| !name.starts_with("code."));
    let fields: serde_json::Map<_, _> = of_program.collect();
    json!({
        "level": record.severity_text,
        "target": scope,
        "trace_id": hex(&record.trace_id),
        "span_id": hex(&record.span_id),
        "trace_flags": if record.trace_id.is_empty() { Value::Null } else { format!("{:02x}", record.flags).into() },
        "message": json(record.body),
        "fields": if fields.is_empty() { Value::Null } else { fields.into() },
    })
}

fn sent(scenario: &str, collector: &Collector, more: &[(&str, &str)]) -> Vec<Value> {
    records(scenario, &variables(&collector.grpc_endpoint(), more))
}

fn variables<'v>(endpoint: &'v str, more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let mut variables = vec![
        ("OTEL_LOGS_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint),
        ("OTEL_SERVICE_NAME", "shop"),
    ];
    variables.extend(more);
    variables
}

#[test]
fn each_record_arrives_with_what_its_line_says() {
    for scenario in ["logs", "bridge", "hostile"] {
        let collector = Collector::start(|_| Answer::Accept);
        let lines = sent(scenario, &collector, &[("OTEL_TRACES_EXPORTER", "none")]);
        let records = arrived(&collector);
        // Those of telemetry itself stay here, and what a line says of its end came after the end.
        let told = |line: &&Value| {
            let target = line["target"].as_str().unwrap();
            !target.starts_with("otlp_pipeline") && target != "telemetry::guard"
        };
        let told: Vec<_> = lines.iter().filter(told).collect();
        assert_eq!(records.len(), told.len(), "{lines:#?}");
        assert!(!records.is_empty());
        for expected in told {
            let found = records.iter().find(|(scope, record)| {
                let line = line(scope.clone(), record.clone());
                let keys = line.as_object().unwrap().keys();
                keys.clone().all(|key| line[key] == expected[key])
            });
            assert!(
                found.is_some(),
                "{scenario}: {expected:#} is not among {records:#?}"
            );
        }
    }
}

#[test]
fn a_record_has_severity_times_place_resource_and_typed_attributes() {
    let collector = Collector::start(|_| Answer::Accept);
    sent("logs", &collector, &[]);
    let exports = collector.exports();
    let resource = exports[0].logs.resource_logs[0].resource.clone().unwrap();
    assert_eq!(attributes(resource.attributes)["service.name"], "shop");
    let records = arrived(&collector);
    let of = |message: &str| {
        let says = |(_, record): &&(_, LogRecord)| json(record.body.clone()) == message;
        records.iter().find(says).unwrap().1.clone()
    };
    let outside = of("outside");
    assert_eq!(
        (outside.severity_number, &*outside.severity_text),
        (9, "INFO")
    );
    assert!(outside.time_unix_nano > 1_700_000_000_000_000_000);
    assert_eq!(outside.time_unix_nano, outside.observed_time_unix_nano);
    assert_eq!(outside.event_name, "");
    let attributes = attributes(outside.attributes);
    let file = attributes["code.file.path"].as_str().unwrap();
    assert!(file.ends_with("process/scenarios.rs"), "{file}");
    assert!(attributes["code.line.number"].as_u64().unwrap() > 1);
    assert_eq!(
        (
            &attributes["number"],
            &attributes["real"],
            &attributes["yes"]
        ),
        (&json!(-1), &json!(0.5), &json!(true))
    );
    assert_eq!(attributes["error"], "outer: inner");
    let of_log = of("of log");
    assert_eq!(
        (of_log.severity_number, &*of_log.severity_text),
        (13, "WARN")
    );
    assert_eq!(of("named").event_name, "shop.opened");
}

#[test]
fn sending_log_records_makes_no_others() {
    let collector = Collector::start(|_| Answer::Accept);
    let more = [
        ("RUST_LOG", "trace"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
    ];
    let endpoint = collector.grpc_endpoint();
    let more = [&more[..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)]].concat();
    let lines = sent("bridge", &collector, &more);
    // They would have been heard.
    let of_export = |line: &Value| line["target"].as_str().unwrap().starts_with("h2::");
    assert!(lines.iter().any(of_export));
    let scopes: Vec<_> = arrived(&collector)
        .into_iter()
        .map(|(scope, _)| scope)
        .collect();
    assert!(
        scopes.iter().all(|scope| scope.starts_with("it::")),
        "{scopes:?}"
    );
    assert!(!scopes.is_empty());
}

#[test]
fn log_records_that_nobody_takes_are_told_by_lines_alone() {
    let collector = Collector::start(|export| match export.log_records().next() {
        Some(_) => Answer::Fail(Failure::new(12, 404, "unknown service")),
        None => Answer::Accept,
    });
    let endpoint = collector.grpc_endpoint();
    let more = [
        ("OTEL_BLRP_SCHEDULE_DELAY", "1"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
    ];
    let lines = sent("paced", &collector, &more);
    let told = of(&lines, "log records are dropped");
    assert_eq!(told.len(), 1, "{lines:#?}");
    let fields = &told[0]["fields"];
    assert_eq!(fields["reason"], "refused by the collector");
    assert!(
        fields["cause"].as_str().unwrap().contains("UNIMPLEMENTED"),
        "{fields}"
    );
    let ended = of(&lines, "ended")[0];
    let error = ended["fields"]["error"].as_str().unwrap();
    assert!(
        error.starts_with("5 log records were not delivered: 5 refused"),
        "{error}"
    );
    assert_eq!(ended["fields"]["refused"], 5);
    assert_eq!(ended["fields"]["spans"], 5);
    assert_eq!(collector.taken().len(), 0);
    let spans = collector
        .exports()
        .iter()
        .map(|export| export.spans().count())
        .sum::<usize>();
    assert_eq!(spans, 5);
}

#[test]
fn what_the_sdk_says_of_itself_is_not_sent_and_harms_nothing() {
    let collector = Collector::start(|_| Answer::Accept);
    sent("overflow", &collector, &[]);
    let records = arrived(&collector);
    assert_eq!(records.len(), 1, "{records:#?}");
}

#[test]
fn lines_and_records_are_asked_for_apart() {
    for (exporter, format, has_lines, has_records) in [
        ("none", "json", false, false),
        ("otlp", "json", false, true),
        ("otlp,console", "off", false, true),
        ("console", "json", true, false),
    ] {
        let collector = Collector::start(|_| Answer::Accept);
        let endpoint = collector.grpc_endpoint();
        let more = [("OTEL_LOGS_EXPORTER", exporter), ("TELEMETRY_LOGS", format)];
        // That nobody waited for the shutdown is said of telemetry, where it is said at all.
        let lines = lines("logs", &variables(&endpoint, &more)).into_iter();
        let lines: Vec<_> = lines
            .filter(|line| !line.contains("telemetry::guard"))
            .collect();
        assert_eq!(
            !lines.is_empty(),
            has_lines,
            "{exporter} {format}: {lines:?}"
        );
        assert_eq!(
            !arrived(&collector).is_empty(),
            has_records,
            "{exporter} {format}"
        );
    }
    let collector = Collector::start(|_| Answer::Accept);
    sent("logs", &collector, &[("OTEL_SDK_DISABLED", "true")]);
    assert!(collector.exports().is_empty());
}

#[test]
fn that_records_cannot_be_sent_is_said_where_no_other_lines_are() {
    let collector = Collector::start(|_| Answer::Fail(Failure::new(16, 401, "who are you")));
    let endpoint = collector.grpc_endpoint();
    let lines = lines(
        "logs",
        &variables(&endpoint, &[("OTEL_LOGS_EXPORTER", "otlp")]),
    );
    assert!(!lines.is_empty());
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let of_telemetry = [json!("otlp_pipeline"), json!("telemetry::guard")];
        assert!(of_telemetry.contains(&line["target"]), "{line}");
        assert_ne!(line["level"], "INFO", "{line}");
    }
}

#[test]
fn variables_of_log_records_reach_the_wire() {
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = collector.http_logs_endpoint();
    let more = [
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tok=a%20b"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
    ];
    sent("logs", &collector, &more);
    for export in collector.exports() {
        assert_eq!(export.path, "/v1/logs");
        assert!(export.compressed);
        assert_eq!(export.headers["x-tok"], "a b");
        assert_eq!(export.log_records().count(), 1);
    }
    let records = arrived(&collector).into_iter().map(|(_, record)| record);
    let outside = records
        .into_iter()
        .find(|record| json(record.body.clone()) == "outside");
    let clipped = attributes(outside.unwrap().attributes);
    assert_eq!(Value::from(clipped), json!({"text": "a \""}));
}

#[test]
fn a_flush_waits_for_both_signals() {
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = collector.grpc_endpoint();
    let more = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "3600000"),
    ];
    let lines = sent("flushed", &collector, &more);
    let told: Vec<_> = of(&lines, "so far")
        .iter()
        .map(|line| &line["fields"])
        .collect();
    assert_eq!(
        told,
        [
            &json!({"spans": 1, "logs": 1}),
            &json!({"spans": 2, "logs": 3})
        ]
    );
    assert_eq!(arrived(&collector).len(), 4);
}
