//! `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*` and `OTEL_BLRP_*`: where spans and log records go, and how many at a time.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri, uri::Scheme};
use otlp_pipeline::{Compression, Identity, Protocol};

use super::variables::{Problem, Variables};

const GRPC: &str = "http://localhost:4317";
const HTTP: &str = "http://localhost:4318";
/// How long a log record may wait for company, by the specification; a span may wait for longer.
const LOG_DELAY: Duration = Duration::from_secs(1);
/// What a timeout of 0, "no limit", is in practice.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What is exported. Each signal has variables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Logs,
}

/// What the variables say of the exporter of a signal, and of batches.
#[derive(Clone)]
pub(crate) struct Otlp {
    pub(crate) signal: Signal,
    pub(crate) endpoint: String,
    pub(crate) endpoint_variable: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) headers_variable: &'static str,
    pub(crate) compression: Compression,
    pub(crate) timeout: Duration,
    pub(crate) certificate: Option<File>,
    pub(crate) client_certificate: Option<File>,
    pub(crate) client_key: Option<File>,
    pub(crate) schedule_delay: Duration,
    pub(crate) give_up_after: Duration,
    pub(crate) max_queue_size: Option<usize>,
    pub(crate) max_batch_size: Option<usize>,
}

/// A file, and the variable that names it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) variable: &'static str,
    pub(crate) path: PathBuf,
}

/// The names of a setting, in the order in which they count: that of the signal, then that of all.
macro_rules! names {
    ($signal:expr, $name:literal) => {
        match $signal {
            Signal::Traces => [
                concat!("OTEL_EXPORTER_OTLP_TRACES_", $name),
                concat!("OTEL_EXPORTER_OTLP_", $name),
            ],
            Signal::Logs => [
                concat!("OTEL_EXPORTER_OTLP_LOGS_", $name),
                concat!("OTEL_EXPORTER_OTLP_", $name),
            ],
        }
    };
}
pub(super) use names;

/// The name of a setting of batches: those of the Batch Span Processor and of the Batch LogRecord Processor.
macro_rules! batch_name {
    ($signal:expr, $name:literal) => {
        match $signal {
            Signal::Traces => concat!("OTEL_BSP_", $name),
            Signal::Logs => concat!("OTEL_BLRP_", $name),
        }
    };
}
pub(super) use batch_name;

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Logs => "v1/logs",
        }
    }
}

impl Otlp {
    pub(crate) fn parse(env: &mut Variables<'_>, signal: Signal) -> Self {
        let defaults = otlp_pipeline::Config::default();
        let protocol = protocol(env, signal);
        let insecure = env.flag(&names!(signal, "INSECURE"));
        let max_queue_size = positive(env, batch_name!(signal, "MAX_QUEUE_SIZE"));
        let default = defaults.retry.give_up_after;
        let give_up_after = milliseconds(env, &[batch_name!(signal, "EXPORT_TIMEOUT")], default);
        if let Some(value) = env
            .get("OTEL_BSP_MAX_CONCURRENT_EXPORTS")
            .filter(|value| value != "1" && signal == Signal::Traces)
        {
            let wrong = "is not supported";
            let name = "OTEL_BSP_MAX_CONCURRENT_EXPORTS";
            env.report(Problem::new(
                name,
                &value,
                wrong,
                "1, one request after the other",
            ));
        }
        let (endpoint_variable, endpoint) = endpoint(env, signal, protocol, insecure);
        let (headers_variable, headers) = headers(env, signal);
        let default_delay = match signal {
            Signal::Traces => defaults.schedule_delay,
            Signal::Logs => LOG_DELAY,
        };
        Self {
            signal,
            endpoint,
            endpoint_variable,
            protocol,
            headers,
            headers_variable,
            compression: compression(env, signal),
            timeout: milliseconds(env, &names!(signal, "TIMEOUT"), defaults.timeout)
                .map_or(defaults.timeout, limit),
            certificate: file(env, names!(signal, "CERTIFICATE")),
            client_certificate: file(env, names!(signal, "CLIENT_CERTIFICATE")),
            client_key: file(env, names!(signal, "CLIENT_KEY")),
            schedule_delay: milliseconds(
                env,
                &[batch_name!(signal, "SCHEDULE_DELAY")],
                default_delay,
            )
            .unwrap_or(default_delay),
            give_up_after: give_up_after.map_or(default, limit),
            max_queue_size,
            max_batch_size: batch(env, signal, max_queue_size),
        }
    }

