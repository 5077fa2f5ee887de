//! No panel of Grafana can be empty by a wrong name: each of its queries is put to what will answer it.
//!
//! PromQL goes to a real Prometheus, which scrapes a lab, a real Traefik with the flags of docker-compose.yaml, and what
//! Tempo, Loki, Alloy and Jaeger once said at /metrics (checks/golden/metrics). TraceQL goes to tracestore, and with
//! `TEMPO_URL` and `TEMPO_OTLP` set to a real Tempo. LogQL is put to a real Loki in `logs`.

pub(crate) mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use self::queries::{Query, dashboards, filled, list, panels, queries, text};
use crate::http::{get, visit};
use crate::lab::{Lab, PATIENCE};
use crate::need;
use crate::prometheus::{Page, Prometheus, escaped};
use crate::repository;
use crate::trace::Trace;
use crate::traefik::Traefik;

#[test]
fn no_panel_repeats_another_and_all_of_them_say_what_they_show() {
    let mut seen = BTreeMap::new();
    for query in queries() {
        // Each of these is put to what answers it, here or in `logs`.
        let asked = ["prometheus", "tempo", "loki", "the service map"];
        assert!(asked.contains(&query.language.as_str()), "{query:?}");
        let before = seen.insert(
            (query.language.clone(), query.text.clone()),
            query.place.clone(),
        );
        assert_eq!(before, None, "{} asks the same", query.place);
    }
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        let uid = text(&dashboard["uid"]);
        assert_eq!(file, format!("{uid}.json"));
        assert!(uids.insert(uid.to_owned()));
        assert_eq!(dashboard["tags"][0], "uservices");
        let link = &dashboard["links"][0];
        assert!(link["type"] == "dashboards" && link["tags"][0] == "uservices");
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(&panel["title"]);
            assert!(titles.insert(title), "{file} has {title} twice");
            assert!(!list(&panel["targets"]).is_empty(), "{file}, {title}");
            assert!(
                text(&panel["description"]).ends_with('.'),
                "{file}, {title}"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            let has_no_numbers = ["logs", "nodeGraph", "table", "state-timeline", "heatmap"]
                .contains(&text(&panel["type"]));
            assert!(
                has_no_numbers || defaults["unit"].is_string(),
                "{file}, {title} has no unit"
            );
        }
    }
    // Where links lead.
    for (file, dashboard) in dashboards() {
        let text = dashboard.to_string();
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split(['?', '"']).next().unwrap();
            assert!(uids.contains(uid), "{file} links to {uid}");
        }
    }
    for link in repository::read("conf/prometheus/rules.yaml")
        .split("/d/")
        .skip(1)
    {
        let uid = link.split(['?', '\n']).next().unwrap();
        assert!(uids.contains(uid), "an alert links to {uid}");
    }
}

#[test]
fn panels_ask_data_sources_that_are_there_and_lie_side_by_side() {
    let sources = repository::read("conf/grafana/provisioning/datasources/datasources.yaml");
    let sources: serde_yaml::Value = serde_yaml::from_str(&sources).unwrap();
    let sources = sources["datasources"].as_sequence().unwrap().iter();
    let sources: BTreeMap<_, _> = sources
        .map(|source| {
            (
                source["uid"].as_str().unwrap(),
                source["type"].as_str().unwrap(),
            )
        })
        .collect();
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        x < 24 && taken.insert((x, y)),
                        "{file}: {} covers another",
                        panel["title"]
                    );
                }
            }
            let asked = list(&panel["targets"])
                .iter()
                .map(|target| &target["datasource"]);
            for source in asked.chain(panel.get("datasource")) {
                assert_eq!(
                    sources.get(text(&source["uid"])),
                    Some(&text(&source["type"]))
                );
            }
        }
    }
}

/// A lab whose last visit failed, because uservice4 had gone, and where its traces are.
async fn with_failures(tempo: Option<(String, String)>) -> (Lab, String) {
    let (lab, store) = match tempo {
        None => {
            let lab = Lab::start(&["--keep-going"]).await;
            let store = lab.url("tracestore");
            (lab, store)
        }
        Some((url, otlp)) => (Lab::start(&["--keep-going", "--otlp", &otlp]).await, url),
    };
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let trace = Trace::of(&store, &id, 7).await;
    let uservice4 = trace.span("uservice4", "database_call").resource["process.pid"]
        .parse()
        .unwrap();
    visit(&lab.url("edge"), "uservice1.localhost").await;
    kill_process(Pid::from_raw(uservice4).unwrap(), Signal::KILL).unwrap();
    lab.process.says("uservice4 was ended by signal 9").await;
    fail(&lab.url("edge")).await;
    (lab, store)
}

