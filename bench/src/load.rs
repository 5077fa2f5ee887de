//! An upstream that says hello, and clients that ask at a steady pace, or as fast as they are answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1 as client;
use hyper::header::HOST;
use hyper::server::conn::http1 as server;
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::{task::JoinSet, time};

/// How much longer than planned a load may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Requests are due in groups, this far apart.
const TICK: Duration = Duration::from_micros(250);

/// Who called, as an edge would say: a request that is to be traced.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// These stay open, with one request at a time.
    pub(crate) connections: u64,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many requests in all, so many of them due each second, answered or not.
    Steady { requests: u64, rate: u64 },
    /// The next request as soon as one is answered, for so long.
    Closed(Duration),
}

impl Load {
    /// A load of so many requests per second, for so long.
    pub(crate) fn steady(rate: u64, connections: u64, duration: Duration) -> Self {
        let requests = (rate as f64 * duration.as_secs_f64()) as u64;
        Self {
            connections,
            pace: Pace::Steady { requests, rate },
        }
    }

    /// Requests on one connection, to make sure of an answer.
    pub(crate) fn once() -> Self {
        let (requests, rate) = (1, 1000);
        Self {
            connections: 1,
            pace: Pace::Steady { requests, rate },
        }
    }
}

/// Connections that stay open from one load to the next.
pub(crate) struct Clients(Vec<client::SendRequest<Empty<Bytes>>>);

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) requests: u64,
    /// In nanoseconds, from when a request was due, not from when a connection was free to send it: a service
    /// that stalls makes all wait who would have come meanwhile.
    pub(crate) latency: Histogram<u64>,
    pub(crate) took: Duration,
}

impl Answers {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }
}

/// Asks `addr` for the page of `host`, on connections that are opened before and closed behind it.
///
/// # Errors
/// As [`Clients::ask`].
pub(crate) async fn run(
    addr: SocketAddr,
    host: &'static str,
    load: Load,
) -> anyhow::Result<Answers> {
    let mut clients = Clients::connect(addr, load.connections).await?;
    clients.ask(host, load.pace).await
}

impl Clients {
    pub(crate) async fn connect(addr: SocketAddr, connections: u64) -> anyhow::Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            senders.push(sender);
        }
        Ok(Self(senders))
    }

    /// Asks for the page of `host`.
    ///
    /// # Errors
    /// If any request is not answered with 200, or if all together take a minute longer than planned. Nothing more can be asked
    /// then.
    pub(crate) async fn ask(&mut self, host: &'static str, pace: Pace) -> anyhow::Result<Answers> {
        let schedule = Arc::new(Schedule::new(pace));
        let mut clients = JoinSet::new();
        for sender in self.0.drain(..) {
            clients.spawn(ask(sender, host, Arc::clone(&schedule)));
        }
        let all = async {
            let mut latency = Histogram::new(3)?;
            while let Some(asked) = clients.join_next().await {
                let (sender, latency_of_one) = asked??;
                self.0.push(sender);
                latency.add(latency_of_one)?;
            }
            anyhow::Ok(Answers {
                requests: latency.len(),
                latency,
                took: schedule.start.elapsed(),
            })
        };
        let planned = match pace {
            Pace::Steady { requests, rate } => {
                Duration::from_secs_f64(requests as f64 / rate as f64)
            }
            Pace::Closed(duration) => duration,
        };
        // Tokio's own timers are no finer than a millisecond.
        let pacing = Arc::clone(&schedule);
        let pacing = thread::spawn(move || pacing.release());
        let answers = time::timeout(planned + LIMIT, all).await;
        schedule.due.close();
        let _ = pacing.join();
        answers.with_context(|| format!("{pace:?} took {LIMIT:?} longer than planned"))?
    }
}

async fn ask(
    mut sender: client::SendRequest<Empty<Bytes>>,
    host: &'static str,
    schedule: Arc<Schedule>,
) -> anyhow::Result<(client::SendRequest<Empty<Bytes>>, Histogram<u64>)> {
    let mut latency = Histogram::new(3)?;
    while let Some(due) = schedule.next().await {
        let request = Request::get("/")
            .header(HOST, host)
            .header("traceparent", TRACEPARENT)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        ensure!(response.status() == 200, "answered {}", response.status());
        response.into_body().collect().await?;
        latency.record(due.elapsed().as_nanos() as u64)?;
    }
    Ok((sender, latency))
}

/// Which request is due when.
struct Schedule {
    pace: Pace,
    start: Instant,
    taken: AtomicU64,
    /// A permit for each request that is due and not yet taken.
    due: Semaphore,
}

impl Schedule {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            start: Instant::now(),
            taken: AtomicU64::new(0),
            due: Semaphore::new(0),
        }
    }

    /// Waits until a request is due, and says since when; nothing once there are no more.
    async fn next(&self) -> Option<Instant> {
        match self.pace {
            Pace::Closed(duration) => (self.start.elapsed() < duration).then(Instant::now),
            Pace::Steady { rate, .. } => {
                self.due.acquire().await.ok()?.forget();
                let number = self.taken.fetch_add(1, Relaxed) + 1;
                let ticks = (number as f64 / per_tick(rate)).ceil();
                Some(self.start + TICK.mul_f64(ticks))
            }
        }
    }

    /// Makes requests due as their time comes, until all are taken or nobody waits for any.
    fn release(&self) {
        let Pace::Steady { requests, rate } = self.pace else {
            return;
        };
        let (mut tick, mut released) = (0, 0);
        while self.taken.load(Relaxed) < requests && !self.due.is_closed() {
            tick = (tick + 1).max((self.start.elapsed().as_nanos() / TICK.as_nanos()) as u32);
            thread::sleep((TICK * tick).saturating_sub(self.start.elapsed()));
            let due = (f64::from(tick) * per_tick(rate)) as u64;
            let due = due.min(requests);
            self.due.add_permits((due - released) as usize);
            released = due;
        }
        self.due.close();
    }
}

fn per_tick(rate: u64) -> f64 {
    rate as f64 * TICK.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::{Load, hello, run};
    use std::time::Duration;

    #[tokio::test]
    async fn as_many_requests_are_answered_as_were_planned() {
        let upstream = hello().await.unwrap();
        let load = Load::steady(2000, 3, Duration::from_millis(200));
        let answers = run(upstream, "localhost", load).await.unwrap();
        assert_eq!(answers.requests, 400);
        assert_eq!(answers.latency.len(), 400);
        assert!(answers.took >= Duration::from_millis(199));
    }

    #[tokio::test]
    async fn a_request_waits_from_when_it_was_due() {
        // One connection and a pace that it cannot keep: the last one waits for nearly all others.
        let upstream = hello().await.unwrap();
        let load = Load::steady(1_000_000, 1, Duration::from_millis(2));
        let answers = run(upstream, "localhost", load).await.unwrap();
        assert_eq!(answers.requests, 2000);
        let took = answers.took.as_nanos() as f64;
        assert!(answers.latency.max() as f64 > 0.9 * took);
    }
}
