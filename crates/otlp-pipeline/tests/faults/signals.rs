//! Processes that are told to end, or are stopped for a while (reliability f17, f18).
//!
//! Each test runs itself once more, as the process that is sent the signal.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use faults::{Answer, Collector, Export};
use otlp_pipeline::{Pipeline, Protocol};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::{LONG, config, end_span, once, provider};

/// Where the process that is started by a test sends its spans.
const ADDRESS: &str = "OTLP_PIPELINE_TEST_ADDRESS";

/// A process that is killed with its test.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Runs that test with the address of that collector, and waits until it is at work.
    fn start(test: &str, collector: &Collector) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", test])
            .env(ADDRESS, collector.address().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output };
        process.line("ready");
        process
    }

    /// What follows `begin` on the next line that begins so.
    fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the process ended before it said {begin}");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How many spans it ended, after it was told to end itself. All were delivered.
    fn end(mut self) -> i64 {
        self.send(Signal::TERM);
        let ended = self.line("delivered ").parse().unwrap();
        assert!(self.child.wait().unwrap().success());
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, but for a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: it ends spans on several threads until it is told to end, and delivers them.
fn work(address: &str, timeout: Duration) {
    let mut config = config(Protocol::Grpc, address.parse().unwrap());
    config.timeout = timeout;
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    let (next, over) = (AtomicI64::new(0), AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    end_span(&provider, next.fetch_add(1, Relaxed));
                    // About a thousand spans a second by all four.
                    thread::sleep(Duration::from_millis(4));
                }
            });
        }
        runtime.block_on(async {
            let mut told = signal(SignalKind::terminate()).unwrap();
            say("ready");
            told.recv().await;
        });
        over.store(true, Relaxed);
    });
    pipeline.shutdown(Duration::from_secs(5)).unwrap();
    let accounts = pipeline.accounts();
    assert_eq!(accounts.exported, accounts.ended);
    say(&format!("delivered {}", accounts.ended));
}

/// To the test that started this process, on a line of its own: the harness has not ended its own.
#[expect(clippy::print_stdout, reason = "it is how the two processes speak")]
fn say(line: &str) {
    println!("\n{line}");
}

#[test]
fn a_process_that_is_told_to_end_delivers_all_spans() {
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, LONG);
    }
    let collector = Collector::start(|_| Answer::Accept);
    let test = "signals::a_process_that_is_told_to_end_delivers_all_spans";
    let process = Process::start(test, &collector);
    collector.wait_until(|exports| exports.len() >= 20);
    let ended = process.end();
    assert!(ended >= 20, "{ended}");
    assert_eq!(collector.taken(), once(0..ended));
}

#[test]
fn a_process_that_was_stopped_goes_on_where_it_was() {
    let timeout = Duration::from_millis(200);
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, timeout);
    }
    // One request is on its way when the process stops, and all its times pass meanwhile.
    let mut requests = 0;
    let collector = Collector::start(move |_| {
        requests += 1;
        match requests {
            20 => Answer::Silence,
            _ => Answer::Accept,
        }
    });
    let test = "signals::a_process_that_was_stopped_goes_on_where_it_was";
    let process = Process::start(test, &collector);
    collector.wait_until(|exports| exports.len() >= 20);
    process.send(Signal::STOP);
    let before = collector.exports().len();
    // As long as it is stopped.
    thread::sleep(10 * timeout);
    assert!(collector.exports().len() <= before + 1);
    process.send(Signal::CONT);
    collector.wait_until(|exports| exports.len() >= before + 20);
    let ended = process.end();

    let taken = collector.taken();
    assert_eq!(taken.len(), usize::try_from(ended).unwrap());
    assert!((0..ended).all(|id| taken.contains_key(&id)));
    // What was on its way was sent again.
    let exports = collector.exports();
    let same = |export: &&Export| export.test_ids().eq(exports[19].test_ids());
    assert!(exports.iter().filter(same).count() >= 2);
}
