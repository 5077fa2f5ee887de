//! What senders and readers of traces see, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod bad_input;
mod connections;
mod corpus;
mod damage;
mod generated;
mod golden;
mod grafana;
mod guard;
mod hostile;
mod inputs;
mod jaeger;
mod kill;
mod limits;
mod logs;
mod metrics;
mod metrics_queries;
mod otlp_http;
mod page;
mod process;
mod queries;
mod receive;
mod recorded;
mod search;
mod server;
mod service_graph;
mod streaming;
mod thrift;
