//! Services that the shop calls over HTTP, which sometimes do not answer, or not well.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client>

use std::ops::RangeInclusive;

use tracing::{Span, error, field::Empty, info, instrument, warn};

use crate::{chance::Chance, request::Failure, scenario::Trouble};

/// A way to call another service.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) host: &'static str,
    pub(crate) method: &'static str,
    /// `url.template`.
    pub(crate) template: &'static str,
    /// How long an answer takes, in milliseconds.
    pub(crate) takes: RangeInclusive<u64>,
    /// The status of a success.
    pub(crate) status: i64,
}

/// Attempts, the first included.
pub(crate) const ATTEMPTS: i64 = 3;
/// Between two of them, in milliseconds.
const PAUSE: RangeInclusive<u64> = 20..=60;

/// How an attempt goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Unavailable,
    Timeout,
}

/// Calls, and calls again. Tells how often it was repeated.
#[instrument(name = "call", skip_all, fields(
    otel.name = format!("call {}", endpoint.host),
))]
pub(crate) async fn call(
    endpoint: &Endpoint,
    trouble: Trouble,
    chance: &mut Chance,
) -> Result<i64, Failure> {
    let failures = match trouble {
        Trouble::None => 0,
        Trouble::Retried => chance.number(1..=ATTEMPTS - 1),
        Trouble::Failing => ATTEMPTS,
    };
    for resent in 0..ATTEMPTS {
        let fault = (resent < failures).then(|| match chance.number(0..=1) {
            0 => Fault::Unavailable,
            _ => Fault::Timeout,
        });
        match attempt(endpoint, resent, fault, chance).await {
            Ok(()) => {
                if resent > 0 {
                    info!(resent, "{} answered at last", endpoint.host);
                }
                return Ok(resent);
            }
            Err(cause) if resent + 1 < ATTEMPTS => {
                warn!(resent, cause, "{} is asked again", endpoint.host);
                chance.work(PAUSE).await;
            }
            Err(cause) => {
                error!(attempts = ATTEMPTS, cause, "{} is given up", endpoint.host);
                return Err(Failure {
                    status: 502,
                    cause: format!("{}: {cause}", endpoint.host),
                });
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// Each attempt is a span of its own, and from the second on says which it is.
#[instrument(name = "api", skip_all, fields(
    otel.name = format!("api {} {}", endpoint.method, endpoint.template),
    otel.kind = "client",
    otel.status_code = Empty,
    otel.status_description = Empty,
    http.request.method = endpoint.method,
    http.request.resend_count = Empty,
    http.response.status_code = Empty,
    error.type = Empty,
    server.address = endpoint.host,
    server.port = 443,
    url.full = format!("https://{}{}", endpoint.host, endpoint.template),
    url.template = endpoint.template,
))]
async fn attempt(
    endpoint: &Endpoint,
    resent: i64,
    fault: Option<Fault>,
    chance: &mut Chance,
) -> Result<(), &'static str> {
    let span = Span::current();
    if resent > 0 {
        span.record("http.request.resend_count", resent);
    }
    let fail = |kind: &str, cause| {
        span.record("error.type", kind);
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", cause);
        Err(cause)
    };
    match fault {
        None => {
            chance.work(endpoint.takes.clone()).await;
            span.record("http.response.status_code", endpoint.status);
            Ok(())
        }
        Some(Fault::Unavailable) => {
            chance.work(5..=30).await;
            span.record("http.response.status_code", 503_i64);
            fail("503", "service unavailable")
        }
        Some(Fault::Timeout) => {
            chance.work(150..=150).await;
            fail("timeout", "no answer in time")
        }
    }
}
