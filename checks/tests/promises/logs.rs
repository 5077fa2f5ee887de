//! What conf/alloy makes of what containers print, and whether Loki finds it.
//!
//! With `ALLOY` and `LOKI` set to the programs, real ones read files as Docker writes them, with the lab's own lines and
//! worse ones in them; else only names are compared. No registry of programs has either, so `.ci/run` sets neither.

mod collectors;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use self::collectors::Collectors;
use crate::dashboards::queries::filled;
use crate::http::visit;
use crate::lab::{Lab, PATIENCE};
use crate::repository;
use crate::trace::Trace;

const LABELS: [&str; 3] = ["service_name", "stream", "level"];
const METADATA: [&str; 2] = ["trace_id", "span_id"];

#[test]
fn panels_and_links_ask_for_labels_that_alloy_sets_and_ids_are_no_labels() {
    let alloy = repository::read("conf/alloy/config.alloy");
    let values = |stage: &str| -> BTreeSet<String> {
        let begin = format!("stage.{stage} {{");
        let stages = alloy.split(begin.as_str()).skip(1);
        let names = stages.flat_map(|rest| {
            let values = rest.split("values = {").nth(1).unwrap();
            let values = values.split('}').next().unwrap().split(',');
            values.map(|value| value.split('=').next().unwrap().trim().to_owned())
        });
        names.collect()
    };
    assert_eq!(values("labels"), LABELS.map(str::to_owned).into());
    let ids = METADATA.map(str::to_owned).into();
    assert_eq!(values("structured_metadata"), ids);
    let sources = repository::read("conf/grafana/provisioning/datasources/datasources.yaml");
    let link = sources.split("query: '").nth(1).unwrap();
    let mut queries: Vec<_> = filled("loki").into_iter().map(|query| query.text).collect();
    assert!(queries.len() > 4, "{queries:#?}");
    queries.push(link.split('\'').next().unwrap().to_owned());
    for query in queries {
        // A matcher is a name before an operator and a quoted value.
        for operator in ["=~\"", "!=\"", "=\"", " = \"", " != \"", " =~ `"] {
            let parts: Vec<_> = query.split(operator).collect();
            for before in &parts[..parts.len() - 1] {
                let name = before
                    .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next()
                    .unwrap();
                let known = LABELS.contains(&name) || METADATA.contains(&name);
                assert!(known, "{query} asks for {name}");
            }
        }
    }
}

const ID: &str = "d45a00b286b565f55d5a5e89ddfaa7ad";
const FORGED: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

