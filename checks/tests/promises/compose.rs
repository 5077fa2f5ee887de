//! The Compose files are valid, and agree with README.org, with each other and with what conf/ says.

mod profiles;

use std::collections::{BTreeMap, BTreeSet};

use compose_spec::Compose;
use serde_yaml::Value;

use crate::repository;

const SERVICES: [&str; 4] = ["uservice1", "uservice2", "uservice3", "uservice4"];

/// Those that can be started alone.
const STACKS: [&str; 2] = ["docker-compose.yaml", EMBEDDED];

const EMBEDDED: &str = "conf/embedded/docker-compose.yaml";

/// A Compose file as Compose sees it: defaults for variables, and anchors merged, which nest three deep.
fn compose_file(path: &str) -> Value {
    let mut text = String::new();
    let file = repository::read(path);
    let mut pieces = file.split("${");
    text.push_str(pieces.next().unwrap());
    for piece in pieces {
        let (variable, rest) = piece.split_once('}').unwrap();
        let (_, default) = variable
            .split_once(":-")
            .expect("a variable without a default");
        text.push_str(default);
        text.push_str(rest);
    }
    yaml(&text)
}

fn yaml(text: &str) -> Value {
    let mut value: Value = serde_yaml::from_str(text).unwrap();
    for _ in 0..3 {
        value.apply_merge().unwrap();
    }
    value
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_sequence()
        .into_iter()
        .flatten()
        .map(|value| value.as_str().unwrap())
}

fn names(value: &Value) -> BTreeSet<&str> {
    value
        .as_mapping()
        .unwrap()
        .keys()
        .map(|name| name.as_str().unwrap())
        .collect()
}

/// `8080` of `127.0.0.1:${EDGE_DASHBOARD_PORT:-8080}:80`, by the name of the variable.
fn published(path: &str) -> BTreeMap<String, String> {
    let file = repository::read(path);
    let ports = file
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- \"127.0.0.1:${"));
    let ports = ports.map(|port| port.split_once(":-").unwrap());
    ports
        .map(|(name, rest)| (name.to_owned(), rest.split('}').next().unwrap().to_owned()))
        .collect()
}

#[test]
fn compose_files_are_valid() {
    for path in [
        "docker-compose.yaml",
        EMBEDDED,
        "conf/traefik2/docker-compose.yaml",
    ] {
        let file = compose_file(path);
        let compose: Compose =
            serde_yaml::from_value(file).unwrap_or_else(|err| panic!("{path}: {err}"));
        compose
            .validate_all()
            .unwrap_or_else(|err| panic!("{path}: {err}"));
    }
}

#[test]
fn every_port_is_published_on_loopback_only_and_can_be_moved() {
    for path in STACKS {
        let file = compose_file(path);
        let mut ports = 0;
        for (service, settings) in file["services"].as_mapping().unwrap() {
            for port in strings(&settings["ports"]) {
                assert!(
                    port.starts_with("127.0.0.1:"),
                    "{service:?} publishes {port}"
                );
                ports += 1;
            }
        }
        assert_eq!(
            published(path).len(),
            ports,
            "a port without a variable of its own in {path}"
        );
    }
}

#[test]
fn the_readme_lists_the_ports_and_their_variables() {
    let readme = repository::read("README.org");
    let chapter = readme.split("\n* On the real stack\n").nth(1).unwrap();
    let chapter = chapter.split("\n* ").next().unwrap();
    let rows = chapter
        .lines()
        .filter(|line| line.contains("_PORT="))
        .filter_map(|line| {
            let cells: Vec<_> = line
                .trim()
                .strip_prefix('|')?
                .split('|')
                .map(str::trim)
                .collect();
            let host = cells[1].strip_prefix("http://")?.split('/').next()?;
            let port = host.split_once(':').map_or("80", |(_, port)| port);
            Some((cells[2].trim_matches('=').to_owned(), port.to_owned()))
        });
    assert_eq!(
        rows.collect::<BTreeMap<_, _>>(),
        published("docker-compose.yaml")
    );
}

