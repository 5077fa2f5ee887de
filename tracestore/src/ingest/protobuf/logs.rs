//! Reads an OTLP `ExportLogsServiceRequest` straight from the wire into log records.
//!
//! Text that is not UTF-8, which is malformed in protobuf, does not cost a request its records: it
//! comes from whatever an application was made to log, and is mended.

use std::sync::Arc;

use super::{Decoder, Fields, Refused, Resource, Value};
use crate::ingest::build::{DecodedLogs, LogDraft};

/// Reads a whole request. If a message that belongs there once comes twice, the last one counts.
///
/// # Errors
/// All or nothing, but for records that are too large, which are counted in
/// `DecodedLogs::rejected`, and for ids.
pub(crate) fn decode(request: &[u8]) -> Result<DecodedLogs<'_>, Refused> {
    let mut decoder = Decoder::new(request.len());
    decoder.mends_text = true;
    let read = decoder.elements(request, Decoder::resource_logs);
    read.map_err(|refused| refused.of("ExportLogsServiceRequest"))?;
    Ok(decoder.builder.finish_logs()?)
}

impl<'a> Decoder<'a> {
    fn resource_logs(&mut self, message: &'a [u8]) -> Result<(), Refused> {
        let resource = self.resource_of(message)?;
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.scope_logs(field.bytes()?, &resource)?;
            }
        }
        Ok(())
    }

    fn scope_logs(
        &mut self,
        message: &'a [u8],
        resource: &Arc<Resource<'a>>,
    ) -> Result<(), Refused> {
        let (scope, count) = self.scope_of(message)?;
        let mut records = self.builder.list(count)?;
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.builder.begin_log_record();
                let draft = self.log_record(field.bytes()?)?;
                records.extend(self.builder.log_record(draft));
            }
        }
        self.builder.add_logs(resource, scope, records);
        Ok(())
    }

    fn log_record(&mut self, message: &'a [u8]) -> Result<LogDraft<'a>, Refused> {
        let mut record = LogDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => record.time_unix_nano = field.fixed64()?,
                (2, field) => record.severity = field.varint()?,
                (3, field) => record.severity_text = self.text(field)?,
                (5, field) => {
                    let body = record.body.insert(Value::Empty);
                    self.value(field, body, 0)?;
                }
                (6, field) => {
                    let expected = self.usual_attributes;
                    self.attribute(field, &mut record.attributes, expected)?;
                }
                (7, field) => record.attributes.drop_more(field.uint32()?),
                (8, field) => record.flags = field.fixed32()?,
                (9, field) => record.trace_id = field.bytes()?.into(),
                (10, field) => record.span_id = field.bytes()?.into(),
                (11, field) => record.observed_unix_nano = field.fixed64()?,
                (12, field) => record.event_name = self.text(field)?,
                _ => {}
            }
        }
        if !record.attributes.kept().is_empty() {
            self.usual_attributes = record.attributes.kept().len();
        }
        Ok(record)
    }
}
