//! README.org says nothing that the tree contradicts.

use std::collections::BTreeSet;
use std::process::Command;

use crate::lab::{LAB, Process};
use crate::repository;

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
async fn the_lab_has_the_flags_that_are_mentioned() {
    let mut help = Process::start(Command::new(LAB).arg("--help"));
    assert!(help.ended().await.success());
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
            .log()
            .lines()
            .any(|line| line.split_whitespace().any(|word| word == flag));
        assert!(known, "{flag} is none of:\n{}", help.log());
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