#[test]
fn services_are_told_only_what_they_read() {
    let file = compose_file("docker-compose.yaml");
    for service in SERVICES {
        let environment = names(&file["services"][service]["environment"]);
        let mut source = repository::read(&format!("{service}/src/lib.rs"));
        if ["uservice3", "uservice4"].contains(&service) {
            source.push_str(&repository::read(&format!("{service}/src/telemetry.rs")));
        } else {
            assert!(
                environment.iter().all(|name| !name.starts_with("OTEL")),
                "{service} is blind"
            );
        }
        for name in environment {
            assert!(
                source.contains(&format!("\"{name}\"")),
                "{service} does not read {name}"
            );
        }
    }
    let trace_url = file["services"]["uservice3"]["environment"]["TRACE_URL"]
        .as_str()
        .unwrap();
    assert_eq!(trace_url.matches("{trace_id}").count(), 1);
}

#[test]
fn services_are_contained() {
    for path in STACKS {
        let file = compose_file(path);
        for (name, service) in file["services"].as_mapping().unwrap() {
            let name = format!("{} in {path}", name.as_str().unwrap());
            assert_eq!(service["read_only"], Value::Bool(true), "{name}");
            assert!(strings(&service["cap_drop"]).eq(["ALL"]), "{name}");
            let mut options = strings(&service["security_opt"]);
            assert!(options.any(|option| option == "no-new-privileges:true"));
            // Docker's logs are for root alone; without a capability root is but their owner.
            let reads_logs_of_docker = name == "alloy in docker-compose.yaml";
            let user = service["user"].as_str().unwrap();
            assert_eq!(user.starts_with('0'), reads_logs_of_docker, "{name}");
            assert!(
                service["mem_limit"].is_string() && !service["healthcheck"].is_null(),
                "{name}"
            );
            let pinned = service["image"].as_str().is_none_or(|image| {
                image
                    .split_once(':')
                    .is_some_and(|(_, tag)| tag.contains('.'))
            });
            assert!(pinned, "{name} has a floating tag");
        }
    }
}

#[test]
fn everything_that_is_mounted_is_there() {
    for path in STACKS {
        let file = compose_file(path);
        let volumes = names(&file["volumes"]);
        for (service, settings) in file["services"].as_mapping().unwrap() {
            for volume in strings(&settings["volumes"]) {
                let source = volume.split(':').next().unwrap();
                if source.starts_with('/') {
                    let logs = "/var/lib/docker/containers:/var/log/containers:ro";
                    assert_eq!(volume, logs, "{service:?} sees more of the machine");
                    continue;
                }
                let there = match source.strip_prefix("./") {
                    Some(path) => repository::root().join(path).exists(),
                    None => volumes.contains(source),
                };
                assert!(there, "{service:?} mounts {volume}");
            }
        }
    }
}

#[test]
fn the_embedded_stack_has_only_parts_of_this_repository_and_builds_all_of_them() {
    let file = compose_file(EMBEDDED);
    let parts = [&SERVICES[..], &["edge", "tracestore"]].concat();
    assert_eq!(names(&file["services"]), parts.iter().copied().collect());
    let recipe = repository::read("Dockerfile");
    for part in parts {
        let service = &file["services"][part];
        assert!(service["image"].is_null(), "{part}");
        assert_eq!(service["build"]["context"], "../..");
        assert_eq!(service["build"]["args"]["SERVICE"], part);
        assert!(recipe.contains(&format!(" -p {part} ")), "{part}");
    }
}

#[test]
fn the_services_of_the_two_stacks_differ_in_where_their_spans_go_and_nothing_else() {
    let (real, embedded) = (compose_file("docker-compose.yaml"), compose_file(EMBEDDED));
    for name in SERVICES {
        let mut real = real["services"][name].clone();
        let mut embedded = embedded["services"][name].clone();
        assert_eq!(real["build"]["args"], embedded["build"]["args"]);
        for service in [&mut real, &mut embedded] {
            service["build"] = Value::Null;
            if let Some(url) = service["environment"].get_mut("TRACE_URL") {
                assert!(url.as_str().unwrap().contains("{trace_id}"), "{url:?}");
                *url = Value::Null;
            }
        }
        let real = serde_yaml::to_string(&real).unwrap();
        let real = real
            .replace("http://tempo:4317", "http://tracestore:4317")
            .replace("- tempo\n", "- tracestore\n");
        assert_eq!(real, serde_yaml::to_string(&embedded).unwrap(), "{name}");
    }
}

