//! What the process is: its resource, as the metric `target_info`.

use std::collections::BTreeMap;

use opentelemetry_sdk::Resource;
use prometheus_client::{metrics::info::Info, registry::Registry};

/// Shows a resource as the labels of `target_info`: `service.name` is `service_name` there.
///
/// <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#resource-attributes-1>
pub fn register(registry: &mut Registry, resource: &Resource) {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let mut attributes: Vec<_> = resource.iter().collect();
    attributes.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in attributes {
        let value = value.to_string();
        // Two attributes may have the same name here.
        labels
            .entry(name(key.as_str()))
            .and_modify(|values| {
                values.push(';');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    let labels: Vec<_> = labels.into_iter().collect();
    registry.register("target", "What this process is", Info::new(labels));
}

/// An attribute's name as that of a label.
fn name(key: &str) -> String {
    let fits = |char: char| {
        if char.is_ascii_alphanumeric() {
            char
        } else {
            '_'
        }
    };
    let name: String = key.chars().map(fits).collect();
    match name.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}
