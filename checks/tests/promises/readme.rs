//! README.org says nothing that the tree contradicts.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::http::{get, visit};
use crate::lab::{LAB, Lab, Process};
use crate::need;
use crate::repository;
use crate::trace::Trace;

/// The lines of the blocks that begin with these words, and what follows the words.
fn blocks<'a>(readme: &'a str, begin: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut lines = readme.lines().map(str::trim);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(args) = line.strip_prefix(begin) {
            blocks.push((
                args.trim(),
                lines
                    .by_ref()
                    .take_while(|line| !line.starts_with("#+end"))
                    .collect(),
            ));
        }
    }
    blocks
}

#[test]
fn quoted_code_stands_in_its_source() {
    let readme = repository::read("README.org");
    let quotes = blocks(&readme, "#+begin_src rust");
    assert!(quotes.len() > 5, "{quotes:?}");
    for (args, quoted) in quotes {
        let file = args
            .strip_prefix(":source ")
            .expect("a block without :source");
        let source = repository::read(file);
        let source: Vec<_> = source.lines().map(str::trim).collect();
        let found = source.windows(quoted.len()).any(|window| window == quoted);
        assert!(found, "{file} has no such lines:\n{}", quoted.join("\n"));
    }
}

#[test]
fn the_first_screen_has_the_two_commands_and_ci_runs_them() {
    let readme = repository::read("README.org");
    let first_screen = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    let commands: Vec<_> = blocks(&first_screen, "#+begin_src sh")
        .into_iter()
        .flat_map(|(_, lines)| lines)
        .collect();
    assert_eq!(commands, ["cargo run --release", "cargo test --workspace"]);
    let ci = repository::read(".ci/run");
    for line in [
        "cargo build --release --locked",
        "target/release/lab ",
        "cargo test --locked --workspace",
    ] {
        assert!(ci.contains(line), "{line}");
    }
}

#[test]
fn linked_files_are_there() {
    let readme = repository::read("README.org");
    let links: Vec<_> = readme
        .split("[[file:")
        .skip(1)
        .map(|rest| rest.split(']').next().unwrap())
        .collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert!(repository::root().join(link).exists(), "{link}");
    }
    for (_, lines) in blocks(&readme, "#+begin_src sh") {
        for file in lines
            .iter()
            .flat_map(|line| line.split_whitespace())
            .filter(|word| word.ends_with(".yaml"))
        {
            assert!(repository::root().join(file).exists(), "{file}");
        }
    }
}

#[tokio::test]
async fn the_lab_and_the_store_have_the_flags_that_are_mentioned() {
    let mut of_lab = Process::start(Command::new(LAB).arg("--help"));
    assert!(of_lab.ended().await.success());
    let mut of_store = Process::start(Command::new(LAB).args(["tracestore", "--help"]));
    assert!(of_store.ended().await.success());
    let help = [of_lab.log(), of_store.log()].join("\n");
    let readme = repository::read("README.org");
    let code = readme
        .lines()
        .flat_map(|line| line.split('=').skip(1).step_by(2));
    let of_lab = code.filter_map(|code| match code.split_once("cargo run --release -- ") {
        Some((_, flags)) => Some(flags),
        None => code.starts_with("--").then_some(code),
    });
    let mentioned = of_lab
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("--"));
    let mentioned: BTreeSet<_> = mentioned.collect();
    assert!(mentioned.len() > 3, "{mentioned:?}");
    for flag in mentioned {
        let known = help
            .lines()
            .any(|line| line.split_whitespace().any(|word| word == flag));
        assert!(known, "{flag} is none of:\n{help}");
    }
}

#[test]
fn every_variable_that_is_described_is_read() {
    let readme = repository::read("README.org");
    let sources = ["uservice1", "uservice2", "uservice3"]
        .map(|name| repository::read(&format!("{name}/src/lib.rs")));
    let telemetry = repository::read("uservice3/src/telemetry.rs");
    let chapter = readme
        .split("\n* Environment\n")
        .nth(1)
        .unwrap()
        .split("\n* ")
        .next()
        .unwrap();
    let described = chapter
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| =")?.split('|').next());
    let described: Vec<_> = described
        .flat_map(|cell| cell.split([',', ' ', '=']))
        .filter(|name| !name.is_empty())
        .collect();
    assert!(described.len() > 10, "{described:?}");
    for name in described {
        let by_the_sdk = name == "OTEL_RESOURCE_ATTRIBUTES";
        let read = sources
            .iter()
            .chain([&telemetry])
            .any(|source| source.contains(&format!("\"{name}\"")));
        assert!(read || by_the_sdk, "{name}");
    }
}

