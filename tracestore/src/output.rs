//! What the process says: a line for people, or an object for machines.
//!
//! `println!` panics when the reader of a pipe has gone; a trace store must outlive its log.

use std::{
    io::{self, Write},
    panic,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: the message alone.
    #[default]
    Text,
    /// For machines: `{"timestamp":…,"severity":"INFO","service.name":"tracestore","message":…,"fields":{…}}`.
    Json,
}

/// Chosen once, at the start. Those who log deep inside need not be told.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// Chooses how all further lines are written, panics included.
pub(crate) fn choose(format: Format) {
    if FORMAT.set(format).is_ok() && format == Format::Json {
        panic::set_hook(Box::new(|panic| {
            write(io::stderr(), "ERROR", &panic.to_string(), json!({}));
        }));
    }
}

/// Says on standard output where something is, which whoever started the process may wait for.
pub(crate) fn announce(text: &str, fields: Value) {
    write(io::stdout(), "INFO", text, fields);
}

/// Says on standard error that something went as it should.
pub(crate) fn info(text: &str, fields: Value) {
    write(io::stderr(), "INFO", text, fields);
}

/// Says on standard error that something is not as it should be, while the process goes on.
pub(crate) fn warn(text: &str, fields: Value) {
    write(io::stderr(), "WARN", text, fields);
}

/// Says on standard error why the process ends.
pub(crate) fn error(text: &str) {
    write(io::stderr(), "ERROR", text, json!({}));
}

/// Writes a line in one call, so that lines of several processes do not mix. A failure is
/// ignored: there is nowhere to report it.
fn write(mut to: impl Write, severity: &str, text: &str, fields: Value) {
    let format = FORMAT.get().copied().unwrap_or_default();
    let _ = to.write_all(formatted(format, severity, text, fields).as_bytes());
    let _ = to.flush();
}

fn formatted(format: Format, severity: &str, text: &str, fields: Value) -> String {
    match format {
        Format::Text => format!("{text}\n"),
        Format::Json => {
            let line = json!({
                "timestamp": jiff::Timestamp::now().to_string(),
                "severity": severity,
                "service.name": env!("CARGO_PKG_NAME"),
                "message": text,
                "fields": fields,
            });
            format!("{line}\n")
        }
    }
}

/// A number for people: `41,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 segment`, `3 segments`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A log of something that strangers can cause as often as they like: at most one line in
/// 10 seconds, with the number of those that were left out.
pub(crate) struct Limited {
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    left_out: u64,
}

/// At most one line of its kind in this time.
pub(crate) const PAUSE: Duration = Duration::from_secs(10);

impl Limited {
    pub(crate) fn new() -> Limited {
        Limited {
            state: Mutex::new(State {
                last: None,
                left_out: 0,
            }),
        }
    }

    /// Writes a warning, or counts what is left out.
    pub(crate) fn line(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
            state.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut state.left_out);
        state.last = Some(Instant::now());
        let more = match left_out {
            0 => String::new(),
            count => format!(" (and {count} more since the last such line)"),
        };
        warn(&format!("{text}{more}"), json!({ "left_out": left_out }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_is_the_message_alone() {
        let line = formatted(Format::Text, "WARN", "3 spans", json!({ "spans": 3 }));
        assert_eq!(line, "3 spans\n");
    }

    #[test]
    fn a_line_for_machines_is_one_object_whatever_the_message_is() {
        let message = "a \"quoted\"\nline";
        let line = formatted(Format::Json, "WARN", message, json!({ "spans": 3 }));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let mut object: Value = serde_json::from_str(&line).unwrap();
        let timestamp = object["timestamp"].take();
        let timestamp: jiff::Timestamp = timestamp.as_str().unwrap().parse().unwrap();
        assert!(timestamp.as_second() > 1_700_000_000, "{timestamp}");
        let expected = json!({
            "timestamp": null,
            "severity": "WARN",
            "service.name": "tracestore",
            "message": message,
            "fields": { "spans": 3 },
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [
            (0, "0 spans"),
            (1, "1 span"),
            (999, "999 spans"),
            (41_204, "41,204 spans"),
            (1_000_000, "1,000,000 spans"),
        ] {
            assert_eq!(counted(number, "span"), text);
        }
    }
}
