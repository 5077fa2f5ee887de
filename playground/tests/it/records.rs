//! The log records of a run.

use std::collections::{BTreeMap, BTreeSet};

use faults::{Answer, Collector};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::Value;

use crate::{
    run::{Said, playground},
    store::Store,
};

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn each_trace_has_its_log_records_under_ids_of_its_spans() {
    let collector = Collector::start(|_| Answer::Accept);
    let endpoint = collector.grpc_endpoint();
    let said = Said::by(&mut playground(
        &endpoint,
        &["--requests", "24", "--seed", "3"],
    ));
    assert_eq!(said.code, Some(0), "{}", said.summary);

    let exports = collector.exports();
    let spans = exports.iter().flat_map(|export| export.spans());
    let spans: BTreeSet<_> = spans
        .map(|span| (hex(&span.trace_id), hex(&span.span_id)))
        .collect();
    let mut records = BTreeMap::<_, Vec<_>>::new();
    for record in exports.iter().flat_map(|export| export.log_records()) {
        let ids = (hex(&record.trace_id), hex(&record.span_id));
        let Some(Any::StringValue(body)) = record.body.clone().unwrap().value else {
            panic!("{record:?}");
        };
        assert!(spans.contains(&ids), "{record:?}");
        let said = (ids.1, record.severity_text.clone(), body);
        records.entry(ids.0).or_default().push(said);
    }
    let traces = said.traces();
    assert_eq!(records.len(), traces.len());
    for trace in traces {
        let records = &records[&trace.id];
        let count = |wanted: &str| records.iter().filter(|(.., body)| body == wanted).count();
        let failed = usize::from(trace.marks.contains("failed"));
        let ends = (count("request"), count("answered"), count("failed"));
        assert_eq!(ends, (1, 1 - failed, failed), "{records:?}");
        let warns = |about: &str| {
            let mut warnings = records.iter().filter(|(_, severity, _)| severity == "WARN");
            warnings.any(|(.., body)| body.contains(about))
        };
        let repeats = warns("is asked again");
        assert_eq!(repeats, trace.marks.contains("retried"), "{records:?}");
        let is_report = trace.request.contains("/reports/");
        assert_eq!(warns("has no index"), is_report, "{records:?}");
    }

    // The lines on standard output say the same.
    let mut lines = lines(&said);
    for list in lines.values_mut().chain(records.values_mut()) {
        list.sort();
    }
    assert_eq!(lines, records);
}

/// Span, level and message of each line of the log, by trace.
fn lines(said: &Said) -> BTreeMap<String, Vec<(String, String, String)>> {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for line in said.log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        if line["target"] != "otlp_pipeline" {
            let said = (text("span_id"), text("level"), text("message"));
            lines.entry(text("trace_id")).or_default().push(said);
        }
    }
    lines
}

#[test]
fn a_store_has_the_log_records_of_each_trace() {
    let store = Store::start();
    let said = Said::by(&mut playground(store.endpoint(), &["--seed", "5"]));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    let mut lines = lines(&said);
    assert_eq!(lines.len(), 12);
    let all: usize = lines.values().map(Vec::len).sum();
    let told = format!("log records: {all} of {all} arrived");
    assert!(said.summary.contains(&told), "{}", said.summary);
    for trace in said.traces() {
        let answer = store.json(&format!("/logs.json?trace={}", trace.id));
        let mut found = Vec::new();
        for record in answer["records"].as_array().unwrap() {
            assert_eq!(record["traceId"], trace.id);
            assert_eq!(record["service"], "playground");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let body = text(&record["body"]["stringValue"]);
            found.push((text(&record["spanId"]), text(&record["severityText"]), body));
        }
        let mut lines = lines.remove(&trace.id).unwrap();
        found.sort();
        lines.sort();
        assert_eq!(found, lines, "{}", trace.request);
    }
}
