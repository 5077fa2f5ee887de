//! What the files of conf/grafana ask.

use std::fs;

use serde_json::Value;

use crate::repository;

/// A query of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) exemplars: bool,
}

pub(super) fn dashboards() -> Vec<(String, Value)> {
    let folders = ["conf/grafana/dashboards", "conf/embedded/grafana"];
    let files = folders.map(|folder| fs::read_dir(repository::root().join(folder)).unwrap());
    let mut dashboards: Vec<_> = (files.into_iter().flatten())
        .map(|file| file.unwrap())
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    dashboards.sort_by(|(a, _), (b, _)| a.cmp(b));
    dashboards
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels that show something.
pub(super) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = list(&dashboard["panels"]).iter();
    panels.filter(|panel| panel["type"] != "row")
}

pub(super) fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in list(&panel["targets"]) {
                let query = match text(&target["query"]) {
                    "" => text(&target["expr"]),
                    query => query,
                };
                queries.push(Query {
                    place: format!("{file}, {}", text(&panel["title"])),
                    language: match text(&target["queryType"]) {
                        "serviceMap" => "the service map".to_owned(),
                        _ => text(&target["datasource"]["type"]).to_owned(),
                    },
                    text: query.to_owned(),
                    exemplars: target["exemplar"] == true,
                });
            }
        }
    }
    queries
}

/// Of one language, as Grafana sends them: with something chosen for each variable.
pub(crate) fn filled(language: &str) -> Vec<Query> {
    let mut queries = queries();
    queries.retain(|query| query.language == language);
    for query in &mut queries {
        for (variable, value) in [
            ("$__rate_interval", "1m"),
            ("$__range", "1m"),
            ("$__auto", "1m"),
            ("$services", ".+"),
            ("$service", "uservice3"),
            ("$seen", "spans|edge"),
            ("$slower", "1ms"),
            ("$query", "{ kind = server }"),
            ("$level", ".*"),
            ("$search", "e"),
            ("$trace_id", ""),
        ] {
            query.text = query.text.replace(variable, value);
        }
        assert!(!query.text.contains('$'), "{query:?} has another variable");
        assert!(!query.text.is_empty(), "{query:?}");
    }
    queries
}
