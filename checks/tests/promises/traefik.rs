//! A real Traefik of a test's own.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::time;

use crate::http::get;
use crate::lab::{PATIENCE, Process};
use crate::need::{self, TRAEFIK};

/// One that forwards requests.
#[derive(Debug)]
pub(crate) struct Traefik {
    /// Where it forwards requests.
    pub(crate) web: SocketAddr,
    /// Where it shows its metrics, if it is told to.
    pub(crate) admin: SocketAddr,
    process: Process,
}

impl Traefik {
    /// Starts one with these flags and no other variables, and waits until it forwards a request for this host. `None` where
    /// there is no Traefik.
    pub(crate) async fn start(
        flags: Vec<String>,
        variables: &[(&str, String)],
        host: &str,
    ) -> Option<Self> {
        let program = need::program("traefik", TRAEFIK)?;
        let [web, admin] = [free().await, free().await];
        let addrs = [&web, &admin].map(|port| port.local_addr().unwrap());
        drop((web, admin));
        let [web, admin] = addrs;
        let mut command = Command::new(program);
        command
            .env_clear()
            .args(flags)
            .arg(format!("--entrypoints.web.address={web}"))
            .arg(format!("--entrypoints.traefik.address={admin}"))
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let traefik = Self {
            web,
            admin,
            process: Process::start(&mut command),
        };
        let url = format!("http://{web}/");
        let begun = Instant::now();
        // At first it does not listen, and then it has no routes.
        while !get(&url, &[("host", host.as_bytes())])
            .await
            .is_ok_and(|answer| answer.status == 200)
        {
            assert!(begun.elapsed() < PATIENCE, "{}", traefik.process.log());
            time::sleep(Duration::from_millis(20)).await;
        }
        Some(traefik)
    }
}

async fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
