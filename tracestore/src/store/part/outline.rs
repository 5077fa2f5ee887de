//! What a list says about the spans of a trace, without reading the rest of them.

use std::ops::Range;

use super::{Array, Damaged, Key, Own, Part, Table};
use crate::{
    span::{SERVICE_NAME, SpanId, StatusCode},
    store::value,
};

/// Spans in neighbouring rows of a part.
pub(in crate::store) struct Outline {
    spans: Vec<Outlined>,
    /// By the code of a resource in the column of the spans, in the order in which they came.
    services: Vec<(u32, Box<str>)>,
}

/// A span in a line.
pub(in crate::store) struct Outlined {
    pub(in crate::store) row: u32,
    pub(in crate::store) id: SpanId,
    /// Nanoseconds since the Unix epoch.
    pub(in crate::store) start: u64,
    /// Nanoseconds since the Unix epoch, as sent.
    pub(in crate::store) end: u64,
    pub(in crate::store) status: StatusCode,
    /// The name of a span without a parent.
    pub(in crate::store) root: Option<Box<str>>,
    /// An index of `services`.
    service: usize,
}

impl Outline {
    pub(in crate::store) fn new(part: &Part, rows: &Range<u32>) -> Result<Outline, Damaged> {
        let ids = part.array_rows(Array::SpanIds, rows)?;
        let parents = part.array_rows(Array::ParentIds, rows)?;
        let starts = part.array_rows(Array::Starts, rows)?;
        let durations = part.array_rows(Array::Durations, rows)?;
        let resources = part.array_rows(Array::SpanResources, rows)?;
        let own = |own: Own| {
            let number = part.directory.column(Table::Spans, &Key::Own(own))?;
            Some((number, part.values(number)))
        };
        let statuses = match own(Own::Status) {
            Some((number, values)) => Some((part.cell_rows(number, rows)?, values?)),
            None => None,
        };
        let mut outline = Outline {
            spans: Vec::with_capacity(rows.len()),
            services: Vec::new(),
        };
        for row in rows.clone() {
            let Some(id) = ids.id8(row).and_then(SpanId::new) else {
                continue;
            };
            let start = starts.number(row).unwrap_or(0);
            let status = match &statuses {
                Some((codes, values)) => match codes.code(row).checked_sub(1) {
                    Some(number) => values.look(number as usize, value::decode_int)?,
                    None => None,
                },
                None => None,
            };
            let status = u64::try_from(status.unwrap_or_default()).unwrap_or_default();
            let root = match parents.id8(row) {
                Some([0, 0, 0, 0, 0, 0, 0, 0]) => Some(match own(Own::Name) {
                    Some((number, _)) => part.text(number, row)?.unwrap_or_default(),
                    None => Box::default(),
                }),
                _ => None,
            };
            let service = outline.service_of(part, resources.code(row))?;
            outline.spans.push(Outlined {
                row,
                id,
                start,
                end: start.wrapping_add(durations.number(row).unwrap_or(0)),
                status: StatusCode::from_number(status),
                root,
                service,
            });
        }
        Ok(outline)
    }

    fn service_of(&mut self, part: &Part, resource: u32) -> Result<usize, Damaged> {
        let known = |(code, _): &(u32, Box<str>)| *code == resource;
        if let Some(known) = self.services.iter().rposition(known) {
            return Ok(known);
        }
        let mut service = None;
        if let Some(row) = resource.checked_sub(1) {
            for column in part.directory.attribute(Table::Resources, SERVICE_NAME) {
                service = part.text(column, row)?;
                if service.is_some() {
                    break;
                }
            }
        }
        self.services.push((resource, service.unwrap_or_default()));
        Ok(self.services.len() - 1)
    }

    pub(in crate::store) fn spans(&self) -> &[Outlined] {
        &self.spans
    }

    /// Empty if there is none.
    pub(in crate::store) fn service(&self, span: &Outlined) -> &str {
        &self.services[span.service].1
    }
}

impl Part {
    /// What a row has in a column, if that is text.
    fn text(&self, column: usize, row: u32) -> Result<Option<Box<str>>, Damaged> {
        let code = self.cell_rows(column, &(row..row + 1))?.code(row);
        let Some(number) = code.checked_sub(1) else {
            return Ok(None);
        };
        let text = |value: &[u8]| value::decode_str(value).map(Box::from);
        self.values(column)?.look(number as usize, text)
    }
}
