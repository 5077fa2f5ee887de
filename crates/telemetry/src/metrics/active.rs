//! `http.server.active_requests`: there are only so many methods and schemes, so each pair has its place.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::metrics::labels::Labels;

/// The values of `http.request.method`.
const METHODS: [&str; 11] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PATCH", "QUERY",
    "_OTHER",
];
const SCHEMES: [&str; 2] = ["http", "https"];

#[derive(Debug, Default)]
pub(crate) struct Active([[Gauge; METHODS.len()]; SCHEMES.len()]);

#[derive(Debug, Default)]
struct Gauge {
    now: AtomicI64,
    /// Whether there ever was a request, so that one that is shown does not vanish.
    seen: AtomicBool,
}

impl Active {
    pub(crate) fn add(&self, method: &str, scheme: &str, change: i64) {
        let place = |all: &[&str], one| all.iter().position(|known| *known == one);
        let (scheme, method) = (place(&SCHEMES, scheme), place(&METHODS, method));
        if let (Some(scheme), Some(method)) = (scheme, method) {
            let gauge = &self.0[scheme][method];
            gauge.now.fetch_add(change, Relaxed);
            if !gauge.seen.load(Relaxed) {
                gauge.seen.store(true, Relaxed);
            }
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = SCHEMES.iter().zip(&self.0).flat_map(|(scheme, gauges)| {
            METHODS
                .iter()
                .zip(gauges)
                .map(move |(method, gauge)| (scheme, method, gauge))
        });
        let mut seen = all
            .filter(|(_, _, gauge)| gauge.seen.load(Relaxed))
            .peekable();
        if seen.peek().is_none() {
            return Ok(());
        }
        let help = "Number of active HTTP server requests.";
        let name = "http_server_active_requests";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (scheme, method, gauge) in seen {
            let labels = Labels {
                method,
                scheme,
                ..Labels::default()
            };
            let value = ConstGauge::new(gauge.now.load(Relaxed));
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
