//! Tower layers that make a span, and a measurement, of every request: [`ServerLayer`] around what answers,
//! [`ClientLayer`] around what asks.
//!
//! Names and attributes are the stable [semantic conventions of HTTP], for calls of gRPC those of [RPC]. A span ends
//! where the body of its response ends, not at the headers, and however that comes about: a client that left, a
//! handler that panicked and a body that broke say so in `error.type`.
//!
//! [semantic conventions of HTTP]: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
//! [RPC]: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
//!
//! # axum
//!
//! [`Router::layer`](axum::Router::layer) is the right place: there the route is known, and becomes part of the span's
//! name.
//!
//! ```
//! use axum::{Router, routing::get};
//! use telemetry::http::ServerLayer;
//!
//! # fn main() -> Result<(), telemetry::InitError> {
//! # let telemetry = telemetry::builder("bookapp", "").build()?;
//! let app: Router = Router::new()
//!     .route("/books/{id}", get(async || "a book"))
//!     .layer(ServerLayer::new(telemetry.tracer("bookapp")).exclude(["/healthz", "/metrics"]));
//! # Ok(())
//! # }
//! ```
//!
//! The client's address is found where the router was made by `into_make_service_with_connect_info::<SocketAddr>()`.
//!
//! # hyper
//!
//! A server without a router names its routes itself, either by a function of the path or, once it knows, by a
//! [`Route`] among the extensions of its response.
//!
//! ```
//! # use std::convert::Infallible;
//! use hyper::{Request, Response, body::Incoming, server::conn::http1};
//! use hyper_util::{rt::TokioIo, service::TowerToHyperService};
//! use telemetry::http::ServerLayer;
//! use tower::{Layer, service_fn};
//! # use telemetry::Tracer;
//!
//! async fn serve(tracer: Tracer, listener: tokio::net::TcpListener) -> std::io::Result<()> {
//!     let traced = ServerLayer::new(tracer).route(|_method, path| match path {
//!         "/work" => Some("/work"),
//!         path if path.starts_with("/books/") => Some("/books/{id}"),
//!         _ => None,
//!     });
//!     loop {
//!         let (stream, peer) = listener.accept().await?;
//!         let service = traced.clone().peer(peer).layer(service_fn(hello));
//!         let connection = http1::Builder::new()
//!             .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
//!         tokio::spawn(connection);
//!     }
//! }
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello".to_owned()))
//! }
//! ```
//!
//! Its client is traced by wrapping it. The parent is the span of the current [`Context`](opentelemetry::Context).
//!
//! ```
//! # use http_body_util::Empty;
//! # use hyper::body::Bytes;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use telemetry::http::ClientLayer;
//! use tower::{Layer, ServiceExt};
//! # use telemetry::Tracer;
//!
//! async fn ask(tracer: Tracer) -> Result<(), Box<dyn std::error::Error>> {
//!     let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
//!     let client = ClientLayer::new(tracer).layer(client);
//!     let response = client
//!         .oneshot(hyper::Request::get("http://127.0.0.1:7878/work").body(Empty::new())?)
//!         .await?;
//!     # drop(response);
//!     Ok(())
//! }
//! ```
//!
//! # tonic
//!
//! [`ServerLayer::grpc`] and [`ClientLayer::grpc`] read the status of a call from its trailers.
//!
//! ```
//! use opentelemetry_proto::tonic::collector::trace::v1::{
//!     trace_service_client::TraceServiceClient,
//!     trace_service_server::{TraceService, TraceServiceServer},
//! };
//! use telemetry::http::{ClientLayer, ServerLayer};
//! use tonic::transport::{Channel, Server, Uri, server::TcpConnectInfo};
//! use tower::Layer;
//! # use telemetry::Tracer;
//!
//! async fn serve(tracer: Tracer, traces: impl TraceService) -> Result<(), tonic::transport::Error> {
//!     let traced = ServerLayer::grpc(tracer)
//!         .peer_from(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr());
//!     Server::builder()
//!         .layer(traced)
//!         .add_service(TraceServiceServer::new(traces))
//!         .serve(([127, 0, 0, 1], 4317).into())
//!         .await
//! }
//!
//! async fn ask(tracer: Tracer, origin: Uri) -> Result<(), tonic::transport::Error> {
//!     let channel = Channel::builder(origin.clone()).connect().await?;
//!     let channel = ClientLayer::grpc(tracer).origin(&origin).layer(channel);
//!     let client = TraceServiceClient::new(channel);
//!     # drop(client);
//!     Ok(())
//! }
//! ```
//!
//! # What is believed
//!
//! Everything in a request is a stranger's word. The parent is what the propagator makes of the headers; a service
//! that anybody can reach may start traces of its own with [`ServerLayer::public`]. `client.address` is the other end of the
//! connection, unless that is a proxy of [`ServerLayer::trusted_proxies`]. No name or label holds what a
//! caller can choose freely, and no attribute more than [`MAX_VALUE`] bytes of it.

mod call;
mod client;
mod exchange;
mod failure;
mod headers;
mod measured;
mod propagation;
mod proxies;
mod request;
mod response;
mod server;
mod url;

pub use crate::http::{
    client::{Client, ClientLayer, ResendCount},
    headers::traceresponse,
    propagation::{extract, inject},
    proxies::{Network, NetworkError},
    request::{MAX_VALUE, bounded},
    response::{ResponseBody, ResponseFuture},
    server::{Route, Server, ServerLayer},
};
