//! Requests at their rate, until there were enough or somebody stops them.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use telemetry::{
    Telemetry,
    metrics::{self, HttpRequest, Metrics, Over},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    chance::Chance,
    options::Options,
    request::{self, Done},
    scenario::Scenario,
    summary::Summary,
};

/// Most requests at once: a rate beyond what they allow is not kept.
const AT_ONCE: usize = 1000;

const SCHEME: &str = "https";

/// Plays the requests. After a signal none begins any more, and those that have begun go on to their end; after a second one
/// the process ends.
pub(crate) async fn run(
    options: &Options,
    measurements: &Measurements,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let (seed, latency) = (options.seed(), options.latency);
    let mut signals = Signals::listen()?;
    let mut progress = Progress::new(options.requests);
    let mut schedule = interval(Duration::from_secs_f64(1.0 / options.rate));
    schedule.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut requests = JoinSet::new();
    let mut begun = 0;
    let mut stopped = false;
    loop {
        let more = !stopped && (options.requests == 0 || begun < options.requests);
        if !more && requests.is_empty() {
            break;
        }
        tokio::select! {
            () = signals.next() => {
                if stopped {
                    std::process::exit(130);
                }
                stopped = true;
            }
            Some(done) = requests.join_next() => summary.add(done?),
            _ = schedule.tick(), if more && requests.len() < AT_ONCE => {
                let scenario = Scenario::of(seed, begun);
                let chance = Chance::new(seed, begun, latency);
                let measured = measurements.begin(scenario);
                requests.spawn(async move {
                    let done = request::play(scenario, chance).await;
                    measured.end(&done);
                    done
                });
                begun += 1;
            }
        }
        progress.show(summary.requests(), requests.len());
    }
    progress.clear();
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Metrics of the requests.
#[derive(Debug)]
pub(crate) struct Measurements {
    metrics: Metrics,
    /// Dropped, it ends the server.
    _server: oneshot::Sender<()>,
}

/// A request that is being measured.
struct Measured {
    metrics: Metrics,
    scenario: Scenario,
}

impl Measurements {
    /// Answers `/metrics` as long as this lives.
    pub(crate) fn served(listener: TcpListener, telemetry: &Telemetry) -> io::Result<Self> {
        let requests = Metrics::new();
        let mut registry = Registry::default();
        requests.register(&mut registry);
        metrics::register_target(&mut registry, telemetry.resource());
        metrics::register_process(&mut registry);
        metrics::register_telemetry(&mut registry, telemetry);
        let address = listener.local_addr()?;
        // Of a closed pipe there is nobody to tell.
        let _ = writeln!(io::stderr(), "metrics at http://{address}/metrics");
        let (server, stopped) = oneshot::channel();
        tokio::spawn(metrics::serve(listener, registry, async {
            let _: Result<(), _> = stopped.await;
        }));
        Ok(Self {
            metrics: requests,
            _server: server,
        })
    }

    fn begin(&self, scenario: Scenario) -> Measured {
        let metrics = self.metrics.clone();
        metrics.server_begun(scenario.route.method(), SCHEME);
        Measured { metrics, scenario }
    }
}

impl Measured {
    fn end(self, done: &Done) {
        let status = done.status.to_string();
        let request = HttpRequest {
            method: self.scenario.route.method(),
            status: done.status,
            error: if done.failed() { &status } else { "" },
            scheme: SCHEME,
            route: self.scenario.route.template(),
            ..HttpRequest::default()
        };
        let over = Over {
            duration: done.took,
            end: SystemTime::now(),
            span: &done.span,
        };
        self.metrics.server_ended(&request, over);
    }
}

/// A line on a terminal that is written over.
struct Progress {
    wanted: u64,
    is_terminal: bool,
    shown: String,
}

impl Progress {
    fn new(wanted: u64) -> Self {
        Self {
            wanted,
            is_terminal: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    /// Leaves the cursor where it begins, so that a line of the log, which is longer, takes its place.
    fn show(&mut self, done: u64, open: usize) {
        let line = match self.wanted {
            0 => format!("{done} requests, {open} open"),
            wanted => format!("{done} of {wanted} requests, {open} open"),
        };
        if self.is_terminal && line != self.shown {
            let _ = write!(io::stderr(), "\x1b[2K{line}\r");
            self.shown = line;
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\x1b[2K");
        }
    }
}
