//! A collector that answers as it is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::ResourceSpans,
};
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    Config,
    exporter::Courier,
    transport::{Event, Outcome},
};

/// What is done with requests, those on their way among them.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Accept,
    Reject(u64),
    Refuse,
    GiveUp,
    /// Tells of a failure, and waits for another answer.
    Fail,
    /// Waits for another answer.
    Hang,
    Panic,
}

#[derive(Clone, Debug)]
pub(super) struct Collector {
    answer: Arc<watch::Sender<Answer>>,
    received: Arc<Mutex<Vec<Bytes>>>,
    accepted: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            answer: Arc::new(watch::Sender::new(answer)),
            received: Arc::default(),
            accepted: Arc::default(),
        }
    }

    pub(super) fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Requests that came, whatever the answer was.
    pub(super) fn received(&self) -> Vec<Bytes> {
        self.received.lock().unwrap().clone()
    }

    /// What was accepted.
    pub(super) fn resource_spans(&self) -> Vec<ResourceSpans> {
        let accepted = self.accepted.lock().unwrap();
        let decode = |bytes: &Bytes| ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        let requests = accepted.iter().map(decode);
        requests
            .flat_map(|request| request.resource_spans)
            .collect()
    }

    /// The names of the spans that were accepted.
    pub(super) fn names(&self) -> Vec<String> {
        let scopes = self
            .resource_spans()
            .into_iter()
            .flat_map(|of| of.scope_spans);
        let spans = scopes.flat_map(|of| of.spans);
        spans.map(|span| span.name).collect()
    }

    /// Nobody else has a copy.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.answer) == 1
    }

    pub(super) fn len(&self) -> usize {
        self.names().len()
    }
}

/// How many spans a request has.
pub(super) fn spans_in(request: &Bytes) -> usize {
    let request = ExportTraceServiceRequest::decode(request.clone()).unwrap();
    let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
    scopes.map(|of| of.spans.len()).sum()
}

impl Courier for Collector {
    async fn deliver(&mut self, request: Bytes, told: &mut dyn FnMut(Event)) -> Outcome {
        self.received.lock().unwrap().push(request.clone());
        let mut answer = self.answer.subscribe();
        let cause = "says the test".to_owned();
        loop {
            let now = answer.borrow_and_update().clone();
            match now {
                Answer::Accept => {
                    self.accepted.lock().unwrap().push(request);
                    return Outcome::Accepted {
                        rejected: 0,
                        message: String::new(),
                    };
                }
                Answer::Reject(rejected) => {
                    return Outcome::Accepted {
                        rejected,
                        message: cause,
                    };
                }
                Answer::Refuse => return Outcome::Refused { cause },
                Answer::GiveUp => return Outcome::GaveUp { cause },
                Answer::Fail => {
                    let again_in = std::time::Duration::from_millis(1);
                    let cause = cause.clone();
                    told(Event::Failed { cause, again_in });
                }
                Answer::Hang => {}
                Answer::Panic => panic!("as the test wants it"),
            }
            answer.changed().await.unwrap();
        }
    }

    fn again(&self, _: &Config) -> Option<Self> {
        Some(self.clone())
    }
}
