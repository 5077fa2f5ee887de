//! Who made the spans: what detectors find, what the caller is, and what the environment says.

use opentelemetry::{Key, KeyValue};
use opentelemetry_resource_detectors::{
    ContainerResourceDetector, OsResourceDetector, ProcessResourceDetector,
    ServiceInstanceIdResourceDetector,
};
use opentelemetry_sdk::{
    Resource,
    resource::{ResourceDetector, TelemetryResourceDetector},
};
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute};

use crate::config::Config;

/// What is known of the service without asking anybody.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) version: String,
    /// In code, which beats the environment.
    pub(crate) attributes: Vec<KeyValue>,
    /// The command line may hold secrets.
    pub(crate) command_args: bool,
}

/// Of two that say the same, the later counts: detectors, the package, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`,
/// code.
pub(crate) fn resource(service: &Service, config: &Config) -> Resource {
    let detectors: [&dyn ResourceDetector; 5] = [
        &TelemetryResourceDetector,
        &OsResourceDetector,
        &ProcessResourceDetector,
        &ServiceInstanceIdResourceDetector,
        &ContainerResourceDetector,
    ];
    let mut attributes = Vec::new();
    for detector in detectors {
        let detected = detector.detect();
        let detected = detected.iter().filter(|(key, _)| {
            service.command_args || key.as_str() != attribute::PROCESS_COMMAND_ARGS
        });
        attributes.extend(detected.map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
    }
    attributes.extend(host_name());
    let of_package = [
        (attribute::SERVICE_NAME, &service.name),
        (attribute::SERVICE_VERSION, &service.version),
    ];
    let of_package = of_package.map(|(key, value)| KeyValue::new(key, value.clone()));
    attributes.extend(
        of_package
            .into_iter()
            .filter(|pair| !pair.value.as_str().is_empty()),
    );
    for (key, value) in &config.resource_attributes {
        // A service without a name could not be found.
        if key != attribute::SERVICE_NAME || !value.is_empty() {
            attributes.push(KeyValue::new(key.clone(), value.clone()));
        }
    }
    let name = config.service_name.clone();
    attributes.extend(name.map(|name| KeyValue::new(attribute::SERVICE_NAME, name)));
    attributes.extend(service.attributes.iter().cloned());
    Resource::builder_empty()
        .with_schema_url(attributes, SCHEMA_URL)
        .build()
}

/// The name that a resource gives the service.
pub(crate) fn service_name(resource: &Resource) -> String {
    let name = resource.get_ref(&Key::from_static_str(attribute::SERVICE_NAME));
    name.map(|name| name.as_str().into_owned())
        .unwrap_or_default()
}

/// Asked of the kernel: the detector of the library starts a program for it.
fn host_name() -> Option<KeyValue> {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy().into_owned();
    (!name.is_empty()).then(|| KeyValue::new(attribute::HOST_NAME, name))
}
