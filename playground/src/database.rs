//! A database that takes its time, and sometimes fails.
//!
//! <https://opentelemetry.io/docs/specs/semconv/database/postgresql/>

use std::ops::RangeInclusive;

use tracing::{Span, error, field::Empty, instrument, warn};

use crate::{chance::Chance, request::Failure};

/// A query. Its parameters are not part of the text.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) operation: &'static str,
    pub(crate) table: &'static str,
    pub(crate) text: &'static str,
    /// How long it takes, in milliseconds.
    pub(crate) takes: RangeInclusive<u64>,
    /// Why it takes long, which the log has.
    pub(crate) warning: Option<&'static str>,
}

/// Runs a query, and tells how many rows it has returned.
#[instrument(name = "database", skip_all, fields(
    otel.name = format!("database {} {}", statement.operation, statement.table),
    otel.kind = "client",
    otel.status_code = Empty,
    otel.status_description = Empty,
    db.system.name = "postgresql",
    db.namespace = "shop",
    db.operation.name = statement.operation,
    db.collection.name = statement.table,
    db.query.summary = format!("{} {}", statement.operation, statement.table),
    db.query.text = statement.text,
    db.response.returned_rows = Empty,
    db.response.status_code = Empty,
    error.type = Empty,
    server.address = "database.internal",
    server.port = 5432,
))]
pub(crate) async fn query(
    statement: &Statement,
    fails: bool,
    chance: &mut Chance,
) -> Result<i64, Failure> {
    if let Some(warning) = statement.warning {
        warn!(db.collection.name = statement.table, "{warning}");
    }
    chance.work(statement.takes.clone()).await;
    let span = Span::current();
    if fails {
        // deadlock_detected, <https://www.postgresql.org/docs/current/errcodes-appendix.html>
        let (code, message) = ("40P01", "deadlock detected");
        span.record("db.response.status_code", code);
        span.record("error.type", code);
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", message);
        error!(
            db.response.status_code = code,
            "the query failed: {message}"
        );
        return Err(Failure {
            status: 500,
            cause: message.to_owned(),
        });
    }
    if statement.operation != "SELECT" {
        return Ok(0);
    }
    let rows = chance.number(1..=20);
    span.record("db.response.returned_rows", rows);
    Ok(rows)
}