    /// What the pipeline is told. Files are read here, and those that cannot be are reported.
    pub(crate) fn pipeline(
        &self,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
        problems: &mut Vec<Problem>,
    ) -> otlp_pipeline::Config {
        let mut config = otlp_pipeline::Config::default();
        config.endpoint.clone_from(&self.endpoint);
        config.protocol = self.protocol;
        config.headers.clone_from(&self.headers);
        config.compression = self.compression;
        config.timeout = self.timeout;
        config.schedule_delay = self.schedule_delay;
        config.max_queue_size = self.max_queue_size;
        config.max_batch_size = self.max_batch_size;
        config.retry.give_up_after = self.give_up_after;
        let mut pem = |file: &Option<File>, used: &str| {
            let file = file.as_ref()?;
            let wrong = match read(&file.path) {
                Ok(pem) if has_pem(&pem) => return Some(pem),
                Ok(_) => "has no PEM in it".to_owned(),
                Err(err) => format!("cannot be read: {err}"),
            };
            let path = file.path.to_string_lossy();
            problems.push(Problem::new(file.variable, &path, wrong, used));
            None
        };
        config.tls.certificate = pem(&self.certificate, "the certificates of the system");
        let certificate = pem(&self.client_certificate, "no client certificate");
        let key = pem(&self.client_key, "no client certificate");
        config.tls.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity::new(certificate, key)),
            (None, None) => None,
            _ => {
                // A file that could not be read was reported already.
                if let (Some(alone), None) | (None, Some(alone)) =
                    (&self.client_certificate, &self.client_key)
                {
                    let wrong = "is there without the other of certificate and key";
                    let path = alone.path.to_string_lossy();
                    let used = "no client certificate";
                    problems.push(Problem::new(alone.variable, &path, wrong, used));
                }
                None
            }
        };
        config
    }
}

/// There may be comments in front.
fn has_pem(file: &[u8]) -> bool {
    let begin = b"-----BEGIN ";
    file.windows(begin.len()).any(|window| window == begin)
}

fn limit(timeout: Duration) -> Duration {
    if timeout.is_zero() { NO_LIMIT } else { timeout }
}

fn protocol(env: &mut Variables<'_>, signal: Signal) -> Protocol {
    let known = |value: &str| match value.to_ascii_lowercase().as_str() {
        "grpc" => Some((Protocol::Grpc, true)),
        "http/protobuf" => Some((Protocol::HttpProtobuf, true)),
        // Whoever listens for one understands the other, at the same address.
        "http/json" => Some((Protocol::HttpProtobuf, false)),
        _ => None,
    };
    let names = names!(signal, "PROTOCOL");
    let protocol = env.first(&names, "grpc or http/protobuf", "grpc", known);
    let (protocol, supported) = protocol.unwrap_or((Protocol::Grpc, true));
    if !supported {
        let json = |name: &&str| env.get(name).as_deref().and_then(known).is_some();
        let name = names.into_iter().find(json).unwrap_or(names[1]);
        let wrong = "is not supported";
        env.report(Problem::new(name, "http/json", wrong, "http/protobuf"));
    }
    protocol
}

/// The address to send to. What was written may hold a password, so that it is not repeated as it is.
fn endpoint(
    env: &mut Variables<'_>,
    signal: Signal,
    protocol: Protocol,
    insecure: bool,
) -> (&'static str, String) {
    let (default, expected) = match protocol {
        Protocol::Grpc => (
            GRPC.to_owned(),
            "is not http://host:port, https://host:port or host:port",
        ),
        _ => (
            format!("{HTTP}/{}", signal.path()),
            "is not an http:// or https:// URL",
        ),
    };
    let [own, general] = names!(signal, "ENDPOINT");
    let mut bad = Vec::new();
    let mut used = default;
    let mut variable = general;
    for name in [own, general] {
        let Some(value) = env.get(name) else {
            continue;
        };
        let url = match protocol {
            Protocol::Grpc if !value.contains("://") => {
                let scheme = if insecure { "http" } else { "https" };
                url(&format!("{scheme}://{value}"))
            }
            _ => url(&value),
        };
        match url {
            Some(url) => {
                variable = name;
                used = match protocol {
                    Protocol::Grpc => {
                        if !matches!(url.path(), "" | "/") {
                            bad_path(env, name, &value, &url);
                        }
                        origin(&url)
                    }
                    _ if name == general => with_path(&url, signal),
                    // Without a path `/`, as the specification says.
                    _ => url.to_string(),
                };
                break;
            }
            None => bad.push((name, value)),
        }
    }
    for (name, value) in bad {
        let problem = if value.contains('@') {
            Problem::secret(name, expected, without_password(&used))
        } else {
            Problem::new(name, &value, expected, without_password(&used))
        };
        env.report(problem);
    }
    (variable, used)
}