async fn fail(edge: &str) {
    let answer = get(edge, &[("host", b"uservice3.localhost")])
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
}

/// A real Traefik before the services of a lab, with the flags of docker-compose.yaml but for addresses. `None` where there is
/// none.
async fn traefik(lab: &Lab) -> Option<Traefik> {
    let file: serde_yaml::Value =
        serde_yaml::from_str(&repository::read("docker-compose.yaml")).unwrap();
    let otlp = lab.url("otlp").replace("http://", "");
    let dynamic = repository::root().join("conf/traefik/dynamic.yaml");
    let flags = file["services"]["traefik"]["command"]
        .as_sequence()
        .unwrap();
    let flags = flags.iter().filter_map(|flag| {
        let flag = flag.as_str().unwrap();
        match flag.split_once('=').unwrap() {
            ("--entrypoints.web.address", _) => None,
            (name @ "--providers.file.filename", _) => {
                Some(format!("{name}={}", dynamic.display()))
            }
            (name @ "--tracing.otlp.grpc.endpoint", _) => Some(format!("{name}={otlp}")),
            _ => Some(flag.to_owned()),
        }
    });
    let urls = ["uservice1", "uservice2", "uservice3", "uservice4"];
    let names = [
        "USERVICE1_URL",
        "USERVICE2_URL",
        "USERVICE3_URL",
        "USERVICE4_URL",
    ];
    let urls = names.into_iter().zip(urls.map(|service| lab.url(service)));
    let variables: Vec<_> = [("OTEL_PROPAGATORS", "jaeger".to_owned())]
        .into_iter()
        .chain(urls)
        .collect();
    Traefik::start(flags.collect(), &variables, "uservice1.localhost").await
}

