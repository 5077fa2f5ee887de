//! The tables in the crate's documentation are what the code does.

use std::collections::{BTreeMap, BTreeSet};

use telemetry::Config;

const PAGE: &str = include_str!("../../src/environment.md");

/// The cells of a table, by the first cell of its head.
fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let head = format!("| {first} |");
    let mut lines = PAGE
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2);
    let mut rows = Vec::new();
    while let Some(row) = lines.next().and_then(|line| line.strip_prefix('|')) {
        let row = row.strip_suffix('|').unwrap();
        rows.push(row.split('|').map(str::trim).collect());
    }
    assert!(!rows.is_empty());
    rows
}

/// What stands between single backticks.
fn quoted(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What stands between double backticks.
fn lines(cell: &str) -> Vec<String> {
    let lines = cell.split("``").skip(1).step_by(2);
    lines.map(str::to_owned).collect()
}

fn parse(variables: &[&str]) -> Config {
    let variables: BTreeMap<_, _> = variables
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .collect();
    Config::parse(|name| variables.get(name).map(|value| (*value).to_owned()))
}

/// Those of log records too, which are in force where these are sent.
fn defaults() -> Vec<(&'static str, String)> {
    let mut defaults = parse(&[]).settings();
    let of_logs = parse(&["OTEL_LOGS_EXPORTER=otlp"]).settings();
    let others = of_logs
        .into_iter()
        .filter(|(name, _)| *name != "OTEL_LOGS_EXPORTER");
    let others: Vec<_> = others
        .filter(|setting| !defaults.contains(setting))
        .collect();
    defaults.extend(others);
    defaults
}

#[test]
fn every_variable_is_in_the_table_with_its_default() {
    let defaults: BTreeMap<_, _> = defaults().into_iter().collect();
    let mut told = BTreeSet::new();
    for row in rows("variable") {
        for name in quoted(row[0]) {
            told.insert(name);
            if let Some(default) = defaults.get(name) {
                assert_eq!(quoted(row[1]), [default], "{name}");
                // Where log records are sent as well as where they are not.
                let set = [
                    format!("{name}={default}"),
                    "OTEL_LOGS_EXPORTER=otlp".to_owned(),
                ];
                let set: Vec<_> = set.iter().map(String::as_str).collect();
                let config = parse(&set[usize::from(name == "OTEL_LOGS_EXPORTER")..]);
                assert!(config.problems().is_empty(), "{name}={default}");
                assert_eq!(
                    config.settings(),
                    parse(&set[1..]).settings(),
                    "{name}={default}"
                );
            }
        }
        if let [default] = quoted(row[1])[..] {
            let name = quoted(row[0])[0];
            let config = parse(&[&format!("{name}={default}")]);
            assert!(config.problems().is_empty(), "{name}={default}");
            assert_eq!(config.settings(), parse(&[]).settings(), "{name}={default}");
        }
    }
    for name in defaults.keys() {
        assert!(told.contains(name), "{name}");
    }
}

#[test]
fn variables_do_what_the_examples_say() {
    let defaults = defaults();
    for row in rows("variables") {
        let config = parse(&quoted(row[0]));
        let settings = config.settings().into_iter();
        let changed = settings.filter(|setting| !defaults.contains(setting));
        let changed: BTreeSet<_> = changed
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let told: BTreeSet<_> = quoted(row[1]).into_iter().map(str::to_owned).collect();
        assert_eq!(changed, told, "in force with {}", row[0]);
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems, lines(row[2]), "logged with {}", row[0]);
    }
}

#[test]
fn every_variable_of_the_table_has_an_example() {
    let examples: BTreeSet<_> = rows("variables")
        .iter()
        .flat_map(|row| quoted(row[0]))
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .collect();
    for row in rows("variable") {
        let names = quoted(row[0]);
        let shown = names.iter().any(|name| examples.contains(name));
        assert!(shown, "{names:?}");
    }
}

#[test]
fn a_variable_that_is_not_followed_is_told_with_what_is_used_instead() {
    let settings = parse(&[]).settings();
    for row in rows("not followed") {
        for name in quoted(row[0]) {
            let config = parse(&[&format!("{name}=/any/Value,x")]);
            let told: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
            let value = match name.ends_with("_HEADERS") {
                true => "",
                false => "`/any/Value,x` ",
            };
            let line = format!("{name}: {value}is not supported; using {}", row[2]);
            assert_eq!(told, [line]);
            assert!(config.problems()[0].is_unsupported());
            assert_eq!(config.settings(), settings, "{name}");
            if name != "OTEL_TRACES_SAMPLER_ARG" {
                for kept in quoted(row[1]) {
                    let config = parse(&[&format!("{name}={kept}")]);
                    assert!(config.problems().is_empty(), "{name}={kept}");
                }
            }
        }
    }
}

#[test]
fn a_bad_value_cannot_break_its_line_in_a_log() {
    let value = format!("a\nOTEL_SDK_DISABLED: \u{1b}[31m{}", "x".repeat(10_000));
    let config = Config::parse(|name| (name == "OTEL_TRACES_SAMPLER").then(|| value.clone()));
    let shown = config.problems()[0].to_string();
    assert!(!shown.contains(char::is_control), "{shown}");
    assert!(shown.len() < 500, "{shown}");
}

#[test]
fn nothing_shows_the_secrets_of_headers_and_endpoints() {
    let config = parse(&[
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=hush,b=%0ahush,hush,Authorization: Basic hush=,\
         Authorization: Basic hush=%ff,Authorization%3A%20hush=%ff",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://me:hush@a:1",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://me:hush@a:1",
    ]);
    let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 6, "{problems:?}");
    let shown = format!("{problems:?} {:?} {config:?}", config.settings());
    assert!(!shown.contains("hush"), "{shown}");
}
