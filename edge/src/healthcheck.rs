//! Asks a running edge how it is, for containers that have no shell to do so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time;

use crate::config::{listen_addrs, process_env};
use crate::say;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Exit status: 0 healthy, 1 not, 2 bad environment.
pub(crate) async fn run() -> ExitCode {
    let listen = match listen_addrs(process_env) {
        Ok(listen) => listen,
        Err(err) => {
            say!("{err}");
            return ExitCode::from(2);
        }
    };
    match time::timeout(TIMEOUT, ask(&listen)).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(err)) => {
            say!("{err:#}");
            ExitCode::FAILURE
        }
        Err(_) => {
            say!("no answer within {TIMEOUT:?}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(listen: &[SocketAddr]) -> anyhow::Result<()> {
    let addr = *listen.first().context("LISTEN_ADDR is empty")?;
    let ip = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!("http://{}/healthz", SocketAddr::new(ip, addr.port()));
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(url.parse()?).await.context(url.clone())?;
    ensure!(
        response.status().is_success(),
        "{url}: {}",
        response.status()
    );
    Ok(())
}
