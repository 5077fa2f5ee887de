//! Servers, clients and bodies to be traced.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use ::http::{Request, Response};
use ::hyper::body::{Body, Bytes, Frame, Incoming};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use telemetry::http::ServerLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::{Layer, service_fn};

pub(crate) type AnyBody = BoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Result<Response<AnyBody>, Infallible>;

/// Serves HTTP/1 and 2 as one does with plain hyper: a service for each connection.
pub(crate) async fn serve<H, F>(layer: ServerLayer, handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let service = layer.clone().peer(peer).layer(service_fn(handler.clone()));
            tokio::spawn(async move {
                let service = TowerToHyperService::new(service);
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

/// A handler that answers everything with a word.
pub(crate) async fn hello(_: Request<Incoming>) -> Answer {
    Ok(page("hello"))
}

pub(crate) fn page(text: &'static str) -> Response<AnyBody> {
    Response::new(full(text))
}

pub(crate) fn full(text: &'static str) -> AnyBody {
    Full::from(text).map_err(|never| match never {}).boxed()
}

/// A body that ends when its sender is dropped.
pub(crate) struct Channel(mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

pub(crate) type Sender = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

impl Channel {
    pub(crate) fn open() -> (Sender, AnyBody) {
        let (sender, receiver) = mpsc::channel(8);
        (sender, Self(receiver).boxed())
    }
}

impl Body for Channel {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

pub(crate) fn data(text: &'static str) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

pub(crate) fn http_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

/// Sends bytes and returns the connection with what came back until `until`.
pub(crate) async fn raw(addr: SocketAddr, bytes: &str, until: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let reply = read_until(&mut stream, until).await;
    (stream, reply)
}

pub(crate) async fn read_until(stream: &mut TcpStream, until: &str) -> String {
    let mut reply = Vec::new();
    while !String::from_utf8_lossy(&reply).contains(until) {
        let read = stream.read_buf(&mut reply).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&reply));
    }
    String::from_utf8(reply).unwrap()
}