/// Tells that a path is of no use for gRPC, in which it is that of the method.
fn bad_path(env: &mut Variables<'_>, name: &str, value: &str, url: &Uri) {
    env.report(Problem::without_use(
        name,
        value,
        "has a path, which gRPC has no use for",
        without_password(&origin(url)),
    ));
}

/// Scheme, host and port.
fn origin(url: &Uri) -> String {
    let (scheme, authority) = (url.scheme_str(), url.authority());
    let authority = authority.map_or("", |authority| authority.as_str());
    format!("{}://{authority}", scheme.unwrap_or_default())
}

fn url(value: &str) -> Option<Uri> {
    let url: Uri = value.parse().ok()?;
    let known = url.scheme() == Some(&Scheme::HTTP) || url.scheme() == Some(&Scheme::HTTPS);
    let host = url.host().is_some_and(|host| !host.is_empty());
    // `port()` is nothing for what is no port, too.
    let authority = url.authority()?.as_str();
    let host_and_port = authority.rsplit('@').next()?;
    let port = host_and_port
        .rsplit_once(']')
        .map_or(host_and_port, |(_, rest)| rest);
    let port = !port.contains(':') || url.port_u16().is_some_and(|port| port != 0);
    (known && host && port).then_some(url)
}

/// The general endpoint is a base, to which each signal adds its path.
fn with_path(base: &Uri, signal: Signal) -> String {
    let of_signal = signal.path();
    let path = base.path().trim_end_matches('/');
    let query = base
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or("http");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    format!("{scheme}://{authority}{path}/{of_signal}{query}")
}

/// A URL as it may stand in a log.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://...@{rest}"),
        _ => url.to_owned(),
    }
}

fn headers(env: &mut Variables<'_>, signal: Signal) -> (&'static str, Vec<(String, String)>) {
    let names = names!(signal, "HEADERS");
    let Some(name) = names.into_iter().find(|name| env.get(name).is_some()) else {
        return (names[1], Vec::new());
    };
    let mut headers = env.headers(name);
    headers.retain(|(key, value)| {
        // `HeaderValue` takes all of UTF-8, the pipeline only what is printable ASCII.
        let text = HeaderValue::from_str(value).is_ok_and(|value| value.to_str().is_ok());
        let fits = text && key.parse::<HeaderName>().is_ok();
        if !fits {
            let wrong = "is no header of text";
            env.report(Problem::header(name, key, wrong, "the other headers"));
        }
        fits
    });
    (name, headers)
}

fn compression(env: &mut Variables<'_>, signal: Signal) -> Compression {
    let known = |value: &str| match value.to_ascii_lowercase().as_str() {
        "none" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        _ => None,
    };
    let compression = env.first(
        &names!(signal, "COMPRESSION"),
        "gzip or none",
        "none",
        known,
    );
    compression.unwrap_or(Compression::None)
}

fn file(env: &mut Variables<'_>, names: [&'static str; 2]) -> Option<File> {
    let path = |variable| {
        let path = env.get(variable)?.into();
        Some(File { variable, path })
    };
    names.into_iter().find_map(path)
}

fn milliseconds(env: &mut Variables<'_>, names: &[&str], default: Duration) -> Option<Duration> {
    let expected = "a whole number of milliseconds, at most 2147483647";
    let default = default.as_millis().to_string();
    env.first(names, expected, &default, |value| {
        let milliseconds: u32 = value.parse().ok()?;
        // The largest that the specification asks for: 24 days.
        (milliseconds <= i32::MAX as u32).then(|| Duration::from_millis(milliseconds.into()))
    })
}

fn positive(env: &mut Variables<'_>, name: &'static str) -> Option<usize> {
    let none = "no limit but that of memory";
    env.first(&[name], "a whole number above 0", none, |value| {
        value.parse().ok().filter(|number| *number > 0)
    })
}

/// A batch cannot be larger than the queue.
fn batch(env: &mut Variables<'_>, signal: Signal, queue: Option<usize>) -> Option<usize> {
    let name = batch_name!(signal, "MAX_EXPORT_BATCH_SIZE");
    let size = positive(env, name)?;
    match queue.filter(|queue| size > *queue) {
        Some(queue) => {
            let wrong = format!("is more than {}", batch_name!(signal, "MAX_QUEUE_SIZE"));
            let problem = Problem::new(name, &size.to_string(), wrong, queue.to_string());
            env.report(problem);
            Some(queue)
        }
        None => Some(size),
    }
}

impl fmt::Debug for Otlp {
    /// Keeps what may be secret out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", &without_password(&self.endpoint))
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
