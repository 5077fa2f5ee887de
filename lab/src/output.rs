//! Writes everybody's lines to standard output, prefixed as `docker compose` does it.
//!
//! A thread of its own does the writing, because whoever reads may stop reading, and must not stop the lab
//! with that.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time;

/// Wide enough for the longest name, `tracestore`.
const NAME_WIDTH: usize = 10;

const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// How many lines may wait for their reader before the parts do.
const WAITING: usize = 1000;

#[derive(Clone, Debug)]
pub(crate) struct Output {
    lines: mpsc::Sender<Message>,
    /// Closed once nobody reads the output any more.
    broken: Arc<Semaphore>,
    /// Closed once nobody waits for a slow reader any more.
    hurried: Arc<Semaphore>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// All lines before this one have been written.
    Flushed(oneshot::Sender<()>),
}

impl Output {
    pub(crate) fn new() -> Output {
        let (lines, messages) = mpsc::channel(WAITING);
        let broken = Arc::new(Semaphore::new(0));
        let hurried = Arc::new(Semaphore::new(0));
        let closed = Arc::clone(&broken);
        thread::spawn(move || write(messages, &closed));
        Output {
            lines,
            broken,
            hurried,
        }
    }

    /// Writes a line of the lab itself, if there is still room.
    pub(crate) fn lab(&self, line: fmt::Arguments<'_>) {
        let line = prefixed("lab", Style::new().bold(), line.to_string().as_bytes());
        let _ = self.lines.try_send(Message::Line(line));
    }

    /// Writes a line of the part that was started as the `nth`, and waits while there is no room.
    pub(crate) async fn part(&self, name: &str, nth: usize, line: &[u8]) {
        let style = Style::new().fg_color(Some(COLOURS[nth % COLOURS.len()].into()));
        let line = Message::Line(prefixed(name, style, line));
        tokio::select! {
            biased;
            // The writer ends with the lab.
            _ = self.lines.send(line) => {}
            _ = self.hurried.acquire() => {}
        }
    }

    /// Waits until a line finds nobody who reads it.
    pub(crate) async fn broken(&self) {
        let _ = self.broken.acquire().await;
    }

    /// From now on lines for which there is no room are lost, so that the parts can get on and stop.
    pub(crate) fn hurry(&self) {
        self.hurried.close();
    }

    /// Waits until everything has been written, unless the reader takes more than a second for it.
    pub(crate) async fn flush(&self) {
        let (flushed, done) = oneshot::channel();
        let flush = async {
            let _ = self.lines.send(Message::Flushed(flushed)).await;
            let _ = done.await;
        };
        let _ = time::timeout(Duration::from_secs(1), flush).await;
    }
}

fn prefixed(name: &str, style: Style, line: &[u8]) -> Vec<u8> {
    let mut text = format!("{style}{name:NAME_WIDTH$} |{style:#} ").into_bytes();
    text.extend_from_slice(line);
    text.push(b'\n');
    text
}

fn write(mut messages: mpsc::Receiver<Message>, broken: &Semaphore) {
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Line(line) => {
                // Colours are taken out again where NO_COLOR is set or nobody sees them.
                let written = anstream::stdout().lock().write_all(&line);
                if written.is_err_and(|err| err.kind() == io::ErrorKind::BrokenPipe) {
                    broken.close();
                }
            }
            // Who asked may have lost patience.
            Message::Flushed(flushed) => drop(flushed.send(())),
        }
    }
}
