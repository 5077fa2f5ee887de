//! Spans that a test looks at.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use telemetry::{Builder, Config};

/// Keeps all spans that end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    spans: Arc<Mutex<Vec<SpanData>>>,
    resource: Arc<Mutex<Option<Resource>>>,
    shutdowns: Arc<AtomicU32>,
}

impl Recorder {
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.spans.lock().unwrap())
    }

    pub(crate) fn resource(&self) -> Resource {
        self.resource.lock().unwrap().clone().unwrap()
    }

    pub(crate) fn shutdowns(&self) -> u32 {
        self.shutdowns.load(Ordering::SeqCst)
    }
}

impl SpanProcessor for Recorder {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.spans.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.shutdowns.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        *self.resource.lock().unwrap() = Some(resource.clone());
    }
}

/// A configuration of `NAME=value`.
pub(crate) fn config(variables: &[&str]) -> Config {
    let pairs = variables.iter().map(|pair| pair.split_once('=').unwrap());
    let pairs: Vec<_> = pairs.collect();
    Config::parse(|name| {
        let found = pairs.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Telemetry of a service `shop` in such an environment.
pub(crate) fn builder(variables: &[&str]) -> Builder {
    telemetry::builder("shop", "1.2.3").config(config(variables))
}
