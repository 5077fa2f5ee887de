//! A collector on threads of its own, since those of a test may be blocked.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::sync::{oneshot, watch};
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Accept,
    Reject(i64),
    Fail(Code),
    /// Fails once, and accepts from then on.
    FailOnce(Code),
    /// None, until there is another.
    Hang,
}

pub(crate) struct Collector {
    endpoint: String,
    state: Arc<State>,
    _until_dropped: oneshot::Sender<()>,
}

struct State {
    answer: watch::Sender<Answer>,
    attempts: Mutex<usize>,
    spans: Mutex<Vec<Span>>,
}

impl Collector {
    pub(crate) fn new(answer: Answer) -> Self {
        let state = Arc::new(State {
            answer: watch::Sender::new(answer),
            attempts: Mutex::default(),
            spans: Mutex::default(),
        });
        let service = TraceServiceServer::from_arc(Arc::clone(&state));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (_until_dropped, dropped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = TcpIncoming::from(listener);
                let server = Server::builder().add_service(service);
                tokio::select! {
                    served = server.serve_with_incoming(incoming) => served.unwrap(),
                    _ = dropped => {}
                }
            });
        });
        Self {
            endpoint,
            state,
            _until_dropped,
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.state.answer.send_replace(answer);
    }

    /// Requests that came, whatever the answer was.
    pub(crate) fn attempts(&self) -> usize {
        *self.state.attempts.lock().unwrap()
    }

    /// How many spans were accepted.
    pub(crate) fn len(&self) -> usize {
        self.state.spans.lock().unwrap().len()
    }
}

#[tonic::async_trait]
impl TraceService for State {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        *self.attempts.lock().unwrap() += 1;
        let scopes = request.into_inner().resource_spans.into_iter();
        let scopes = scopes.flat_map(|of| of.scope_spans);
        let spans = scopes.flat_map(|of| of.spans).collect::<Vec<_>>();
        let mut answer = self.answer.subscribe();
        loop {
            let now = answer.borrow_and_update().clone();
            let mut response = ExportTraceServiceResponse::default();
            match now {
                Answer::Accept => {}
                Answer::Reject(rejected_spans) => {
                    let error_message = "too old".to_owned();
                    let partial = ExportTracePartialSuccess {
                        rejected_spans,
                        error_message,
                    };
                    response.partial_success = Some(partial);
                }
                Answer::Fail(code) => return Err(Status::new(code, "says the test")),
                Answer::FailOnce(code) => {
                    self.answer.send_replace(Answer::Accept);
                    return Err(Status::new(code, "says the test"));
                }
                Answer::Hang => {
                    answer.changed().await.unwrap();
                    continue;
                }
            }
            self.spans.lock().unwrap().extend(spans);
            return Ok(Response::new(response));
        }
    }
}