/// Asks Prometheus until every query has series, or tells of those that have none.
async fn all_answered(prometheus: &Prometheus, queries: &[Query]) {
    let begun = Instant::now();
    let mut empty = queries.to_vec();
    loop {
        let mut still = Vec::new();
        for query in empty {
            if prometheus.series(&query.text).await.is_empty() {
                still.push(query);
            }
        }
        empty = still;
        if empty.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no series: {empty:#?}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn every_panel_of_metrics_has_series() {
    let (lab, store) = with_failures(None).await;
    let Some(traefik) = traefik(&lab).await else {
        return;
    };
    let edge = format!("http://{}", traefik.web);
    let mut pages = BTreeMap::new();
    for (part, target) in [
        ("tempo", "tempo:3200"),
        ("loki", "loki:3100"),
        ("alloy", "alloy:12345"),
        ("jaeger", "jaeger:8888"),
    ] {
        let page = Page::of(repository::read(&format!(
            "checks/golden/metrics/{part}.txt"
        )));
        pages.insert(target, page.await);
    }
    let mut addresses: BTreeMap<_, _> = (pages.iter())
        .map(|(target, page)| (*target, page.address.to_string()))
        .collect();
    addresses.insert("traefik:8080", traefik.admin.to_string());
    let store = store.replace("http://", "");
    let edge_metrics = lab.url("edge_metrics").replace("http://", "");
    let jobs = [("tracestore", &store), ("edge", &edge_metrics)].map(|(job, target)| {
        format!("  - job_name: {job}\n    static_configs:\n      - targets: [\"{target}\"]\n")
    });
    let Some(prometheus) = Prometheus::start(&addresses, &jobs.concat()).await else {
        return;
    };
    // Rates need two scrapes, between which something happened.
    let mut queries = filled("prometheus");
    assert!(queries.len() > 30, "{queries:#?}");
    queries.extend(of_data_sources());
    queries.extend(of_variables());
    for series in [
        "request_total",
        "request_failed_total",
        "request_server_seconds_sum",
    ] {
        queries.push(Query {
            place: "the service map".to_owned(),
            language: "prometheus".to_owned(),
            text: format!("sum by (client, server) (rate(traces_service_graph_{series}[1m]))"),
            exemplars: false,
        });
    }
    let visits = async {
        loop {
            for edge in [&edge, &lab.url("edge")] {
                visit(edge, "uservice1.localhost").await;
                fail(edge).await;
            }
            let query = format!("http://{store}/api/search?q=%7B%7D");
            get(&query, &[]).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = all_answered(&prometheus, &queries) => {}
        () = visits => {}
    }
}

/// What may be chosen above a dashboard.
fn of_variables() -> Vec<Query> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for variable in list(&dashboard["templating"]["list"]) {
            let Some((metric, label)) = text(&variable["query"]["query"])
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
            else {
                continue;
            };
            queries.push(Query {
                place: file.clone(),
                language: "prometheus".to_owned(),
                text: format!("{metric}{{{label}!=\"\"}}"),
                exemplars: false,
            });
        }
    }
    assert!(queries.len() > 1, "{queries:#?}");
    queries
}

/// The queries behind the links from a span to metrics.
fn of_data_sources() -> Vec<Query> {
    let file = repository::read("conf/grafana/provisioning/datasources/datasources.yaml");
    let file: serde_yaml::Value = serde_yaml::from_str(&file).unwrap();
    let queries = file["datasources"][0]["jsonData"]["tracesToMetrics"]["queries"].clone();
    let queries = queries.as_sequence().unwrap().iter().map(|query| Query {
        place: query["name"].as_str().unwrap().to_owned(),
        language: "prometheus".to_owned(),
        text: query["query"]
            .as_str()
            .unwrap()
            .replace("$$__tags", "service=\"uservice3\""),
        exemplars: false,
    });
    queries.collect()
}

/// With `PROMETHEUS_URL` set to the Prometheus that the Tempo of `TEMPO_OTLP` writes to: only Tempo writes exemplars there.
#[tokio::test]
async fn the_dots_of_a_graph_name_traces_under_a_label_that_grafana_is_told_of() {
    let Some([url, otlp]) = need::variables(["PROMETHEUS_URL", "TEMPO_OTLP"]) else {
        return;
    };
    let lab = Lab::start(&["--otlp", &otlp]).await;
    let prometheus = Prometheus::at(url);
    let sources = repository::read("conf/grafana/provisioning/datasources/datasources.yaml");
    let mut queries = filled("prometheus");
    queries.retain(|query| query.exemplars);
    assert!(queries.len() > 2, "{queries:#?}");
    for query in queries {
        let begun = Instant::now();
        loop {
            visit(&lab.url("edge"), "uservice3.localhost").await;
            let data = prometheus.exemplars(&query.text).await;
            let series = list(&data).iter();
            let exemplars = series.flat_map(|series| list(&series["exemplars"]));
            let mut labels = exemplars.flat_map(|exemplar| exemplar["labels"].as_object().unwrap());
            if labels.any(|(label, id)| {
                sources.contains(&format!("- name: {label}\n")) && text(id).len() == 32
            }) {
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{query:?} has no dots: {data:#}"
            );
            sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test]
async fn every_panel_of_traces_finds_some() {
    let tempo = env::var("TEMPO_URL").ok().zip(env::var("TEMPO_OTLP").ok());
    let (_lab, store) = with_failures(tempo).await;
    let queries = filled("tempo");
    assert!(queries.len() > 8, "{queries:#?}");
    for query in queries {
        let is_metrics = query.text.contains("| rate()") || query.text.contains("_over_time(");
        let (path, list_of) = match is_metrics {
            true => ("metrics/query_range?since=5m&step=10s", "series"),
            false => ("search?limit=20", "traces"),
        };
        // No visit of the lab takes a second.
        let asked = query.text.replace(">= 1s", ">= 1ms");
        let url = format!("{store}/api/{path}&q={}", escaped(&asked));
        let begun = Instant::now();
        loop {
            let answer = get(&url, &[]).await.unwrap();
            assert!(answer.status.is_success(), "{query:?}: {}", answer.body);
            let answer: Value = serde_json::from_str(&answer.body).unwrap();
            if !list(&answer[list_of]).is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{query:?} finds nothing");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