#[test]
fn every_flag_and_variable_of_the_store_is_in_its_table() {
    let readme = repository::read("README.org");
    let rows = readme.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix("| =--")?.split('|');
        let flag = cells.next()?.trim().trim_end_matches('=');
        let variable = cells.next()?.trim().trim_matches('=');
        Some(format!("name(\"--{flag}\", \"{variable}\")"))
    });
    let rows: BTreeSet<_> = rows.collect();
    let source = repository::read("tracestore/src/config.rs");
    let names = source.split(" = name(").skip(1);
    let names = names.map(|rest| format!("name({})", rest.split(')').next().unwrap()));
    assert_eq!(rows, names.collect());
}

#[tokio::test]
async fn the_requests_to_the_store_are_answered() {
    if need::program("curl", "every distribution has it").is_none() {
        return;
    }
    let lab = Lab::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let readme = repository::read("README.org");
    let lines = blocks(&readme, "#+begin_src sh").into_iter();
    let lines = lines.flat_map(|(_, lines)| lines);
    let commands: Vec<_> = lines.filter(|line| line.starts_with("curl ")).collect();
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let command = command
            .replace("http://127.0.0.1:3200", &lab.url("tracestore"))
            .replace("http://127.0.0.1:4318", &lab.url("otlp_http"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(&folder);
        let mut process = Process::start(&mut shell);
        assert!(process.ended().await.success(), "{command}");
    }
    let sent = Trace::now(&lab.url("tracestore"), &format!("{:032x}", 0x1f)).await;
    assert_eq!(sent.spans.len(), 1, "{}", sent.tree());
}

/// The rows of the table whose header begins so, as cells.
fn table<'a>(readme: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let lines = readme.lines().map(str::trim);
    let rows = lines.skip_while(|line| !line.starts_with(header)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    // The only `|` within a cell would be that of a query.
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// The texts of `=code=`.
fn verbatim(cell: &str) -> BTreeSet<String> {
    let code = cell.trim_matches('=').split("= =");
    code.map(str::to_owned).collect()
}

/// The names of the spans that a search finds, or the values of the labels of the series that metrics are.
async fn found(store: &str, query: &str, is_metrics: bool) -> BTreeSet<String> {
    let encode = |byte: u8| format!("%{byte:02x}");
    let encoded: String = query.bytes().map(encode).collect();
    let path = if is_metrics {
        format!("{store}/api/metrics/query_range?since=5m&step=10s&q={encoded}")
    } else {
        let select: String = " | select(name)".bytes().map(encode).collect();
        format!("{store}/api/search?spss=100&q={encoded}{select}")
    };
    let answer = get(&path, &[]).await.unwrap();
    assert!(answer.status.is_success(), "{query}: {}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if is_metrics {
        let labels = list(&answer["series"])
            .into_iter()
            .flat_map(|series| list(&series["labels"]));
        let value = |label: Value| match &label["value"] {
            Value::Object(value) => value.values().next().map(|value| match value {
                Value::String(text) => text.clone(),
                value => value.to_string(),
            }),
            _ => None,
        };
        labels.filter_map(value).collect()
    } else {
        let sets = list(&answer["traces"])
            .into_iter()
            .flat_map(|trace| list(&trace["spanSets"]));
        let spans = sets.flat_map(|set| list(&set["spans"]));
        spans
            .map(|span| span["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn each_query_finds_what_its_row_says() {
    let readme = repository::read("README.org");
    let rows = table(&readme, "| spans ");
    assert!(rows.len() > 10, "{rows:?}");
    // As slow as the lab is.
    let lab = Lab::start_unhurried().await;
    let store = lab.url("tracestore");
    visit(&lab.url("edge"), "uservice1.localhost").await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&store, &id, 7).await;
    let mut wrong = Vec::new();
    for row in rows {
        let [spans, stages, finds, _] = row[..] else {
            panic!("{row:?}");
        };
        let mut query = spans.trim_matches('=').to_owned();
        if !stages.is_empty() {
            query = format!("{query} | {}", stages.trim_matches('='));
        }
        let is_metrics = stages.contains("rate()") || stages.contains("_over_time(");
        let expected = verbatim(finds);
        let found = found(&store, &query, is_metrics).await;
        if found != expected {
            wrong.push(format!("{query} finds {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
