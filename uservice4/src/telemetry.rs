//! Sets the OpenTelemetry SDK up, and keeps the lists of attributes that would hide the story in `lib.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::{io, sync::OnceLock, time::Duration};

use anyhow::Context as _;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_resource_detectors::{OsResourceDetector, ProcessResourceDetector};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, SpanData};
use opentelemetry_sdk::{Resource, error::OTelSdkResult};
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute};
use tokio::{task, time};
use tracing_subscriber::EnvFilter;

use crate::Environment;

/// How long the last spans get to leave when the service stops.
const FLUSH: Duration = Duration::from_secs(2);

/// Where a person can look at a trace: a URL in which `{trace_id}` stands for its id, or nothing.
static TRACE_URL: OnceLock<String> = OnceLock::new();

/// What the environment says about telemetry.
#[derive(Debug)]
pub struct Config {
    exporter: Exporter,
    endpoint: String,
    timeout: u64,
    propagators: Vec<Propagator>,
    service_name: String,
    trace_url: String,
}

#[derive(Clone, Copy, Debug)]
enum Exporter {
    Otlp,
    Console,
    None,
}

#[derive(Clone, Copy, Debug)]
enum Propagator {
    Jaeger,
    TraceContext,
    Baggage,
}

impl Config {
    /// Reads what the SDK does not read or reads otherwise than specified, and checks what it would pass
    /// over in silence. `TRACE_URL` is our own; the rest is in the specification's list of variables,
    /// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
    pub(crate) fn parse(env: &mut Environment) -> Option<Config> {
        let default = "http://localhost:4317";
        let endpoint = env.read("OTEL_EXPORTER_OTLP_ENDPOINT", Some(default), URL, http_url);
        let default = endpoint.as_deref().unwrap_or(default);
        let endpoint = env.read(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            Some(default),
            URL,
            http_url,
        );

        let default = "1500";
        let timeout = env.read("OTEL_EXPORTER_OTLP_TIMEOUT", Some(default), NUMBER, number);
        let default = timeout.map_or(default.to_owned(), |timeout| timeout.to_string());
        let timeout = env.read(
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            Some(&default),
            NUMBER,
            number,
        );

        let expected = "otlp, console or none";
        let exporter = env.read("OTEL_TRACES_EXPORTER", Some("otlp"), expected, |name| {
            Some(match name {
                "otlp" => Exporter::Otlp,
                "console" => Exporter::Console,
                "none" => Exporter::None,
                _ => return None,
            })
        });
        let expected = "a list of jaeger, tracecontext and baggage, or none";
        let propagators = env.read("OTEL_PROPAGATORS", Some("jaeger"), expected, propagators);
        let name = env.read("OTEL_SERVICE_NAME", Some(""), "", |name| {
            Some(name.to_owned())
        });
        let expected = "an http:// or https:// URL with {trace_id} in it";
        let trace_url = env.read("TRACE_URL", Some(""), expected, trace_url);
        check_what_the_sdk_reads(env);
        Some(Config {
            exporter: exporter?,
            endpoint: endpoint?,
            timeout: timeout?,
            propagators: propagators?,
            service_name: name?,
            trace_url: trace_url?,
        })
    }
}

const URL: &str = "an http:// URL";

fn http_url(value: &str) -> Option<String> {
    let url: Uri = value.parse().ok()?;
    (url.scheme_str() == Some("http")).then(|| value.to_owned())
}

const NUMBER: &str = "a number above 0";

fn number(value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| *number > 0)
}

/// Checks the form of a template, of which the id of a trace will make a URL between double quotes.
fn trace_url(value: &str) -> Option<String> {
    let url: Option<Uri> = value.replace("{trace_id}", "0").parse().ok();
    let http = url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")));
    let usable = http && value.contains("{trace_id}") && !value.contains(['"', '\\']);
    (usable || value.is_empty()).then(|| value.to_owned())
}

fn propagators(names: &str) -> Option<Vec<Propagator>> {
    let propagator = |name: &str| match name.trim() {
        "jaeger" => Some(Propagator::Jaeger),
        "tracecontext" => Some(Propagator::TraceContext),
        "baggage" => Some(Propagator::Baggage),
        _ => None,
    };
    match names {
        "none" => Some(Vec::new()),
        names => names.split(',').map(propagator).collect(),
    }
}

