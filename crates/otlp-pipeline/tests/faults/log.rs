//! However often the network comes and goes, the log has a line for what has changed, and no more.

use std::{
    sync::{Mutex, Once},
    time::{Duration, Instant},
};

use faults::{Answer, Collector, Fault, Proxy};
use otlp_pipeline::Pipeline;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

use crate::{LONG, PROTOCOLS, config, end_spans, line::Line, network::wait_for_failure, provider};

/// What the exporter waits for, at least, from one line about a failure to the next.
const BETWEEN: Duration = Duration::from_secs(10);

const FAILING: &str = "spans cannot be sent, and wait";
const AGAIN: &str = "spans are sent again";
const LAST: &str = "all spans that ended were delivered";

/// Keeps what pipelines say.
struct Lines;

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(line) = Line::of(event) {
            LINES.lock().unwrap().push(line);
        }
    }
}

#[test]
fn a_flapping_network_is_a_line_when_it_fails_and_one_when_it_does_not() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Lines);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::None);
        let config = config(protocol, proxy.address());
        let endpoint = config.endpoint.clone();
        let begun = Instant::now();
        let pipeline = Pipeline::start(config).unwrap();
        let provider = provider(&pipeline);
        let flaps = 30;
        for nth in 0..flaps {
            proxy.set(Fault::Refuse);
            end_spans(&provider, nth * 10..(nth + 1) * 10);
            wait_for_failure(&pipeline, "");
            proxy.set(Fault::None);
            pipeline.flush(LONG).unwrap();
        }
        pipeline.shutdown(LONG).unwrap();
        assert_eq!(pipeline.accounts().exported, 10 * flaps as u64);

        // Not held while something may fail: the exporters of other tests write to it.
        let lines = LINES.lock().unwrap().clone();
        let ours = lines.iter().filter(|line| line.endpoint == endpoint);
        let told: Vec<_> = ours.map(|line| line.message.as_str()).collect();
        let failures = told.iter().filter(|line| **line == FAILING).count();
        let mut expected = [FAILING, AGAIN].repeat(failures);
        expected.push(LAST);
        assert_eq!(told, expected);
        let most = 1 + begun.elapsed().as_secs() / BETWEEN.as_secs();
        assert!(
            (1..=most).contains(&(failures as u64)),
            "{failures}, {most}"
        );
    }
}
