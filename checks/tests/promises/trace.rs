//! A trace as it arrived: fetched by its id from Tempo's API, which the embedded store and a real Tempo share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::StatusCode;
use serde_json::Value;

use crate::http;
use crate::lab::PATIENCE;

/// Attributes by key, values as text.
pub(crate) type Attributes = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    /// `code` or `code: message`.
    pub(crate) status: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<(String, Attributes)>,
    pub(crate) resource: Attributes,
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) spans: Vec<Span>,
}

impl Trace {
    /// Fetches a trace again and again until it has so many spans, or more.
    pub(crate) async fn of(store: &str, id: &str, spans: usize) -> Trace {
        let begun = tokio::time::Instant::now();
        loop {
            let trace = Trace::now(store, id).await;
            if trace.spans.len() >= spans {
                trace.assert_well_formed(id);
                return trace;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not {spans} spans:\n{}",
                trace.tree()
            );
            tokio::time::sleep(tokio::time::Duration::from_millis(20)).await;
        }
    }

    /// Fetches what there is of a trace.
    pub(crate) async fn now(store: &str, id: &str) -> Trace {
        let answer = http::get(&format!("{store}/api/v2/traces/{id}"), &[])
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{answer:#?}");
        Trace::parse(&serde_json::from_str(&answer.body).unwrap(), id)
    }

    fn parse(answer: &Value, trace_id: &str) -> Trace {
        let mut spans = Vec::new();
        for of_resource in list(&answer["trace"]["resourceSpans"]) {
            let resource = attributes(&of_resource["resource"]["attributes"]);
            for of_scope in list(&of_resource["scopeSpans"]) {
                for span in list(&of_scope["spans"]) {
                    assert_eq!(hex(&span["traceId"]), trace_id);
                    spans.push(Span {
                        id: hex(&span["spanId"]),
                        parent: hex(&span["parentSpanId"]),
                        service: resource["service.name"].trim_matches('"').to_owned(),
                        name: text(&span["name"]),
                        kind: text(&span["kind"]).replace("SPAN_KIND_", ""),
                        status: status(&span["status"]),
                        start: text(&span["startTimeUnixNano"]).parse().unwrap(),
                        end: text(&span["endTimeUnixNano"]).parse().unwrap(),
                        attributes: attributes(&span["attributes"]),
                        events: list(&span["events"]).map(event).collect(),
                        resource: resource.clone(),
                    });
                }
            }
        }
        spans.sort_by(|a, b| a.start.cmp(&b.start).then_with(|| a.name.cmp(&b.name)));
        Trace { spans }
    }

    /// The same trace under another name of a service.
    pub(crate) fn with_service(mut self, name: &str, other: &str) -> Trace {
        for span in self.spans.iter_mut().filter(|span| span.service == name) {
            span.service = other.to_owned();
        }
        self
    }

    /// The only span of this name and service.
    pub(crate) fn span(&self, service: &str, name: &str) -> &Span {
        let mut spans = self
            .spans
            .iter()
            .filter(|span| span.service == service && span.name == name);
        match (spans.next(), spans.next()) {
            (Some(span), None) => span,
            _ => panic!("not one {name} of {service} in\n{}", self.tree()),
        }
    }

    /// What holds for every trace of ours: unique ids that are not zero, times in order, no child that
    /// begins before its parent or ends after it (all of them wait for what they call).
    fn assert_well_formed(&self, trace_id: &str) {
        assert_ne!(trace_id.trim_start_matches('0'), "");
        let ids: BTreeSet<_> = self.spans.iter().map(|span| &span.id).collect();
        assert_eq!(
            ids.len(),
            self.spans.len(),
            "two spans with one id:\n{}",
            self.tree()
        );
        for span in &self.spans {
            assert_ne!(span.id.trim_start_matches('0'), "", "{span:#?}");
            assert!(0 < span.start && span.start <= span.end, "{span:#?}");
            for parent in self.spans.iter().filter(|other| other.id == span.parent) {
                let within = parent.start <= span.start && span.end <= parent.end;
                assert!(
                    within,
                    "{} is not within {}:\n{}",
                    span.name,
                    parent.name,
                    self.tree()
                );
            }
        }
    }

    /// Everything but ids, times and ports as indented text, with the resources of the services below.
    pub(crate) fn tree(&self) -> String {
        let ids: BTreeSet<_> = self.spans.iter().map(|span| &span.id).collect();
        let mut text = String::new();
        let roots = self.spans.iter().filter(|span| !ids.contains(&span.parent));
        let mut open: Vec<(usize, &Span)> = roots.rev().map(|root| (0, root)).collect();
        while let Some((depth, span)) = open.pop() {
            span.write(depth, &mut text);
            let children = self.spans.iter().filter(|child| child.parent == span.id);
            open.extend(children.rev().map(|child| (depth + 1, child)));
        }
        let resources: BTreeSet<_> = self.spans.iter().map(|span| &span.resource).collect();
        for resource in resources {
            writeln!(text, "\nresource").unwrap();
            write_attributes(resource, "  ", &mut text);
        }
        text
    }
}

impl Span {
    fn write(&self, depth: usize, text: &mut String) {
        let indent = "    ".repeat(depth);
        let Span {
            service,
            name,
            kind,
            status,
            ..
        } = self;
        writeln!(text, "{indent}{service}: {name} [{kind}, {status}]").unwrap();
        write_attributes(&self.attributes, &format!("{indent}  "), text);
        for (name, attributes) in &self.events {
            writeln!(text, "{indent}  event {name}").unwrap();
            write_attributes(attributes, &format!("{indent}    "), text);
        }
    }
}

fn write_attributes(attributes: &Attributes, indent: &str, text: &mut String) {
    for (key, value) in attributes {
        let value = match key.as_str() {
            // Only where this runs in a container.
            "container.id" => continue,
            "host.name" | "process.command_args" | "process.pid" | "service.instance.id" => "…",
            "process.runtime.description" => "…",
            key if key.ends_with(".port") => "PORT",
            _ => &without_ports(value),
        };
        writeln!(text, "{indent}{key} = {value}").unwrap();
    }
}

/// `127.0.0.1:1234` as `127.0.0.1:PORT`.
fn without_ports(value: &str) -> String {
    let Some((before, after)) = value.split_once("127.0.0.1:") else {
        return value.to_owned();
    };
    format!(
        "{before}127.0.0.1:PORT{}",
        after.trim_start_matches(|digit: char| digit.is_ascii_digit())
    )
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Ids are base64 in Tempo's JSON.
fn hex(id: &Value) -> String {
    let bytes = BASE64_STANDARD
        .decode(id.as_str().unwrap_or_default())
        .unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn event(event: &Value) -> (String, Attributes) {
    (text(&event["name"]), attributes(&event["attributes"]))
}

fn status(status: &Value) -> String {
    let code = status["code"]
        .as_str()
        .unwrap_or("STATUS_CODE_UNSET")
        .replace("STATUS_CODE_", "");
    match status["message"].as_str() {
        None | Some("") => code,
        Some(message) => format!("{code}: {message}"),
    }
}

fn attributes(attributes: &Value) -> Attributes {
    let mut found = Attributes::new();
    for attribute in list(attributes) {
        let value = any_value(&attribute["value"]);
        let twice = found.insert(text(&attribute["key"]), value);
        assert_eq!(
            twice, None,
            "an attribute that is there twice: {attributes:#}"
        );
    }
    found
}

fn any_value(value: &Value) -> String {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("stringValue", Value::String(text)) => format!("{text:?}"),
        ("arrayValue", array) => {
            let values: Vec<_> = list(&array["values"]).map(any_value).collect();
            format!("[{}]", values.join(", "))
        }
        ("intValue", Value::String(number)) => number.clone(),
        (_, other) => other.to_string(),
    }
}