fn check_what_the_sdk_reads(env: &mut Environment) {
    for name in [
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
    ] {
        env.read(name, Some("1"), NUMBER, number);
    }
    let samplers = ["always_on", "always_off", "traceidratio"];
    let known = |name: &str| {
        let of_root = name.strip_prefix("parentbased_").unwrap_or(name);
        samplers.contains(&of_root).then_some(())
    };
    let expected = "a sampler of the specification";
    env.read("OTEL_TRACES_SAMPLER", Some("always_on"), expected, known);
    let ratio = |value: &str| {
        value
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
    };
    env.read("OTEL_TRACES_SAMPLER_ARG", Some("1"), "from 0 to 1", ratio);
    for name in [
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    ] {
        if (env.var)(name).is_some() {
            let problem = format!("{name}: must be unset, the exporter fails even on an empty one");
            env.problems.push(problem);
        }
    }
}

/// Flushes the spans when the service stops. Dropping it instead loses them.
#[derive(Debug)]
pub struct Telemetry(SdkTracerProvider);

/// Installs the tracer provider and the propagators for the whole process, to be called on its runtime.
///
/// # Errors
/// The exporter cannot be built. That nobody listens at its endpoint is logged later, and harms no request.
pub fn init(config: Config) -> anyhow::Result<Telemetry> {
    // The SDK reports lost spans to nobody but a `tracing` subscriber.
    let _ = tracing_subscriber::fmt()
        // A request without a context is no reason for a warning.
        .with_env_filter(EnvFilter::new("warn,opentelemetry-jaeger-propagator=off"))
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .log_internal_errors(false)
        .try_init();

    let mut provider = SdkTracerProvider::builder().with_resource(resource(&config.service_name));
    match config.exporter {
        Exporter::Otlp => {
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(config.endpoint)
                .with_timeout(Duration::from_millis(config.timeout))
                .build()
                .context("building the OTLP exporter")?;
            provider = provider.with_span_processor(BatchSpanProcessor::builder(exporter).build());
            let _ = TRACE_URL.set(config.trace_url);
        }
        Exporter::Console => {
            provider = provider.with_simple_exporter(Console);
        }
        Exporter::None => {}
    }
    let provider = provider.build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(Guarded::new(&config.propagators));
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Exports what is left; what cannot be exported in 2 s is lost, and the log says so.
    pub async fn shutdown(self) {
        // On a worker of the runtime that the exporter needs it would wait for itself.
        let flushed = task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH)).await;
        if let Err(err) = flushed
            .map_err(anyhow::Error::from)
            .and_then(|flushed| Ok(flushed?))
        {
            crate::complain(format_args!("spans may be lost: {err:#}"));
        }
    }
}

/// Writes spans to the log. The exporter of the crate `opentelemetry-stdout` panics when nobody reads it.
#[derive(Debug)]
struct Console;

impl opentelemetry_sdk::trace::SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            crate::print(format_args!("{span:#?}"));
        }
        Ok(())
    }
}

/// What all spans of the process have in common. `OTEL_SERVICE_NAME` wins over `OTEL_RESOURCE_ATTRIBUTES`,
/// and that over the name of the package; the SDK alone has the first two the other way round.
fn resource(service_name: &str) -> Resource {
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(OsResourceDetector))
        .with_detector(Box::new(ProcessResourceDetector))
        .with_attribute(KeyValue::new(
            attribute::SERVICE_NAME,
            env!("CARGO_PKG_NAME"),
        ))
        .with_attribute(KeyValue::new(
            attribute::SERVICE_VERSION,
            env!("CARGO_PKG_VERSION"),
        ))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match service_name {
        "" => resource.build(),
        name => resource.with_service_name(name.to_owned()).build(),
    }
}

/// Hands the propagators only what is well-formed: those of this version would take or make an invalid
/// context of a malformed header, and drop a good one for an odd `uberctx-` beside it.
#[derive(Debug)]
struct Guarded(TextMapCompositePropagator);

impl Guarded {
    fn new(propagators: &[Propagator]) -> Guarded {
        let propagators = propagators.iter().map(|propagator| match propagator {
            Propagator::Jaeger => jaeger(),
            Propagator::TraceContext => Box::new(TraceContextPropagator::new()),
            Propagator::Baggage => Box::new(BaggagePropagator::new()),
        });
        Guarded(TextMapCompositePropagator::new(propagators.collect()))
    }
}