#[test]
fn the_embedded_stack_takes_the_ports_of_the_real_one() {
    let ports = |path| published(path).into_values().collect::<BTreeSet<_>>();
    let (real, embedded) = (ports("docker-compose.yaml"), ports(EMBEDDED));
    assert!(embedded.is_subset(&real), "{embedded:?} {real:?}");
    assert_eq!(embedded.len(), 10);
}

#[test]
fn the_embedded_edge_knows_every_service_and_the_store_is_told_what_it_reads() {
    let file = compose_file(EMBEDDED);
    let edge = &file["services"]["edge"]["environment"];
    let routes: BTreeSet<_> = edge["ROUTES"].as_str().unwrap().split(',').collect();
    let expected = SERVICES.map(|name| format!("{name}.localhost=http://{name}:7878"));
    assert_eq!(routes, expected.iter().map(String::as_str).collect());
    let source = repository::read("tracestore/src/config.rs");
    let store = &file["services"]["tracestore"]["environment"];
    for name in names(store) {
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
    let data = store["DATA"].as_str().unwrap();
    let volume = format!("tracestore-data:{data}");
    assert!(strings(&file["services"]["tracestore"]["volumes"]).eq([volume.as_str()]));
    assert!(repository::read("Dockerfile").contains("--chown=65532:65532 /data /data"));
}

#[test]
fn the_edge_has_a_route_for_every_service_and_knows_its_address() {
    let file = compose_file("docker-compose.yaml");
    let routes = yaml(&repository::read("conf/traefik/dynamic.yaml"));
    for service in SERVICES {
        let router = &routes["http"]["routers"][service];
        assert_eq!(router["rule"], format!("Host(`{service}.localhost`)"));
        let upstream = &routes["http"]["services"][router["service"].as_str().unwrap()];
        let variable = format!("{}_URL", service.to_uppercase());
        let url = &upstream["loadBalancer"]["servers"][0]["url"];
        assert_eq!(*url, format!("{{{{ env \"{variable}\" }}}}"));
        let told = file["services"]["traefik"]["environment"][variable.as_str()].as_str();
        assert_eq!(told, Some(format!("http://{service}:7878").as_str()));
    }
}

#[test]
fn tempo_listens_where_the_others_send() {
    let file = compose_file("docker-compose.yaml");
    let tempo = yaml(&repository::read("conf/tempo/tempo.yaml"));
    let receivers = &tempo["distributor"]["receivers"];
    let mut listens = BTreeSet::from([tempo["server"]["http_listen_port"]
        .as_u64()
        .unwrap()
        .to_string()]);
    for endpoint in [
        &receivers["otlp"]["protocols"]["grpc"]["endpoint"],
        &receivers["otlp"]["protocols"]["http"]["endpoint"],
        &receivers["jaeger"]["protocols"]["thrift_http"]["endpoint"],
    ] {
        // The default of Tempo is localhost, where no other container reaches it.
        let port = endpoint.as_str().unwrap().strip_prefix("0.0.0.0:").unwrap();
        listens.insert(port.to_owned());
    }
    let ports = strings(&file["services"]["tempo"]["ports"]);
    let ports: BTreeSet<_> = ports
        .map(|port| port.rsplit(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(listens, ports);
    let services = names(&file["services"]);
    let data_sources = repository::read("conf/grafana/provisioning/datasources/datasources.yaml");
    for source in yaml(&data_sources)["datasources"].as_sequence().unwrap() {
        let url = source["url"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let (host, port) = url.split_once(':').unwrap();
        assert!(services.contains(host), "{url}");
        let mut ports = strings(&file["services"][host]["ports"]);
        assert!(
            ports.any(|published| published.ends_with(&format!(":{port}"))),
            "{url}"
        );
    }
}

#[test]
fn prometheus_scrapes_only_what_runs() {
    let file = compose_file("docker-compose.yaml");
    let services = names(&file["services"]);
    let prometheus = yaml(&repository::read("conf/prometheus/prometheus.yaml"));
    for job in prometheus["scrape_configs"].as_sequence().unwrap() {
        let settings = &job["static_configs"][0];
        for target in strings(&settings["targets"]) {
            let host = target.split(':').next().unwrap();
            assert!(services.contains(host) || host == "localhost", "{target}");
            // Else the alert takes a profile that was not chosen for a part that is down.
            let profile = &file["services"][host]["profiles"][0];
            assert_eq!(settings["labels"]["profile"], *profile, "{target}");
        }
    }
}
