//! A trace store on free ports, and clients for it.

use std::{collections::BTreeSet, net::SocketAddr};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, HOST, HeaderMap},
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tonic::{Status, codec::CompressionEncoding, transport::Channel};
use tracestore::{Config, Flags, Listeners};

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) otlp: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    pub(crate) jaeger: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) stopped: JoinHandle<()>,
}

pub(crate) async fn start() -> Server {
    start_with(256 << 20).await
}

pub(crate) async fn start_with(max_memory: usize) -> Server {
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let listeners = Listeners {
        http: bind().await,
        otlp_grpc: bind().await,
        otlp_http: bind().await,
        jaeger_http: bind().await,
    };
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let config = Config {
        max_memory,
        allow_hosts: BTreeSet::from(["tracestore".to_owned()]),
        ..Config::parse(&Flags::default(), |_| None).unwrap()
    };
    let data = tracestore::Data::open(&config).unwrap();
    let (stop, stopping) = oneshot::channel();
    Server {
        http: address(&listeners.http),
        otlp: address(&listeners.otlp_grpc),
        otlp_http: address(&listeners.otlp_http),
        jaeger: address(&listeners.jaeger_http),
        stop: Some(stop),
        stopped: tokio::spawn(tracestore::serve(listeners, config, data, async {
            let _ = stopping.await;
        })),
    }
}

impl Server {
    pub(crate) async fn client(&self) -> TraceServiceClient<Channel> {
        client(&self.otlp.to_string()).await
    }

    pub(crate) async fn export(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Status> {
        let answer = self.client().await.export(request).await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn export_gzipped(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Status> {
        let client = self.client().await;
        let mut client = client.send_compressed(CompressionEncoding::Gzip);
        Ok(client.export(request).await?.into_inner())
    }

    /// What `path` answers.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.http.to_string(), path, &[]).await
    }

    pub(crate) async fn get_protobuf(&self, path: &str) -> Answer {
        let accept = (ACCEPT.as_str(), "application/protobuf");
        get(&self.http.to_string(), path, &[accept]).await
    }

    /// What `POST /v1/traces` answers.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let address = self.otlp_http.to_string();
        send(&address, Method::POST, "/v1/traces", headers, body.into()).await
    }

    /// What `POST /api/traces` of the Jaeger receiver answers to thrift.
    pub(crate) async fn post_thrift(&self, body: impl Into<Bytes>) -> Answer {
        post_thrift(&self.jaeger.to_string(), body).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        get(&self.http.to_string(), path, headers).await
    }
}

pub(crate) async fn client(otlp: &str) -> TraceServiceClient<Channel> {
    TraceServiceClient::connect(format!("http://{otlp}"))
        .await
        .unwrap()
        .max_encoding_message_size(usize::MAX)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of a successful answer in JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) async fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, Method::GET, path, headers, Bytes::new()).await
}

pub(crate) async fn post_thrift(address: &str, body: impl Into<Bytes>) -> Answer {
    let path = "/api/traces?format=jaeger.thrift";
    let kind = ("content-type", "application/x-thrift");
    send(address, Method::POST, path, &[kind], body.into()).await
}

pub(crate) async fn send(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == HOST) {
        request = request.header(HOST, address);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    connection.await.unwrap().unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}
