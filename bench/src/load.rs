//! An upstream that says hello, and clients that ask for it at a steady pace.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1 as client;
use hyper::header::HOST;
use hyper::server::conn::http1 as server;
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::{task::JoinSet, time};

/// No load runs longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts the upstream on a free port of loopback; it lives as long as the runtime.
pub(crate) async fn hello() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(async |_| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
            });
            let served = server::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
    Ok(addr)
}

/// How much is asked, and how fast.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Rounded down to a multiple of `connections`.
    pub(crate) requests: u64,
    /// These stay open, with one request at a time.
    pub(crate) connections: u64,
    /// Requests per second, if they are answered that fast.
    pub(crate) rate: u64,
}

/// Asks `addr` for the page of `host`.
///
/// # Errors
/// If any request is not answered with 200, or if all together take longer than a minute.
pub(crate) async fn run(addr: SocketAddr, host: &'static str, load: Load) -> anyhow::Result<()> {
    let requests = load.requests;
    let mut clients = JoinSet::new();
    for _ in 0..load.connections {
        clients.spawn(ask(addr, host, load));
    }
    let all = async {
        while let Some(asked) = clients.join_next().await {
            asked??;
        }
        anyhow::Ok(())
    };
    time::timeout(LIMIT, all)
        .await
        .with_context(|| format!("{requests} requests took longer than {LIMIT:?}"))?
}

async fn ask(addr: SocketAddr, host: &'static str, load: Load) -> anyhow::Result<()> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let pace = Duration::from_secs_f64(load.connections as f64 / load.rate as f64);
    let mut pace = time::interval(pace);
    for _ in 0..load.requests / load.connections {
        pace.tick().await;
        let request = Request::get("/")
            .header(HOST, host)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        ensure!(response.status() == 200, "answered {}", response.status());
        response.into_body().collect().await?;
    }
    Ok(())
}
