//! What the Setup page of the trace store offers to copy is about this store, and the Rust among it runs.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::lab::{LAB, Process};
use crate::{http, need, repository};

/// Set in the process that runs the program of the page.
const RUNS_HELLO: &str = "CHECKS_RUNS_HELLO";

/// Addresses that no text could name by chance.
const GRPC: &str = "http://store.localhost:40001";
const HTTP: &str = "http://store.localhost:40002";
const JAEGER: &str = "http://store.localhost:40003";

/// The program of the page, whose `main` is private as in every program.
mod hello {
    include!("setup/hello.rs");

    pub(super) fn run() {
        main().unwrap();
    }
}

/// One text to copy.
struct Snippet {
    /// `None` if it is for every language.
    language: Option<String>,
    title: String,
    text: String,
}

/// All texts for a store with these addresses, or `None` where there is no Node.js.
fn snippets() -> Option<Vec<Snippet>> {
    let node = need::program("node", "Debian's package `nodejs`, or https://nodejs.org")?;
    let mut node = Command::new(node)
        .args(["--input-type=module", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = repository::read("tracestore/src/page/snippets.js");
    program.push_str(&format!(
        r#"
        const to = {{ grpc: "{GRPC}", http: "{HTTP}", jaeger: "{JAEGER}", hostPort: "store.localhost:40001" }};
        const all = [{{ snippets: [...environment(to), oneSpan(to)] }}, ...languages(to)];
        console.log(JSON.stringify(all));
        "#
    ));
    let mut input = node.stdin.take().unwrap();
    input.write_all(program.as_bytes()).unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let snippets = all.iter().flat_map(|group| {
        let of = |snippet: &Value| Snippet {
            language: group["name"].as_str().map(str::to_owned),
            title: snippet["title"].as_str().unwrap().to_owned(),
            text: snippet["text"].as_str().unwrap().to_owned(),
        };
        group["snippets"].as_array().unwrap().iter().map(of)
    });
    Some(snippets.collect())
}

/// The only text of this language whose title begins so.
fn text<'a>(snippets: &'a [Snippet], language: &str, title: &str) -> &'a str {
    let mut found = snippets.iter().filter(|snippet| {
        snippet.language.as_deref() == Some(language) && snippet.title.starts_with(title)
    });
    let snippet = found.next().unwrap_or_else(|| panic!("{language} {title}"));
    assert!(found.next().is_none(), "{language} {title}");
    &snippet.text
}

/// `NAME=value` as they stand in a text for a shell.
fn variables(text: &str) -> Vec<(&str, &str)> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
        .collect()
}

#[test]
fn variables_exist_and_a_protocol_goes_to_its_own_port() {
    let Some(snippets) = snippets() else {
        return;
    };
    let mut languages = BTreeSet::new();
    for Snippet {
        language,
        title,
        text,
    } in &snippets
    {
        languages.extend(language.as_deref());
        let protocol = variables(text)
            .into_iter()
            .find(|(name, _)| *name == "OTEL_EXPORTER_OTLP_PROTOCOL");
        for (name, value) in variables(text) {
            let may_be: &[&str] = match (name, protocol) {
                ("OTEL_SERVICE_NAME" | "JAEGER_SERVICE_NAME", _) => &["my-service"],
                ("OTEL_TRACES_EXPORTER", _) => &["otlp"],
                ("OTEL_METRICS_EXPORTER", _) => &["none"],
                ("OTEL_LOGS_EXPORTER", _) => &["otlp"],
                ("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", _) => &["true"],
                ("OTEL_EXPORTER_OTLP_PROTOCOL", _) => &["grpc", "http/protobuf", "http/json"],
                ("OTEL_EXPORTER_OTLP_ENDPOINT", Some((_, "grpc"))) => &[GRPC],
                // By the specification the path is added, so it must not be there.
                ("OTEL_EXPORTER_OTLP_ENDPOINT", _) => &[HTTP],
                ("JAEGER_ENDPOINT", _) => &["http://store.localhost:40003/api/traces"],
                ("JAEGER_SAMPLER_TYPE", _) => &["const"],
                ("JAEGER_SAMPLER_PARAM", _) => &["1"],
                _ => &[],
            };
            assert!(may_be.contains(&value), "{title}: {name}={value}");
        }
        // No other host or port of a store, such as one that somebody forgot to fill in.
        for port in ["4317", "4318", "14268", "3200", "localhost/", "undefined"] {
            assert!(!text.contains(port), "{title}: {text}");
        }
    }
    let expected = [
        ".NET",
        "Collector",
        "Go",
        "Java",
        "Node.js",
        "Python",
        "Rust",
    ];
    assert_eq!(languages, BTreeSet::from(expected));
    // Each language says somewhere where to send.
    for language in languages {
        let told = snippets.iter().any(|snippet| {
            snippet.language.as_deref() == Some(language)
                && snippet.text.contains("store.localhost:4000")
        });
        assert!(told, "{language}");
    }
}

