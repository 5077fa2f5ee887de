//! How a service stops so that no request fails: unready first, and only then it drains.
//!
//! Whoever distributes requests, such as a proxy or Kubernetes, learns by asking that a service is to get no more of them, and until
//! it has asked it sends some. So there is a delay between the signal and the end of accepting: long enough for that, and
//! none where nobody asks.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time,
};

/// Whether new requests are welcome. Cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// False from the first signal on: then a route such as `/ready` answers 503.
    pub fn is_ready(&self) -> bool {
        !self.0.load(Relaxed)
    }

    /// Says that requests should go elsewhere from now on.
    pub fn end(&self) {
        self.0.store(true, Relaxed);
    }
}

/// SIGTERM and SIGINT, and what becomes of a service after them.
///
/// ```no_run
/// # use std::time::Duration;
/// use axum::{Router, http::StatusCode, routing::get};
/// use telemetry::stop::Stop;
///
/// # async fn run(listener: tokio::net::TcpListener, telemetry: telemetry::Telemetry) -> Result<(), Box<dyn std::error::Error>> {
/// let stop = Stop::on_signals(Duration::from_secs(5))?;
/// let readiness = stop.readiness();
/// let app = Router::new().route(
///     "/ready",
///     get(async move || match readiness.is_ready() {
///         true => StatusCode::OK,
///         false => StatusCode::SERVICE_UNAVAILABLE,
///     }),
/// );
/// let served = axum::serve(listener, app)
///     .with_graceful_shutdown(stop.draining())
///     .await;
/// let flushed = telemetry.shutdown().await;
/// # served?;
/// # flushed?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stop {
    sigterm: Signal,
    sigint: Signal,
    delay: Duration,
    readiness: Readiness,
}

impl Stop {
    /// From now on the process does not just end at a signal. To be called on a runtime.
    ///
    /// # Errors
    /// The system refuses to hand signals over.
    pub fn on_signals(delay: Duration) -> io::Result<Self> {
        Ok(Self {
            sigterm: signal(SignalKind::terminate())?,
            sigint: signal(SignalKind::interrupt())?,
            delay,
            readiness: Readiness::default(),
        })
    }

    /// What ends at the first signal.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Ends when no more requests are to be accepted: after the first signal and the delay.
    ///
    /// The next signal ends the process at once with status 1, whatever it still does: open requests, the last spans and
    /// whatever the service has not written yet are given up.
    pub async fn draining(mut self) {
        self.told().await;
        self.readiness.end();
        let delay = self.delay;
        tokio::spawn(async move {
            self.told().await;
            tracing::error!("told to stop again: open requests and the last spans are given up");
            process::exit(1);
        });
        time::sleep(delay).await;
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.sigterm.recv() => {}
            _ = self.sigint.recv() => {}
        }
    }
}
