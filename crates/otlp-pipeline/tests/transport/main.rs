//! Requests on their way to a collector, over both protocols: `src/transport.rs` by itself, against what fails on request.
//!
//! Not a part of it, since `faults` is not published: what is published has no tests that cannot be built.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of a crate has items for the rest of it"
)]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

#[path = "../../src"]
mod source {
    pub(crate) mod config;
    pub(crate) mod config_error;
    pub(crate) mod signal;
    pub(crate) mod transport;
}

mod answers;
mod contract;
mod network;
#[path = "../shared/receivers.rs"]
mod receivers;
mod stub;
mod tls;

use std::{net::SocketAddr, ops::Range, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;

// Where `source` looks for them.
use self::source::{
    config::{self, Compression, Config, Identity, Protocol, Retry, Tls},
    config_error::{self, ConfigError},
    signal,
    transport::{self, Event, Outcome, Transport},
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

const ACCEPTED: Outcome = Outcome::Accepted {
    rejected: 0,
    message: String::new(),
};

/// Short pauses, and time enough for whatever else the machine does.
fn config(protocol: Protocol, address: SocketAddr) -> Config {
    let mut config = Config {
        endpoint: endpoint("http", protocol, address),
        protocol,
        timeout: Duration::from_secs(60),
        ..Config::default()
    };
    config.retry.initial = Duration::from_millis(1);
    config.retry.max = Duration::from_millis(4);
    config
}

fn endpoint(scheme: &str, protocol: Protocol, address: SocketAddr) -> String {
    match protocol {
        Protocol::Grpc => format!("{scheme}://{address}"),
        Protocol::HttpProtobuf => format!("{scheme}://{address}/v1/traces"),
    }
}

/// Spans that are told apart by their `test_id`.
fn request(ids: Range<i64>) -> Bytes {
    let spans = ids.map(|id| Span {
        name: "span".to_owned(),
        attributes: vec![KeyValue {
            key: "test_id".to_owned(),
            value: Some(AnyValue {
                value: Some(Value::IntValue(id)),
            }),
            ..KeyValue::default()
        }],
        ..Span::default()
    });
    let scope_spans = ScopeSpans {
        spans: spans.collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    };
    request.encode_to_vec().into()
}

/// The outcome, and the causes for which it was repeated.
async fn deliver(transport: &mut Transport, ids: Range<i64>) -> (Outcome, Vec<String>) {
    let mut causes = Vec::new();
    let mut told = |Event::Failed { cause, .. }: Event| causes.push(cause);
    let outcome = transport.deliver(request(ids), &mut told).await;
    (outcome, causes)
}
