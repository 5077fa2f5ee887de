//! Brings encoded requests to the collector, and settles what became of each.
//!
//! Knows nothing of spans or log records: a request is bytes, an encoded `ExportTraceServiceRequest` or
//! `ExportLogsServiceRequest`.

mod cause;
mod connector;
mod grpc;
mod http;
mod link;
mod messages;
mod retry;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::{io::Write, time::Duration};

use ::http::{HeaderMap, Method, Request, Uri, Version};
use bytes::Bytes;
use flate2::write::GzEncoder;

use self::{
    link::Link,
    retry::{Attempt, Patience},
};
use crate::{Compression, Config, ConfigError, Protocol, config_error::Mistakes};

/// Longest time for an attempt: what is longer means "for ever".
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A collector, and the connection to it.
///
/// Holds one connection at most, made by the first request that needs it and made anew after it failed.
#[derive(Debug)]
pub(crate) struct Transport {
    link: Link,
    patience: Patience,
    protocol: Protocol,
    compression: Compression,
    uri: Uri,
    headers: HeaderMap,
}

/// What happens while a request is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An attempt failed, and is repeated after a pause.
    Failed { cause: String, again_in: Duration },
}

/// What became of a request. Causes are one line, bounded, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The collector took it.
    Accepted {
        /// How much of it the collector says it rejected (OTLP, "Partial Success"). The
        /// collector's word: it may be more than the request had.
        rejected: u64,
        /// Why, or if none were rejected a warning; often empty.
        message: String,
    },
    /// The collector refused it, and would refuse it again.
    Refused { cause: String },
    /// [`Retry`](crate::Retry) allows no further attempt.
    GaveUp { cause: String },
}

impl Transport {
    /// Checks endpoint, headers, certificates and times: all that can be wrong before the first request.
    ///
    /// Needs no runtime and does not connect. Reads the system's certificates if it needs them.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut mistakes = Mistakes::default();
        let uri = target::uri(config, &mut mistakes);
        let mut headers = target::headers(config, &mut mistakes);
        let https = uri
            .as_ref()
            .is_some_and(|uri| uri.scheme_str() == Some("https"));
        let tls = tls::client(&config.tls, config.protocol, https, &mut mistakes);
        let name = uri.as_ref().and_then(Uri::host).and_then(tls::server_name);
        if https && name.is_none() {
            let problem = format!(
                "`{}` names a host that no certificate can be for",
                config.endpoint
            );
            mistakes.add("endpoint", problem);
        }
        for (setting, value) in [
            ("timeout", config.timeout),
            ("retry.initial", config.retry.initial),
            ("retry.max", config.retry.max),
        ] {
            if value.is_zero() {
                mistakes.add(setting, "`0ns` must be longer");
            }
        }
        mistakes.into_result()?;
        let timeout = config.timeout.min(LONGEST_TIMEOUT);
        match config.protocol {
            Protocol::Grpc => grpc::headers(&mut headers, config.compression, timeout),
            Protocol::HttpProtobuf => http::headers(&mut headers, config.compression),
        }
        let tls = tls.zip(name).filter(|_| https);
        Ok(Self {
            link: Link::new(config.protocol, tls, timeout),
            patience: Patience::new(config.retry),
            protocol: config.protocol,
            compression: config.compression,
            uri: uri.expect("it was right, or there was a mistake"),
            headers,
        })
    }

    /// Sends a request, repeating it as [`Retry`](crate::Retry) allows, until it is settled.
    ///
    /// `told` hears of each failure after which the request is repeated. Dropping the future abandons the
    /// request, which may have arrived; the transport can be used further.
    ///
    /// Needs a runtime of tokio with I/O and time. Names are resolved on its blocking threads, which a
    /// dropped runtime waits for: end it with `shutdown_background`.
    pub(crate) async fn deliver(&mut self, request: Bytes, told: &mut dyn FnMut(Event)) -> Outcome {
        let Self {
            link,
            patience,
            protocol,
            compression,
            uri,
            headers,
        } = self;
        // Once for all attempts.
        let payload = match compression {
            Compression::None => request,
            Compression::Gzip => gzip(&request),
        };
        let prefix = match protocol {
            Protocol::Grpc => grpc::prefix(payload.len(), *compression),
            Protocol::HttpProtobuf => Bytes::new(),
        };
        let attempt = async || {
            let mut request = Request::new(link::body(prefix.clone(), payload.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            *request.version_mut() = match protocol {
                Protocol::Grpc => Version::HTTP_2,
                Protocol::HttpProtobuf => Version::HTTP_11,
            };
            match (link.exchange(request).await, &protocol) {
                (Ok(reply), Protocol::Grpc) => grpc::judge(&reply, link::authority(uri)),
                (Ok(reply), Protocol::HttpProtobuf) => http::judge(&reply, link::authority(uri)),
                (Err(cause), _) => Attempt::Again { cause, asked: None },
            }
        };
        patience.settle(attempt, told).await
    }
}

/// As fast as gzip can, which halves spans at the least.
fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(plain.len() / 4),
        flate2::Compression::fast(),
    );
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("memory takes all that is written").into()
}

/// What a collector that took a request says of what is in it.
fn partial_success(response: messages::ExportResponse) -> (u64, String) {
    let told = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(told.rejected).unwrap_or(0);
    (rejected, cause::printable(&told.error_message))
}