#[expect(
    deprecated,
    reason = "the whole crate is, and the contents of its header are what we show"
)]
fn jaeger() -> Box<dyn TextMapPropagator + Send + Sync> {
    Box::new(opentelemetry_jaeger_propagator::Propagator::new())
}

impl TextMapPropagator for Guarded {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        self.0.inject_context(cx, injector);
    }

    fn extract_with_context(&self, cx: &Context, headers: &dyn Extractor) -> Context {
        let only = |name| match headers.get_all(name)?[..] {
            [value] => Some(value),
            _ => None,
        };
        let well_formed = [
            (
                "uber-trace-id",
                only("uber-trace-id").and_then(uber_trace_id),
            ),
            ("traceparent", only("traceparent").and_then(traceparent)),
            ("tracestate", only("tracestate").and_then(tracestate)),
            ("baggage", only("baggage").map(str::to_owned)),
        ];
        let well_formed = well_formed.into_iter();
        let well_formed = well_formed.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.0
            .extract_with_context(cx, &well_formed.collect::<HashMap<_, _>>())
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.fields()
    }
}

/// The header with its ids padded and its flags reduced to the one that W3C knows too, "sampled".
///
/// `{trace-id}:{span-id}:{parent-span-id}:{flags}`, all hexadecimal and perhaps URL-encoded:
/// <https://www.jaegertracing.io/docs/1.76/sdk-migration/#propagation-format>.
fn uber_trace_id(header: &str) -> Option<String> {
    let header = header.replace("%3A", ":").replace("%3a", ":");
    let [trace_id, span_id, _, flags] = header.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (trace_id, span_id) = (id(trace_id, 32)?, id(span_id, 16)?);
    let debug_or_sampled = hex(flags, 2)? & 0b11 != 0;
    Some(format!(
        "{trace_id:032x}:{span_id:016x}:0:{}",
        u8::from(debug_or_sampled)
    ))
}

/// The header, if it is what <https://www.w3.org/TR/trace-context/#traceparent-header> asks for.
fn traceparent(header: &str) -> Option<String> {
    let fields: Vec<&str> = header.split('-').collect();
    let [version, trace_id, span_id, flags, ref later @ ..] = fields[..] else {
        return None;
    };
    let lengths = [version, trace_id, span_id, flags].map(str::len) == [2, 32, 16, 2];
    let version_ok = hex(version, 2)? != 0xff && (version != "00" || later.is_empty());
    let ids = id(trace_id, 32)
        .and(id(span_id, 16))
        .and(hex(flags, 2))
        .is_some();
    let lower_case = !header.contains(|c: char| c.is_ascii_uppercase());
    (lengths && version_ok && ids && lower_case).then(|| header.to_owned())
}

/// The header, if it keeps to <https://www.w3.org/TR/trace-context/#tracestate-limits>, which no propagator of
/// this version checks.
fn tracestate(header: &str) -> Option<String> {
    let within = header.len() <= 512 && header.split(',').count() <= 32;
    within.then(|| header.to_owned())
}

/// An id of up to so many digits that is not zero.
fn id(digits: &str, max: usize) -> Option<u128> {
    hex(digits, max).filter(|id| *id != 0)
}

fn hex(digits: &str, max: usize) -> Option<u128> {
    // `from_str_radix` alone would accept a sign.
    let valid = digits.len() <= max && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    valid
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The tracer of this service.
pub fn tracer() -> BoxedTracer {
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL);
    global::tracer_with_scope(scope.build())
}

