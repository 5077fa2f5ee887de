//! Why an exchange failed, in a word of `error.type`: there are few of them, whatever happens.

use std::{
    any::{Any, type_name},
    error::Error,
    io::{self, ErrorKind},
};

use hyper_util::client::legacy;
use tonic::{Code, Status, TimeoutExpired};

use crate::http::{call, exchange::Side};

/// The response did not come to its end: the client left, or whoever asked lost interest.
pub(super) const ABORTED: &str = "aborted";
/// The handler panicked.
pub(super) const PANIC: &str = "panic";

const TIMEOUT: &str = "timeout";

type Boxed = Box<dyn Error + Send + Sync>;

/// Finds the word for an error, by its causes as far as they are of a known kind, else by its type.
pub(super) fn of<E: 'static>(error: &E) -> &'static str {
    let known = as_error(error).and_then(deepest);
    let boxed = (error as &dyn Any).is::<Boxed>().then_some(call::OTHER);
    known.or(boxed).unwrap_or_else(type_name::<E>)
}

/// The status of a call that ended with an error instead of one, which has this word.
pub(super) fn code<E: 'static>(error: &E, word: &str, side: Side) -> Code {
    let error: &dyn Any = error;
    match (error.downcast_ref::<Status>(), side) {
        (Some(status), _) => status.code(),
        (None, _) if word == TIMEOUT => Code::DeadlineExceeded,
        (None, Side::Client) => Code::Unavailable,
        (None, Side::Server) => Code::Unknown,
    }
}

/// Errors that this crate's users meet: the bound `E: Error` would leave out [`Boxed`].
fn as_error<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<Boxed>() {
        return Some(&**boxed);
    }
    fn down<E: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        error.downcast_ref::<E>().map(|error| error as _)
    }
    down::<legacy::Error>(error)
        .or_else(|| down::<hyper::Error>(error))
        .or_else(|| down::<axum::Error>(error))
        .or_else(|| down::<Status>(error))
        .or_else(|| down::<tonic::transport::Error>(error))
        .or_else(|| down::<io::Error>(error))
}

/// The word for the cause of the causes that has one.
fn deepest(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = word(error).or(found);
        // The source of an I/O error that holds another is the source of that one.
        let held = error.downcast_ref().and_then(io::Error::get_ref);
        next = held.map(|held| held as _).or_else(|| error.source());
    }
    found
}

fn word(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return io_word(error.kind());
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return Some(match error {
            error if error.is_timeout() => TIMEOUT,
            error if error.is_canceled() => "canceled",
            error if error.is_incomplete_message() || error.is_closed() => "connection_closed",
            error if error.is_parse() => "malformed_message",
            error if error.is_user() => "body_failed",
            _ => "connection_failed",
        });
    }
    if let Some(error) = error.downcast_ref::<legacy::Error>() {
        return error.is_connect().then_some("connect_failed");
    }
    if let Some(status) = error.downcast_ref::<Status>() {
        return Some(call::name(status.code()));
    }
    let late = error.is::<tokio::time::error::Elapsed>() || error.is::<TimeoutExpired>();
    late.then_some(TIMEOUT)
}

fn io_word(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset => "connection_reset",
        ErrorKind::ConnectionAborted => "connection_aborted",
        ErrorKind::BrokenPipe => "broken_pipe",
        ErrorKind::UnexpectedEof => "connection_closed",
        ErrorKind::TimedOut => TIMEOUT,
        ErrorKind::HostUnreachable => "host_unreachable",
        ErrorKind::NetworkUnreachable => "network_unreachable",
        ErrorKind::AddrNotAvailable => "address_not_available",
        ErrorKind::InvalidData => "malformed_message",
        _ => return None,
    })
}
