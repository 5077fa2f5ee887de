//! The connection to the collector, and one request over it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut, buf::Chain};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, rt::Executor};
use hyper_util::client::legacy::{Client, connect::capture_connection};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    cause::chain,
    connector::{Connector, Finding},
};
use crate::Protocol;

/// Most bytes of an answer that are read (OTLP, "Response size limit").
const LARGEST_REPLY: usize = 4 << 20;

/// Most bytes of headers and trailers of an answer over HTTP/2.
const LARGEST_HEADERS: u32 = 64 << 10;

/// A frame's prefix, if the protocol has one, and the request.
pub(super) type Body = Full<Chain<Bytes, Bytes>>;

/// An answer. Its status can be relied upon even where its body did not arrive.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: ReplyBody,
    pub(super) trailers: HeaderMap,
}

#[derive(Clone, Debug)]
pub(super) enum ReplyBody {
    Whole(Bytes),
    TooLarge,
    /// The connection or the time for the attempt ended before it.
    Cut(String),
}

/// Makes one connection when it is needed, and another after it served badly.
pub(super) struct Link {
    protocol: Protocol,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
    /// Taken while a request is on its way: an abandoned request takes its connection along.
    kept: Option<Connected>,
}

struct Connected {
    client: Client<Connector, Body>,
    finding: Finding,
    tasks: Tasks,
}

/// What works on a connection in the background.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Link {
    pub(super) fn new(
        protocol: Protocol,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        timeout: Duration,
    ) -> Self {
        Self {
            protocol,
            tls,
            timeout,
            kept: None,
        }
    }

    /// Sends a request and reads the answer, connecting first if need be, all within the timeout.
    ///
    /// # Errors
    /// A cause, if there was no answer.
    pub(super) async fn exchange(&mut self, mut request: Request<Body>) -> Result<Reply, String> {
        let deadline = Instant::now() + self.timeout;
        let connected = self.kept.take().unwrap_or_else(|| self.connect());
        let peer = authority(request.uri()).to_owned();
        let captured = capture_connection(&mut request);
        let answered = timeout_at(deadline, connected.client.request(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(match connected.finding.get() {
                    Some(finding) => format!("cannot speak to {peer}: {finding}"),
                    None if error.is_connect() => {
                        format!("cannot connect to {peer}: {}", chain(&error))
                    }
                    None => format!("no answer from {peer}: {}", chain(&error)),
                });
            }
            Err(_) => {
                let lacking = if captured.connection_metadata().is_some() {
                    "answer from"
                } else {
                    "connection to"
                };
                return Err(format!("no {lacking} {peer} within {:?}", self.timeout));
            }
        };
        let reply = self.read(response, deadline).await;
        if let ReplyBody::Whole(_) = reply.body {
            self.kept = Some(connected);
        }
        Ok(reply)
    }

    async fn read(&self, response: Response<Incoming>, deadline: Instant) -> Reply {
        let (head, mut body) = response.into_parts();
        let mut whole = BytesMut::new();
        let mut trailers = HeaderMap::new();
        let reading = async {
            while let Some(frame) = body.frame().await {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) if whole.len() + data.len() > LARGEST_REPLY => {
                        return ReplyBody::TooLarge;
                    }
                    Ok(Ok(data)) => whole.extend_from_slice(&data),
                    Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
                    Err(error) => return ReplyBody::Cut(chain(&error)),
                }
            }
            ReplyBody::Whole(whole.freeze())
        };
        let body = timeout_at(deadline, reading).await.unwrap_or_else(|_| {
            ReplyBody::Cut(format!("it was not complete within {:?}", self.timeout))
        });
        Reply {
            status: head.status,
            headers: head.headers,
            body,
            trailers,
        }
    }

    fn connect(&self) -> Connected {
        let finding = Finding::default();
        let tls = self.tls.clone();
        let connector = Connector::new(self.protocol, tls, self.timeout, finding.clone());
        let tasks = Tasks::default();
        let client = Client::builder(tasks.clone())
            .http2_only(self.protocol == Protocol::Grpc)
            .http2_max_header_list_size(LARGEST_HEADERS)
            .pool_max_idle_per_host(1)
            .build(connector);
        Connected {
            client,
            finding,
            tasks,
        }
    }
}

impl Drop for Connected {
    /// Ends the connection. By itself it would stay open for as long as its peer reads nothing.
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
    }
}

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        // A set of tasks is whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("protocol", &self.protocol)
            .field("connected", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}

/// Host and port for a person to read.
pub(super) fn authority(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}

pub(super) fn body(prefix: Bytes, payload: Bytes) -> Body {
    Full::new(prefix.chain(payload))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Method;
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_keeps_no_connection_open() {
        // Accepts by its backlog, and never reads.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let mut link = Link::new(protocol, None, Duration::from_millis(100));
            let connected = link.connect();
            let tasks = connected.tasks.clone();
            link.kept = Some(connected);
            let payload = Bytes::from(vec![0; 64 << 20]);
            let mut request = Request::new(body(Bytes::new(), payload));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri.parse().unwrap();
            let cause = link.exchange(request).await.unwrap_err();
            assert!(cause.starts_with("no answer from "), "{cause}");
            let ended = async {
                let mut ended = 0;
                while poll_fn(|cx| tasks.lock().poll_join_next(cx))
                    .await
                    .is_some()
                {
                    ended += 1;
                }
                ended
            };
            let ended = timeout(Duration::from_secs(60), ended).await;
            assert!(ended.is_ok_and(|ended| ended > 0), "{protocol:?}");
        }
    }
}
