//! The gRPC spoken here is that of others: a server made by tonic from OTLP's own definition.

use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, codec::CompressionEncoding, codegen::Service};

use crate::{
    Compression, Protocol, config, deliver, request,
    transport::{Outcome, Transport},
};

type Answer = Result<ExportTraceServiceResponse, Status>;

/// Gives its answers from the last to the first.
#[derive(Clone)]
struct Stub {
    answers: Arc<Mutex<Vec<Answer>>>,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Stub {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.requests.lock().unwrap().push(request.into_inner());
        let answer = self.answers.lock().unwrap().pop();
        answer.expect("no further request").map(Response::new)
    }
}

#[tokio::test]
async fn a_server_made_by_tonic_is_understood() {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans: 1,
        error_message: "one was old".to_owned(),
    });
    let stub = Stub {
        answers: Arc::new(Mutex::new(vec![
            Err(Status::invalid_argument("naïve: 100 %")),
            Ok(ExportTraceServiceResponse { partial_success }),
            Err(Status::unavailable("soon")),
        ])),
        requests: Arc::default(),
    };
    let requests = stub.requests.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(stub).accept_compressed(CompressionEncoding::Gzip);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn({
                let service = service.clone();
                move |request| service.clone().call(request)
            });
            let builder =
                hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });

    let mut config = config(Protocol::Grpc, address);
    config.compression = Compression::Gzip;
    let mut transport = Transport::new(&config).unwrap();
    let (outcome, causes) = deliver(&mut transport, 0..100).await;
    let message = "one was old".to_owned();
    let rejected = 1;
    assert_eq!(outcome, Outcome::Accepted { rejected, message });
    assert_eq!(causes, [format!("{address} answered UNAVAILABLE: soon")]);
    let (outcome, _) = deliver(&mut transport, 100..101).await;
    let cause = format!("{address} answered INVALID_ARGUMENT: naïve: 100 %");
    assert_eq!(outcome, Outcome::Refused { cause });

    let sent = |ids| ExportTraceServiceRequest::decode(request(ids)).unwrap();
    let expected = [sent(0..100), sent(0..100), sent(100..101)];
    assert_eq!(*requests.lock().unwrap(), expected);
}
