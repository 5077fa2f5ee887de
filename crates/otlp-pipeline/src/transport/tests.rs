//! Requests on their way to a collector, over both protocols.

mod answers;
mod contract;
mod hostile;
mod network;
mod settings;
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

use super::{Event, Outcome, Transport};
use crate::{Config, Protocol};

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