/// Attributes of a server span at its start, after
/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span>.
pub fn server_attributes<B>(req: &Request<B>, from: SocketAddr) -> Vec<KeyValue> {
    let header = |name: HeaderName| req.headers().get(name)?.to_str().ok();
    let forwarded = header(HeaderName::from_static("x-forwarded-for"));
    let client = forwarded.and_then(|list| list.split(',').next()?.trim().parse().ok());
    let peer: IpAddr = from.ip().to_canonical();
    let mut attributes = vec![
        KeyValue::new(attribute::URL_SCHEME, "http"),
        KeyValue::new(attribute::URL_PATH, req.uri().path().to_owned()),
        KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, version(req.version())),
        KeyValue::new(attribute::NETWORK_PEER_ADDRESS, peer.to_string()),
        KeyValue::new(attribute::NETWORK_PEER_PORT, i64::from(from.port())),
        KeyValue::new(
            attribute::CLIENT_ADDRESS,
            client.unwrap_or(peer).to_string(),
        ),
    ];
    attributes.extend(method(req.method()));
    if let Some(host) = header(HOST).and_then(|host| host.parse::<Uri>().ok()) {
        attributes.extend(server(&host));
    }
    if let Some(query) = req.uri().query() {
        attributes.push(KeyValue::new(attribute::URL_QUERY, query.to_owned()));
    }
    if let Some(agent) = header(USER_AGENT) {
        attributes.push(KeyValue::new(
            attribute::USER_AGENT_ORIGINAL,
            agent.to_owned(),
        ));
    }
    attributes
}

/// Attributes of a client span at its start, after
/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span>.
pub fn client_attributes(url: &Uri) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(attribute::URL_FULL, url.to_string())];
    attributes.extend(method(&Method::GET));
    attributes.extend(server(url));
    attributes
}

fn server(url: &Uri) -> impl Iterator<Item = KeyValue> {
    let address = url
        .host()
        .map(|host| KeyValue::new(attribute::SERVER_ADDRESS, host.to_owned()));
    let port = i64::from(url.port_u16().unwrap_or(80));
    address
        .into_iter()
        .chain([KeyValue::new(attribute::SERVER_PORT, port)])
}

/// A method that HTTP does not define must not become one of a thousand names.
fn method(method: &Method) -> Vec<KeyValue> {
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let name = method.as_str().to_owned();
    if known.contains(&method.as_str()) {
        return vec![KeyValue::new(attribute::HTTP_REQUEST_METHOD, name)];
    }
    vec![
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, "_OTHER"),
        KeyValue::new(attribute::HTTP_REQUEST_METHOD_ORIGINAL, name),
    ]
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// Writes down how a client span's call ended, and that it has.
pub fn record_answer(cx: &Context, answer: &anyhow::Result<StatusCode>) {
    match answer {
        Ok(status) => {
            let failed = status.is_client_error() || status.is_server_error();
            record_status(cx, *status, failed);
        }
        Err(err) => {
            cx.span()
                .set_attribute(KeyValue::new(attribute::ERROR_TYPE, error_type(err)));
            cx.span().set_status(Status::error(format!("{err:#}")));
        }
    }
    cx.span().end();
}

/// A word for what went wrong, of which there are few.
fn error_type(err: &anyhow::Error) -> &'static str {
    let connect = |err: &legacy::Error| err.is_connect();
    if err.is::<time::error::Elapsed>() {
        "timeout"
    } else if err.downcast_ref::<legacy::Error>().is_some_and(connect) {
        "connect"
    } else {
        "broken_answer"
    }
}

/// Writes down how a server span's request was answered, and that it is, and tells the caller its trace:
/// `traceresponse` (<https://www.w3.org/TR/trace-context-2/>, draft) for programs, `Server-Timing` for
/// scripts in a page, with the link for their readers.
pub fn record_reply<B>(cx: &Context, response: &mut Response<B>) {
    let status = response.status();
    record_status(cx, status, status.is_server_error());
    name_trace(cx, response.headers_mut());
    cx.span().end();
}

fn record_status(cx: &Context, status: StatusCode, failed: bool) {
    let code = i64::from(status.as_u16());
    cx.span()
        .set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, code));
    if failed {
        cx.span()
            .set_attribute(KeyValue::new(attribute::ERROR_TYPE, code.to_string()));
        cx.span().set_status(Status::error(""));
    }
}

fn name_trace(cx: &Context, headers: &mut HeaderMap) {
    let span = cx.span();
    let span = span.span_context();
    let (trace_id, sampled) = (span.trace_id(), u8::from(span.is_sampled()));
    let context = format!("00-{trace_id}-{}-{sampled:02x}", span.span_id());
    let mut timing = format!("traceparent;desc=\"{context}\"");
    if let Some(url) = TRACE_URL
        .get()
        .filter(|url| span.is_sampled() && !url.is_empty())
    {
        let url = url.replace("{trace_id}", &trace_id.to_string());
        timing.push_str(&format!(", trace;desc=\"{url}\""));
    }
    for (name, value) in [("traceresponse", context), ("server-timing", timing)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}
