//! The thread that sends.
//!
//! It has a runtime of its own, so that it makes progress whatever the application's threads do, even if all of them wait
//! for it in a shutdown.

mod desk;
mod report;

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use opentelemetry::Context;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

pub(crate) use self::desk::{Command, Reply};
use self::{desk::Desk, report::Report};
use crate::{
    Config, StartError,
    buffers::{Buffers, Take},
    transport::{Event, Outcome, Transport},
};

/// What brings requests to the collector: the transport, but for tests.
pub(crate) trait Courier: Send + 'static {
    /// See [`Transport::deliver`].
    fn deliver(
        &mut self,
        request: Bytes,
        told: &mut dyn FnMut(Event),
    ) -> impl Future<Output = Outcome>;

    /// Another one, since this one panicked. None to go on with this one.
    fn again(&self, config: &Config) -> Option<Self>
    where
        Self: Sized;
}

impl Courier for Transport {
    async fn deliver(&mut self, request: Bytes, told: &mut dyn FnMut(Event)) -> Outcome {
        self.deliver(request, told).await
    }

    fn again(&self, config: &Config) -> Option<Self> {
        Self::new(config).ok()
    }
}

/// After a panic, so that one that comes back does not keep a processor busy.
const PAUSE: Duration = Duration::from_secs(1);

/// A shutdown in which there are more ends without what is left.
const PANICS_IN_SHUTDOWN: u32 = 3;

/// The longest time between two looks at what waits: what is longer means "for ever".
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Between looks at the buffers while a request is on its way.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

struct Exporter<C> {
    courier: C,
    desk: Desk,
    config: Config,
}

/// What others have of the thread.
pub(crate) struct Running {
    pub(crate) commands: UnboundedSender<Command>,
    /// Nothing is ever received: it is disconnected when the thread has done all it had to.
    pub(crate) ended: mpsc::Receiver<Infallible>,
}

/// Starts the thread. It ends after [`Command::Stop`].
pub(crate) fn start(
    config: Config,
    buffers: Arc<Buffers>,
    courier: impl Courier,
) -> Result<Running, StartError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        // Names are resolved on other threads than the exporter's.
        .thread_name("otlp-pipeline")
        .build()
        .map_err(StartError::Thread)?;
    let (commands, received) = unbounded_channel();
    let report = Report::new(&config.endpoint, config.signal);
    let (until_the_end, ended) = mpsc::channel();
    let run = move || {
        let _until_the_end = until_the_end;
        let exporter = Exporter {
            courier,
            desk: Desk::new(buffers, received, report),
            config,
        };
        exporter.run_until_stopped(runtime);
    };
    thread::Builder::new()
        .name("otlp-pipeline".to_owned())
        .spawn(run)
        .map_err(StartError::Thread)?;
    Ok(Running { commands, ended })
}

impl<C: Courier> Exporter<C> {
    fn run_until_stopped(mut self, runtime: Runtime) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let mut panicked: Option<Box<dyn Any + Send>> = None;
        let mut panics_in_shutdown = 0;
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                if let Some(panic) = panicked.take() {
                    self.recover(&*panic).await;
                }
                self.run().await;
            });
        })) {
            panicked = Some(panic);
            // If it is the subscriber of the log that panics, nothing else can be said.
            panics_in_shutdown += u32::from(self.desk.is_stopping());
            if panics_in_shutdown > PANICS_IN_SHUTDOWN {
                break;
            }
        }
        // A name that is being resolved is not waited for.
        runtime.shutdown_background();
    }

    /// What was on its way is lost; with the rest it goes on.
    async fn recover(&mut self, panic: &(dyn Any + Send)) {
        self.desk.lose_request();
        if let Some(courier) = self.courier.again(&self.config) {
            self.courier = courier;
        }
        self.desk.wait(PAUSE).await;
        self.desk.panicked(message(panic));
    }

    async fn run(&mut self) {
        let mut schedule = every(self.config.schedule_delay);
        loop {
            self.desk.idle(&mut schedule).await;
            self.desk.collect(Take::Everything);
            while let Some(outgoing) = self.desk.next_request() {
                self.send(outgoing.encode(self.desk.memory())).await;
                if self.desk.is_over() {
                    break;
                }
            }
            self.desk.memory().expect_more();
            if self.desk.is_stopping() {
                self.desk.finish().await;
                return;
            }
        }
    }

    /// Brings a request to its end, and does what else is to be done meanwhile.
    async fn send(&mut self, request: Bytes) {
        let Self {
            courier,
            desk,
            config,
        } = self;
        let mut look = every(config.schedule_delay.clamp(SHORTEST_LOOK, LONGEST_LOOK));
        let report = desk.report();
        let mut told = |event| report.borrow_mut().hear(event);
        let mut delivery = pin!(courier.deliver(request, &mut told));
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut delivery => break outcome,
                () = desk.attend() => {}
                _ = look.tick() => desk.collect_meanwhile(config.schedule_delay),
            }
            if desk.is_over() {
                return;
            }
        };
        desk.settle(outcome);
    }
}

fn every(period: Duration) -> Interval {
    let period = period.clamp(Duration::from_millis(1), LONGEST_DELAY);
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    literal.or(formatted).unwrap_or("no message")
}
