//! A collector that fails costs nothing but its own data: answers arrive, and the log says what is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

use crate::http::visit;
use crate::lab::Lab;

/// Visits uservice3 with this collector, waits for the complaint, visits it again, and stops everything.
async fn visit_twice(endpoint: &str) -> Lab {
    let mut lab = Lab::start(&["--otlp", endpoint]).await;
    visit(&lab.url("edge"), "uservice3.localhost").await;
    // The edge keeps its spans and tries again; the others have lost theirs.
    for (part, words) in [
        ("edge", "spans cannot be sent, and wait"),
        ("uservice3", "ERROR"),
        ("uservice4", "ERROR"),
    ] {
        let log = || lab.process.log();
        let complaint = crate::lab::until(|| {
            log()
                .lines()
                .find(|line| line.starts_with(part) && line.contains(words))
                .map(drop)
        });
        assert!(
            complaint.await.is_some(),
            "{part} is silent about it:\n{}",
            log()
        );
    }
    visit(&lab.url("edge"), "uservice3.localhost").await;
    lab.signal(Signal::TERM);
    assert!(lab.process.ended().await.success(), "{}", lab.process.log());
    lab.process
        .says("edge       | flushing the last spans: ")
        .await;
    lab
}

#[tokio::test]
async fn a_collector_that_is_down_is_reported_and_harms_nobody() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    visit_twice(&format!("http://{nobody}")).await;
}

#[tokio::test]
async fn a_collector_that_never_answers_is_reported_and_harms_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    visit_twice(&format!("http://{}", silent.local_addr().unwrap())).await;
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_collector() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    // No export ends before this test does, so nothing that waited for one would.
    let ten_minutes = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "600000");
    let lab = Lab::start_with(&["--otlp", &endpoint], &[ten_minutes]).await;
    for _ in 0..3 {
        visit(&lab.url("edge"), "uservice3.localhost").await;
    }
    let (_export, _) = silent.accept().await.unwrap();
    visit(&lab.url("edge"), "uservice3.localhost").await;
}

#[derive(Debug, Default)]
struct Refusing(Arc<AtomicBool>);

#[async_trait]
impl TraceService for Refusing {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.store(true, Ordering::Relaxed);
        Err(Status::unavailable("not today"))
    }
}

#[tokio::test]
async fn a_collector_that_refuses_is_reported_with_its_code() {
    let asked = Arc::default();
    let service = TraceServiceServer::new(Refusing(Arc::clone(&asked)));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", incoming.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    let lab = visit_twice(&endpoint).await;
    assert!(asked.load(Ordering::Relaxed));
    lab.process.says("gRPC code: Unavailable").await;
}
