//! Writes everybody's lines to standard output, prefixed as `docker compose` does it.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use tokio::sync::Semaphore;

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

#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Has no permits, and is closed once nobody reads the output any more.
    closed: Arc<Semaphore>,
}

impl Output {
    pub(crate) fn new() -> Output {
        Output {
            closed: Arc::new(Semaphore::new(0)),
        }
    }

    /// Writes a line of the lab itself.
    pub(crate) fn lab(&self, line: fmt::Arguments<'_>) {
        self.write("lab", Style::new().bold(), line.to_string().as_bytes());
    }

    /// Writes a line of the part that was started as the `nth`.
    pub(crate) fn part(&self, name: &str, nth: usize, line: &[u8]) {
        let style = Style::new().fg_color(Some(COLOURS[nth % COLOURS.len()].into()));
        self.write(name, style, line);
    }

    fn write(&self, name: &str, style: Style, line: &[u8]) {
        let mut text = format!("{style}{name:NAME_WIDTH$} |{style:#} ").into_bytes();
        text.extend_from_slice(line);
        text.push(b'\n');
        // Colours are taken out again where NO_COLOR is set or nobody sees them.
        let written = anstream::stdout().lock().write_all(&text);
        if written.is_err_and(|err| err.kind() == io::ErrorKind::BrokenPipe) {
            self.closed.close();
        }
    }

    /// Waits until a line finds nobody who reads it.
    pub(crate) async fn closed(&self) {
        let _ = self.closed.acquire().await;
    }
}