#[tokio::test]
async fn a_visit_is_found_in_the_logs_of_all_who_were_told_of_its_trace_even_of_the_blind() {
    let Some(collectors) = Collectors::start().await else {
        return;
    };
    let lab = Lab::start(&[]).await;
    let seen = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&lab.url("tracestore"), &seen, 7).await;
    visit(&lab.url("edge"), "uservice1.localhost").await;
    lab.process.says("\"host\":\"uservice1.localhost\"").await;
    let parts = ["edge", "uservice1", "uservice2", "uservice3", "uservice4"];
    let mut containers = parts.map(|part| (part, collectors.container(part)));
    let mut blind = String::new();
    for line in lab.process.log().lines() {
        let Some((part, text)) = line.split_once(" | ") else {
            continue;
        };
        let Some((_, container)) = containers.iter_mut().find(|(name, _)| *name == part.trim())
        else {
            continue;
        };
        container.prints("stdout", text);
        if text.contains("\"host\":\"uservice1.localhost\"") {
            let access: Value = serde_json::from_str(text).unwrap();
            blind = access["trace_id"].as_str().unwrap().to_owned();
        }
    }
    let query = |id: &str| format!("{{service_name=~\".+\"}} | trace_id = \"{id}\"");
    let records = collectors.records(&query(&seen), 3).await;
    let services: BTreeSet<_> = records
        .iter()
        .map(|record| record.service.as_str())
        .collect();
    assert_eq!(services, BTreeSet::from(["edge", "uservice3", "uservice4"]));
    let records = collectors.records(&query(&blind), 2).await;
    let services: BTreeMap<_, _> = records
        .iter()
        .map(|record| (record.service.as_str(), record.text.as_str()))
        .collect();
    assert!(
        services["uservice1"].starts_with("Request: {\n") && services["uservice1"].ends_with("\n}")
    );
    assert!(services.contains_key("edge"));

    // Every panel has something to show.
    containers[0]
        .1
        .prints("stderr", r#"{"severity":"ERROR","message":"e"}"#);
    for query in filled("loki") {
        let begun = Instant::now();
        while collectors.ask(&query.text).await.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{query:?} finds nothing");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_stranger_neither_forges_a_trace_id_nor_breaks_a_record() {
    let Some(collectors) = Collectors::start().await else {
        return;
    };
    let header =
        |value: &str| format!("Request: {{\n  \"host\": \"h\",\n{value}\n  \"z\": \"z\"\n}}");
    let id = |value: &str| header(&format!("  \"uber-trace-id\": \"{value}\","));
    let short = format!("{:032x}", 0x7b);
    // What is printed, as whose, and what trace it is of.
    let texts = [
        ("uservice1", id(&format!("{ID}:1:0:1")), Some(ID)),
        (
            "uservice1",
            id(&format!("{}%3A1%3A0%3A1", ID.to_uppercase())),
            Some(ID),
        ),
        ("uservice1", id("7b:1:0:1"), Some(short.as_str())),
        ("uservice2", id("0:1:0:1"), None),
        ("uservice2", id(&format!("{ID}0:1:0:1")), None),
        ("uservice2", id(&format!("{ID}:1:0")), None),
        ("uservice2", id(&format!("{ID}\\n:1:0:1")), None),
        // Two headers, one of them a stranger's: whose is it?
        (
            "uservice3",
            header(&format!(
                "  \"uber-trace-id\": [\n    \"{ID}:1:0:1\",\n    \"{FORGED}:1:0:1\"\n  ],"
            )),
            None,
        ),
        // In another header, whose quotes are escaped.
        (
            "uservice3",
            header(&format!(
                "  \"a\": \"\\\",\\n  \\\"uber-trace-id\\\": \\\"{FORGED}:1:0:1\\\"\","
            )),
            None,
        ),
        // In the answer of a peer.
        (
            "uservice3",
            format!("Response: 200 OK <p>\n  \"uber-trace-id\": \"{FORGED}:1:0:1\",\n}}"),
            None,
        ),
        (
            "edge",
            json!({"trace_id": ID, "path": format!("/\",\"trace_id\":\"{FORGED}")}).to_string(),
            Some(ID),
        ),
        (
            "edge",
            json!({"error": format!("trace_id={FORGED} \u{1b}[31m \u{0} \u{fffd}")}).to_string(),
            None,
        ),
        (
            "edge",
            json!({"trace_id": null, "message": {"trace_id": FORGED}}).to_string(),
            None,
        ),
        ("edge", format!("{{\"trace_id\":\"{FORGED}\""), None),
        ("edge", format!("trace_id={FORGED} \u{1b}[31m\u{0}"), None),
        (
            "traefik",
            json!({"trace_id": "0".repeat(32)}).to_string(),
            None,
        ),
        ("traefik", String::new(), None),
    ];
    let mut containers = BTreeMap::new();
    for (service, text, _) in &texts {
        let container = containers
            .entry(*service)
            .or_insert_with(|| collectors.container(service));
        container.prints("stdout", text);
    }
    // Of another project on this machine, and what a crash may leave in a file.
    collectors.container("").prints("stdout", "a stranger's");
    let edge = containers.get_mut("edge").unwrap();
    edge.file.write_all(b"\0\0\0\n").unwrap();
    // Docker does not write what is no UTF-8, and other runtimes might.
    let raw = b"{\"log\":\"raw \xff\xfe\\n\",\"stream\":\"stdout\",\"time\":\"NOW\",\"attrs\":\
        {\"com.docker.compose.service\":\"edge\"}}\n";
    edge.file.write_all(raw).unwrap();
    let everything = "{service_name=~\".+\"}";
    let records = collectors.records(everything, texts.len() + 1).await;
    assert!(
        records
            .iter()
            .any(|record| record.text == "raw \u{fffd}\u{fffd}"),
        "{records:#?}"
    );
    for (service, text, trace_id) in &texts {
        let found = records
            .iter()
            .find(|record| record.text == *text && record.service == *service);
        let found = found.unwrap_or_else(|| panic!("no {text:?} in {records:#?}"));
        assert_eq!(found.trace_id.as_deref(), *trace_id, "{text}");
    }
}

#[tokio::test]
async fn levels_are_four_words_and_error_output_stays_apart() {
    let Some(collectors) = Collectors::start().await else {
        return;
    };
    let span =
        json!({"trace_id": ID, "span_id": "9a82a181d0db7edd", "severity": "WARN"}).to_string();
    let texts = [
        (
            "traefik",
            "stdout",
            r#"{"level":"info","DownstreamStatus":502}"#,
            "error",
        ),
        (
            "traefik",
            "stdout",
            r#"{"level":"info","DownstreamStatus":200}"#,
            "info",
        ),
        ("edge", "stdout", r#"{"status":503}"#, "error"),
        ("tracestore", "stderr", r#"{"severity":"FATAL"}"#, "error"),
        ("tracestore", "stderr", r#"{"severity":"TRACE"}"#, "debug"),
        (
            "tracestore",
            "stdout",
            r#"{"level":"whatever a stranger likes"}"#,
            "info",
        ),
        ("tempo", "stderr", "level=warn msg=\"level=error\"", "warn"),
        (
            "prometheus",
            "stderr",
            "time=now level=ERROR source=x",
            "error",
        ),
        (
            "uservice1",
            "stderr",
            "calling http://uservice2:7878/: error",
            "warn",
        ),
        ("playground", "stdout", &span, "warn"),
    ];
    for (service, stream, text, _) in texts {
        collectors.container(service).prints(stream, text);
    }
    // A complaint while a block is printed.
    let mut uservice1 = collectors.container("uservice1");
    uservice1.prints("stdout", "Request: {\n  \"a\": \"b\"");
    uservice1.prints("stderr", "a complaint");
    uservice1.prints("stdout", "}");
    let records = collectors
        .records("{stream=~\".+\"}", texts.len() + 2)
        .await;
    for (service, stream, text, level) in texts {
        let found = records.iter().find(|record| record.text == text);
        let found = found.unwrap_or_else(|| panic!("no {text:?} in {records:#?}"));
        let is = (
            found.service.as_str(),
            found.stream.as_str(),
            found.level.as_str(),
        );
        assert_eq!(is, (service, stream, level), "{text}");
    }
    let whole = "Request: {\n  \"a\": \"b\"\n}";
    assert!(
        records.iter().any(|record| record.text == whole),
        "{records:#?}"
    );
    let spans: Vec<_> = records
        .iter()
        .filter_map(|record| record.span_id.as_deref())
        .collect();
    assert_eq!(spans, ["9a82a181d0db7edd"]);
}

#[tokio::test]
async fn a_line_in_pieces_forges_nothing_either() {
    let Some(collectors) = Collectors::start().await else {
        return;
    };
    // Docker keeps at most 16 KiB of a line together, so a stranger chooses where the next piece begins.
    let mut uservice3 = collectors.container("uservice3");
    uservice3.prints("stdout", "Request: {");
    uservice3.prints_piece(&format!("  \"a\": \"{}", "a".repeat(16_384 - 8)));
    uservice3.prints_piece("Request: {\",\n");
    uservice3.prints(
        "stdout",
        &format!("  \"uber-trace-id\": \"{FORGED}:1:0:1\",\n}}"),
    );
    let mut edge = collectors.container("edge");
    edge.prints_piece(&format!("{{\"path\":\"/{}", "a".repeat(16_384 - 10)));
    edge.prints_piece(&format!(
        "{{\\\"trace_id\\\":\\\"{FORGED}\\\"}}\",\"trace_id\":\"{ID}\"}}\n"
    ));
    let records = collectors.records("{stream=\"stdout\"}", 4).await;
    for record in records {
        assert_eq!(record.trace_id, None, "{record:?}");
    }
}

#[tokio::test]
async fn what_is_printed_while_somebody_is_down_arrives_once_all_are_back() {
    let Some(mut collectors) = Collectors::start().await else {
        return;
    };
    let all = "{service_name=\"edge\"}";
    let mut edge = collectors.container("edge");
    edge.prints("stdout", "before");
    collectors.records(all, 1).await;
    collectors.kill("loki");
    for n in 0..100 {
        edge.prints("stdout", &format!("without Loki {n}"));
    }
    collectors.start_loki().await;
    collectors.records(all, 101).await;
    // A killed Alloy reads again what it has not written down that it read, and Loki keeps the same record once.
    collectors.kill("alloy");
    for n in 0..100 {
        edge.prints("stdout", &format!("without Alloy {n}"));
    }
    collectors.start_alloy();
    collectors.records(all, 201).await;
    let mut edge = edge.rotate(&collectors.containers());
    edge.prints("stdout", "in another file");
    collectors.records(all, 202).await;
}
