use super::*;

fn line(part: &'static str, text: &str) -> Line {
    Line {
        part,
        stream: Stream::Stdout,
        time: UNIX_EPOCH,
        text: text.to_owned(),
    }
}

/// The bodies and traces of what these lines make.
fn read(part: &'static str, text: &str) -> Vec<(String, Option<String>)> {
    let mut blocks = Blocks::default();
    let lines = text.lines().map(|text| line(part, text));
    let mut records: Vec<_> = lines.filter_map(|line| blocks.line(line)).collect();
    let late = UNIX_EPOCH + Duration::from_secs(60);
    records.extend(blocks.ended(late));
    let told = |record: Record| (record.body, record.trace);
    records.into_iter().map(told).collect()
}

#[test]
fn a_block_is_one_record_of_the_trace_that_its_header_names() {
    let request =
        "Request: {\n  \"host\": \"a\",\n  \"uber-trace-id\": \"5737C004a641f579:1:0:1\"\n}";
    let response = "Response: 200 OK <!DOCTYPE html>\n<html>\n  <p>\n</html>";
    let records = read("uservice1", &format!("{request}\n{response}"));
    let trace = Some(format!("{}5737c004a641f579", "0".repeat(16)));
    let expected = [(request.to_owned(), trace), (response.to_owned(), None)];
    assert_eq!(records, expected);
}

#[test]
fn what_a_stranger_sends_forges_no_trace() {
    let id = "0af7651916cd43dd8448eb211c80319c";
    for header in [
        // Escaped, as the services print it.
        format!("\"x\": \"\\n  \\\"uber-trace-id\\\": \\\"{id}:1:0:1\\\"\""),
        format!("\"uber-trace-id\": [\"{id}:1:0:1\", \"{id}:1:0:1\"]"),
        format!("\"uber-trace-id\": \"{id}0:1:0:1\""),
        format!("\"uber-trace-id\": \"{id}:1:0\""),
        format!("\"uber-trace-id\": \"{id}::0:1\""),
        format!("\"uber-trace-id\": \"{id}:1:0:1 \""),
        format!("\"uber-trace-id\": \"{}:1:0:1\"", "0".repeat(32)),
        format!("\"uber-trace-id\": \"{id}:1:0:1"),
        format!(" \"uber-trace-id\": \"{id}:1:0:1\""),
    ] {
        let records = read("uservice1", &format!("Request: {{\n  {header}\n}}"));
        assert_eq!(records.len(), 1, "{header}");
        assert_eq!(records[0].1, None, "{header}");
    }
    // The page of a peer is no block of headers.
    let page = format!("Response: 200 OK\n  \"uber-trace-id\": \"{id}:1:0:1\"\n}}");
    assert_eq!(read("uservice1", &page)[0].1, None);
    let encoded = format!("Request: {{\n  \"uber-trace-id\": \"{id}%3A1%3a0%3A1\",\n}}");
    assert_eq!(read("uservice1", &encoded)[0].1.as_deref(), Some(id));
}

#[test]
fn an_object_says_what_it_is() {
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let access = json!({
        "time": "2026-01-01T00:00:00.000Z", "severity": "INFO", "service.name": "edge", "method": "GET",
        "host": "uservice1.localhost", "path": "/", "status": 502, "trace_id": trace, "span_id": span,
    });
    let read = record(line("edge", &access.to_string()));
    assert_eq!(read.body, "GET uservice1.localhost/ 502");
    assert_eq!(read.severity, Severity::Error);
    assert_eq!(
        (read.trace.as_deref(), read.span.as_deref()),
        (Some(trace), Some(span))
    );
    let otlp = read.otlp();
    assert_eq!(otlp["attributes"][3], attribute("status", &json!(502)));
    assert_eq!(otlp["attributes"][3]["value"]["intValue"], "502");

    let event = json!({
        "timestamp": "…", "level": "WARN", "service.name": "renamed", "message": "{\"trace_id\":\"forged\"}",
        "fields": {"spans": 3}, "trace_id": "00", "span_id": span,
    });
    let read = record(line("edge", &event.to_string()));
    assert_eq!(read.service, "renamed");
    assert_eq!(read.severity, Severity::Warn);
    assert_eq!(read.body, "{\"trace_id\":\"forged\"}");
    assert_eq!((read.trace, read.span), (None, None));
    assert_eq!(read.attributes["spans"], 3);

    let text = record(line("edge", "listening on [::1]:8000"));
    assert_eq!(
        (text.body.as_str(), text.severity),
        ("listening on [::1]:8000", Severity::Info)
    );
}

#[test]
fn a_block_is_whole_even_if_its_lines_come_slowly() {
    let mut blocks = Blocks::default();
    assert_eq!(blocks.line(line("uservice1", "Request: {")), None);
    assert_eq!(blocks.ended(UNIX_EPOCH + Duration::from_secs(1)), []);
    assert_eq!(blocks.line(line("uservice1", "  \"a\": \"b\"")), None);
    assert_eq!(blocks.line(line("uservice1", "}")), None);
    let records = blocks.ended(UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(records[0].body, "Request: {\n  \"a\": \"b\"\n}");
    assert!(blocks.is_empty());
    // Nor does one wait for ever.
    blocks.line(line("uservice1", "Request: {"));
    assert_eq!(blocks.ended(UNIX_EPOCH + Duration::from_secs(3)).len(), 1);
}