#[test]
fn what_goes_into_a_shell_is_of_its_language() {
    let Some(snippets) = snippets() else {
        return;
    };
    let shell = snippets.iter().filter(|one| one.title.starts_with("Shell"));
    let mut count = 0;
    for Snippet { title, text, .. } in shell {
        count += 1;
        let status = Command::new("sh").args(["-n", "-c", text]).status();
        assert!(status.unwrap().success(), "{title}: {text}");
        // A line that goes on must not end in a space after its backslash.
        assert!(!text.contains("\\ "), "{text}");
    }
    assert!(count > 6, "{count}");
}

#[test]
fn the_collectors_pipeline_leads_to_the_store_and_replaces_nothing() {
    let Some(snippets) = snippets() else {
        return;
    };
    let yaml = text(&snippets, "Collector", "tracestore.yaml");
    let config: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
    let exporter = "otlp_grpc/tracestore";
    assert_eq!(
        config["exporters"][exporter]["endpoint"],
        "store.localhost:40001"
    );
    assert_eq!(config["exporters"][exporter]["tls"]["insecure"], true);
    // Of two files, the second one's lists replace those of the same name.
    let pipelines = config["service"]["pipelines"].as_mapping().unwrap();
    for (name, pipeline) in ["traces/tracestore", "logs/tracestore"]
        .into_iter()
        .zip(pipelines)
    {
        assert_eq!(pipeline.0, name);
        assert_eq!(pipeline.1["exporters"][0], exporter);
        assert_eq!(pipeline.1["receivers"][0], "otlp");
    }
    assert_eq!(pipelines.len(), 2);
}

#[test]
fn rust_is_offered_in_the_versions_of_this_workspace_and_as_it_is_compiled_here() {
    let Some(snippets) = snippets() else {
        return;
    };
    let workspace = repository::read("Cargo.toml");
    for line in text(&snippets, "Rust", "Cargo.toml").lines() {
        let (name, rest) = line.split_once(" = ").unwrap();
        let offered = rest.split('"').nth(1).unwrap();
        let pinned = workspace
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .and_then(|rest| rest.split('"').nth(1)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("{name} is not pinned"));
        assert!(
            pinned.starts_with(&format!("{offered}.")),
            "{name}: {offered} is offered, {pinned} is used"
        );
    }
    assert_eq!(
        format!("{}\n", text(&snippets, "Rust", "src/main.rs")),
        repository::read("checks/tests/promises/setup/hello.rs"),
    );
}

#[test]
fn the_rust_program_sends_its_span() {
    // The program reads its environment, so it runs in a process of its own: this test again.
    if env::var_os(RUNS_HELLO).is_some() {
        return hello::run();
    }
    Runtime::new().unwrap().block_on(hello_arrives());
}

async fn hello_arrives() {
    let mut command = Command::new(LAB);
    command.arg("tracestore").envs([
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("OTLP_GRPC_ADDR", "127.0.0.1:0"),
        ("MEMORY", "true"),
    ]);
    let store = Process::start(&mut command);
    let address = |line: String| format!("http://{}", line.rsplit(' ').next().unwrap());
    let page = address(store.says("listening on ").await);
    let grpc = address(store.says("receiving OTLP/gRPC on ").await);

    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "setup::the_rust_program_sends_its_span"])
        .envs([
            (RUNS_HELLO, "1"),
            ("OTEL_SERVICE_NAME", "my-service"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &grpc),
        ]);
    let mut hello = Process::start(&mut command);
    assert!(hello.ended().await.success(), "{}", hello.log());

    let found = http::get(&format!("{page}/api/search"), &[]).await.unwrap();
    let found: Value = serde_json::from_str(&found.body).unwrap();
    let traces = found["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 1, "{found}");
    assert_eq!(traces[0]["rootServiceName"], "my-service");
    assert_eq!(traces[0]["rootTraceName"], "hello");
}
