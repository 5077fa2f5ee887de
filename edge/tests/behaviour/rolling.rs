//! Services and edges are replaced one after the other under load, and every request is answered.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{env, io};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::header::CONNECTION;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use telemetry::stop::Stop;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use crate::books;
use crate::support::HOST;

/// Of this machine, and of no other test: each service that begins anew takes the port of the one before.
const ADDRESS: &str = "127.0.0.2:0";

/// Where the service listens that this program is to be.
const SERVES: &str = "EDGE_TEST_SERVES";

/// How many requests a second all clients send, as far as the machine can.
const RATE: u32 = 1000;
const CLIENTS: u32 = 32;

/// Nothing here takes that long, unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// So many answers are awaited between one change and the next: several from each client.
const SOME: usize = 320;

/// Not a test, but where the service begins: the example of `crates/telemetry`.
#[test]
fn service() {
    let Ok(addr) = env::var(SERVES) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let telemetry = telemetry::builder("books", "")
            .shutdown_timeout(HANG)
            .init()
            .unwrap();
        let stop = Stop::on_signals(Duration::from_millis(50)).unwrap();
        let listener = TcpListener::bind(addr).await.unwrap();
        // A line of its own, whatever the harness has written before.
        write(&format!(
            "\nlistening on {}\n",
            listener.local_addr().unwrap()
        ));
        let readiness = stop.readiness();
        let stock = "http://127.0.0.1:1".to_owned();
        // Where a busy machine lets a request outlast the time for draining, the edge asks again.
        let _ = books::serve(listener, stock, &telemetry, readiness, stop.draining()).await;
        // It is an error if a span is lost.
        telemetry.shutdown().await.unwrap();
    });
}

fn write(line: &str) {
    io::Write::write_all(&mut io::stdout(), line.as_bytes()).unwrap();
}

/// A process that says where it listens.
struct Part {
    child: Child,
    addr: SocketAddr,
}

impl Part {
    async fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = patiently(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it listens");
                if let Some(addr) = line.strip_prefix("listening on ") {
                    break addr.parse().unwrap();
                }
            }
        })
        .await;
        // A full pipe would hold it up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, addr }
    }

    /// A service with the layers of `crates/telemetry`, whose spans go to this collector.
    async fn service(addr: &str, collector: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "rolling::service",
                "--nocapture",
                "--test-threads=2",
            ])
            .env_clear()
            .env(SERVES, addr)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("TELEMETRY_LOGS", "off");
        Self::start(&mut command).await
    }

    async fn edge(services: &[SocketAddr], collector: &str) -> Self {
        let services = services.iter().map(|addr| format!("http://{addr}"));
        let services: Vec<_> = services.collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
        command
            .env_clear()
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("ROUTES", format!("{HOST}={}", services.join("|")))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            // As good as for ever: it ends when nobody asks it any more.
            .env("SHUTDOWN_DELAY_MS", "86400000");
        Self::start(&mut command).await
    }

    fn signal(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    async fn ended(&mut self) -> Option<i32> {
        patiently(self.child.wait()).await.unwrap().code()
    }
}

/// Clients that ask without end, the first edge until that sends them away, then the next.
struct Load {
    answers: Arc<AtomicUsize>,
    /// How many clients are at each edge.
    at: Arc<[AtomicUsize; 2]>,
    is_over: Arc<AtomicBool>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn begin(edges: [SocketAddr; 2]) -> Self {
        let mut load = Self {
            answers: Arc::default(),
            at: Arc::new([AtomicUsize::new(CLIENTS as usize), AtomicUsize::new(0)]),
            is_over: Arc::default(),
            clients: JoinSet::new(),
        };
        for _ in 0..CLIENTS {
            let (answers, at) = (Arc::clone(&load.answers), Arc::clone(&load.at));
            let is_over = Arc::clone(&load.is_over);
            load.clients.spawn(async move {
                let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
                let mut pace = time::interval(Duration::from_secs(1) * CLIENTS / RATE);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut edge = 0;
                let mut failures = Vec::new();
                while !is_over.load(Relaxed) {
                    pace.tick().await;
                    let request = Request::get(format!("http://{}/stock/1", edges[edge]))
                        .header("host", HOST)
                        .body(Empty::new())
                        .unwrap();
                    let answered = async {
                        let answer = client.request(request).await?;
                        let (head, body) = answer.into_parts();
                        let body = body.collect().await?.to_bytes();
                        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head, body))
                    };
                    match answered.await {
                        Ok((head, body)) if head.status == StatusCode::OK && &*body == b"3" => {
                            if head.headers.contains_key(CONNECTION) {
                                at[edge].fetch_sub(1, Relaxed);
                                edge = 1 - edge;
                                at[edge].fetch_add(1, Relaxed);
                            }
                        }
                        Ok((head, body)) => failures.push(format!("{} {body:?}", head.status)),
                        Err(err) => failures.push(format!("edge {edge}: {err:?}")),
                    }
                    answers.fetch_add(1, Relaxed);
                }
                failures
            });
        }
        load
    }

    /// Waits for some more answers.
    async fn goes_on(&self) {
        let enough = self.answers.load(Relaxed) + SOME;
        patiently(async {
            while self.answers.load(Relaxed) < enough {
                time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// How many requests there were, and what went wrong with them.
    async fn ended(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Relaxed);
        let failures = self.clients.join_all().await.concat();
        (self.answers.load(Relaxed), failures)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_services_and_edges_are_replaced() {
    let (_collector, collector) = crate::process::collector().await;
    let mut services = [
        Part::service(ADDRESS, &collector).await,
        Part::service(ADDRESS, &collector).await,
    ];
    let addrs = [services[0].addr, services[1].addr];
    let mut edges = [
        Part::edge(&addrs, &collector).await,
        Part::edge(&addrs, &collector).await,
    ];
    let load = Load::begin([edges[0].addr, edges[1].addr]);
    load.goes_on().await;

    let mut replaced = 0;
    for _ in 0..3 {
        for service in &mut services {
            service.signal();
            assert_eq!(service.ended().await, Some(0));
            *service = Part::service(&service.addr.to_string(), &collector).await;
            replaced += 1;
            load.goes_on().await;
        }
    }

    edges[0].signal();
    // It says so in every answer, so that no client has to find out by an error.
    patiently(async {
        while load.at[0].load(Relaxed) > 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    load.goes_on().await;
    edges[0].signal();
    assert_eq!(edges[0].ended().await, Some(1));
    load.goes_on().await;

    let (sent, failures) = load.ended().await;
    assert!(
        failures.is_empty(),
        "{} of {sent}: {failures:#?}",
        failures.len()
    );
    assert!(sent >= (replaced + 3) * SOME, "{sent}");
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    time::timeout(HANG, future).await.expect("it hangs")
}
