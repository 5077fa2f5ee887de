//! What a profile adds to the stack, and that nothing else notices it.

use std::collections::{BTreeMap, BTreeSet};

use super::{SERVICES, STACKS, compose_file, names, strings, yaml};
use crate::repository;

#[test]
fn profiles_add_to_what_runs_by_default_and_nothing_waits_for_them() {
    let file = compose_file("docker-compose.yaml");
    let services = file["services"].as_mapping().unwrap();
    let profile = |name: &str| file["services"][name]["profiles"][0].as_str();
    let mut by_profile: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, service) in services {
        let name = name.as_str().unwrap();
        by_profile.entry(profile(name)).or_default().insert(name);
        for other in strings(&service["depends_on"]) {
            let there = profile(other).is_none() || profile(other) == profile(name);
            assert!(there, "{name} depends on {other}");
        }
    }
    let default = [
        &SERVICES[..],
        &["traefik", "tempo", "prometheus", "grafana"],
    ]
    .concat();
    let expected = BTreeMap::from([
        (None, default.into_iter().collect()),
        (Some("logs"), BTreeSet::from(["loki", "alloy"])),
        (Some("jaeger"), BTreeSet::from(["jaeger"])),
    ]);
    assert_eq!(by_profile, expected);
}

#[test]
fn every_line_that_docker_keeps_says_whose_it_is_in_the_words_that_alloy_reads() {
    let alloy = repository::read("conf/alloy/config.alloy");
    assert!(alloy.contains(r#""attrs.\"com.docker.compose.service\"""#));
    assert!(alloy.contains("\"http://loki:3100/loki/api/v1/push\""));
    for path in STACKS {
        let file = compose_file(path);
        for (name, service) in file["services"].as_mapping().unwrap() {
            let logging = &service["logging"];
            assert_eq!(logging["driver"], "json-file", "{name:?}");
            let labels = &logging["options"]["labels"];
            assert_eq!(*labels, "com.docker.compose.service", "{name:?}");
        }
    }
}

#[test]
fn jaeger_takes_what_tempo_takes_and_hands_it_on() {
    let jaeger = yaml(&repository::read("conf/jaeger/jaeger.yaml"));
    let tempo = yaml(&repository::read("conf/tempo/tempo.yaml"));
    let tempo = &tempo["distributor"]["receivers"]["otlp"]["protocols"];
    assert_eq!(jaeger["receivers"]["otlp"]["protocols"], *tempo);
    let exporters = &jaeger["service"]["pipelines"]["traces"]["exporters"];
    let exporters: Vec<_> = strings(exporters).collect();
    assert_eq!(exporters, ["jaeger_storage_exporter", "otlp_grpc/tempo"]);
    let endpoint = jaeger["exporters"]["otlp_grpc/tempo"]["endpoint"].as_str();
    assert_eq!(endpoint, Some("tempo:4317"));
    // One variable moves the services and Traefik.
    let file = repository::read("docker-compose.yaml");
    assert_eq!(file.matches("${TRACES_TO:-tempo:4317}").count(), 2);
}

#[test]
fn the_readme_says_what_each_part_may_use_and_which_profile_it_is_of() {
    let file = compose_file("docker-compose.yaml");
    let readme = repository::read("README.org");
    let rows = readme.lines().map(str::trim);
    let rows = rows.skip_while(|line| !line.starts_with("| part "));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let mut described = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let part = cells[1].to_lowercase();
        let service = &file["services"][part.as_str()];
        let profile = service["profiles"][0].as_str().unwrap_or_default();
        assert_eq!(cells[2].trim_matches('='), profile, "{part}");
        let limit = service["mem_limit"].as_str().unwrap().replace('m', " MB");
        assert_eq!(cells[5], limit, "{part}");
        described.insert(part);
    }
    let services = names(&file["services"]);
    let parts = services.iter().filter(|name| !SERVICES.contains(name));
    assert_eq!(described, parts.map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_published_ports_of_profiles_are_those_that_their_parts_listen_on() {
    let file = compose_file("docker-compose.yaml");
    let loki = yaml(&repository::read("conf/loki/loki.yaml"));
    let loki = loki["server"]["http_listen_port"].as_u64().unwrap();
    let jaeger = yaml(&repository::read("conf/jaeger/jaeger.yaml"));
    let endpoint = &jaeger["extensions"]["jaeger_query"]["http"]["endpoint"];
    let alloy = strings(&file["services"]["alloy"]["command"])
        .find_map(|flag| flag.strip_prefix("--server.http.listen-addr="));
    for (part, listens) in [
        ("loki", format!("0.0.0.0:{loki}").as_str()),
        ("alloy", alloy.unwrap()),
        ("jaeger", endpoint.as_str().unwrap()),
    ] {
        let ports: Vec<_> = strings(&file["services"][part]["ports"]).collect();
        let [port] = ports[..] else {
            panic!("{part}: {ports:?}")
        };
        let inside = port.rsplit(':').next().unwrap();
        assert_eq!(listens, format!("0.0.0.0:{inside}"), "{part}");
    }
}
