//! The arrows of ARCHITECTURE.md, read from what cargo knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::repository;

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command
        .current_dir(repository::root())
        .other_options(["--locked".to_owned()]);
    command.exec().unwrap()
}

/// The names of the workspace's packages that a package needs to run.
fn arrows(package: &Package, members: &BTreeSet<&str>) -> BTreeSet<String> {
    let needed = package
        .dependencies
        .iter()
        .filter(|to| to.kind == DependencyKind::Normal);
    let needed = needed.filter(|to| members.contains(to.name.as_str()));
    needed.map(|to| to.name.clone()).collect()
}

#[test]
fn packages_depend_on_what_the_architecture_allows() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let members: BTreeSet<_> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let services = ["uservice1", "uservice2", "uservice3", "uservice4"];
    let mut allowed: BTreeMap<&str, Vec<&str>> = services.map(|name| (name, vec![])).into();
    allowed.insert("edge", vec!["telemetry"]);
    allowed.insert("faults", vec![]);
    allowed.insert("otlp-pipeline", vec![]);
    allowed.insert("process-metrics", vec![]);
    allowed.insert("traceql", vec![]);
    allowed.insert("uber-trace-id", vec![]);
    allowed.insert(
        "telemetry",
        vec!["otlp-pipeline", "process-metrics", "uber-trace-id"],
    );
    allowed.insert("tracestore", vec!["process-metrics", "traceql"]);
    allowed.insert("lab", [&services[..], &["edge", "tracestore"]].concat());
    allowed.insert("playground", vec!["telemetry"]);
    allowed.insert("checks", vec!["lab", "playground"]);
    let measured = ["edge", "faults", "otlp-pipeline"];
    allowed.insert("bench", [&services[..], &measured].concat());
    for package in packages {
        let allowed = allowed.get(package.name.as_str());
        let allowed = allowed.expect("every package has its place above");
        let arrows = arrows(package, &members);
        let allowed: BTreeSet<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert!(arrows.is_subset(&allowed), "{} -> {arrows:?}", package.name);
    }
}

#[test]
fn there_is_one_opentelemetry_and_none_under_the_blind_services() {
    let metadata = metadata();
    for name in [
        "opentelemetry",
        "opentelemetry_sdk",
        "opentelemetry-proto",
        "tonic",
        "prost",
    ] {
        let versions: Vec<_> = metadata
            .packages
            .iter()
            .filter(|found| found.name == name)
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:#?}");
    }
    let resolve = metadata.resolve.as_ref().unwrap();
    for blind in ["uservice1", "uservice2"] {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name == blind)
            .unwrap();
        let mut seen = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop().filter(|_| seen.len() < 10_000) {
            if seen.insert(id) {
                let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
                open.extend(&node.dependencies);
            }
        }
        let known = metadata
            .packages
            .iter()
            .filter(|package| seen.contains(&package.id));
        let telemetry: Vec<_> = known
            .filter(|found| found.name.starts_with("opentelemetry"))
            .collect();
        assert!(telemetry.is_empty(), "{blind} knows of {telemetry:#?}");
    }
}

#[test]
fn every_version_is_pinned_in_one_place() {
    for package in metadata().workspace_packages() {
        for dependency in &package.dependencies {
            let ours = dependency.path.is_some();
            let pinned = dependency.req.to_string().starts_with('=');
            // Who links what is published has versions already; Cargo.lock holds those that are tested here.
            let published = package.publish.is_none();
            let ranged = published && dependency.kind == DependencyKind::Normal;
            // What tests it takes the versions that it does.
            let tests_it = *package.name == *"faults" && dependency.name == "opentelemetry-proto";
            assert!(
                ours || pinned || ranged || tests_it,
                "{} needs {} {}",
                package.name,
                dependency.name,
                dependency.req
            );
        }
    }
}

#[test]
fn in_the_store_only_ingest_and_streamed_queries_know_protobuf() {
    let store = repository::root().join("tracestore/src");
    let mut folders = vec![store.clone()];
    let mut knowing = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = fs::read_to_string(&path).unwrap();
                if source.contains("use prost") || source.contains("use opentelemetry_proto") {
                    knowing.insert(path.strip_prefix(&store).unwrap().to_owned());
                }
            }
        }
    }
    assert!(knowing.len() > 1, "{knowing:?}");
    knowing.retain(|path| !path.starts_with("ingest"));
    knowing.retain(|path| !path.with_extension("").starts_with("api/streaming"));
    assert!(knowing.is_empty(), "{knowing:?}");
}
