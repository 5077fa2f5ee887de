//! A line for people.
//!
//! `2026-11-21T17:50:06.123456Z  WARN [4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7] shop target: message key="value"`.
//! The ids stand before anything that a program or a stranger says, and `[-]` stands for none.

use std::fmt;

use jiff::Timestamp;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{DefaultFields, Writer},
    },
    registry::LookupSpan,
};

use super::record::{Record, is_special};

#[derive(Debug)]
pub(super) struct Text {
    service: String,
}

impl Text {
    pub(super) fn new(service: &str) -> Self {
        let mut escaped = String::new();
        // A string takes whatever is written.
        let _ = escape(&mut escaped, service);
        Self { service: escaped }
    }
}

impl<S> FormatEvent<S, DefaultFields> for Text
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let record = Record::new(event);
        write!(writer, "{:.6} {:>5} [", Timestamp::now(), record.level)?;
        match record.span {
            Some(span) => write!(writer, "{}-{}", span.trace_id, span.span_id)?,
            None => writer.write_char('-')?,
        }
        write!(writer, "] {} ", self.service)?;
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            writer.write_str(span.name())?;
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<DefaultFields>>();
            if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                writer.write_char('{')?;
                escape(&mut writer, fields)?;
                writer.write_char('}')?;
            }
            writer.write_char(':')?;
        }
        // That of a record of the crate `log` is whatever the program says.
        escape(&mut writer, &record.target)?;
        writer.write_str(": ")?;
        escape(&mut writer, &record.message.text())?;
        for (name, value) in &record.fields {
            write!(writer, " {name}=")?;
            escape(&mut writer, &value.to_string())?;
        }
        writer.write_char('\n')
    }
}

fn escape(writer: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for character in text.chars() {
        if is_special(character) {
            write!(writer, "{}", character.escape_default())?;
        } else {
            writer.write_char(character)?;
        }
    }
    Ok(())
}
