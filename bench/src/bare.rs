//! The floor: a hyper proxy that forwards and does nothing else.

use std::env;
use std::io::{self, Write as _};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::{Request, Uri, service::service_fn};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// Forwards everything to the origin in `UPSTREAM` until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let upstream: Uri = env::var("UPSTREAM")?.parse()?;
    let upstream = upstream
        .authority()
        .context("UPSTREAM has no host")?
        .clone();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = service_fn(move |mut req: Request<Incoming>| {
            let mut uri = req.uri().clone().into_parts();
            uri.scheme = Some(hyper::http::uri::Scheme::HTTP);
            uri.authority = Some(upstream.clone());
            *req.uri_mut() = Uri::from_parts(uri).expect("the path comes from a request");
            client.request(req)
        });
        let served = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(served.into_owned());
    }
}
