//! A request and its response, from the start of its span to the end.
//!
//! It is over when it is dropped, whichever way that comes about, and then tells its span how it went.

use std::{
    borrow::Cow,
    sync::Arc,
    thread,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, Method, Response, StatusCode};
use hyper_util::client::legacy::connect::HttpInfo;
use opentelemetry::{
    Context, KeyValue, StringValue,
    trace::{SpanRef, Status, TraceContextExt},
};
use opentelemetry_semantic_conventions::attribute;
use tonic::Code;

use crate::{
    http::{
        call::{self, Methods},
        failure::{self, ABORTED, PANIC},
        headers,
        measured::{Measured, Over},
        request::{self, Peer},
        server::Route,
    },
    metrics::Labels,
};

/// Which end of an exchange a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// What is spoken.
#[derive(Debug)]
pub(super) enum Protocol {
    Http {
        /// As the span is named.
        method: &'static str,
        /// Whether the response has no body whatever its headers say.
        head: bool,
        route: Option<StringValue>,
    },
    Grpc {
        /// `None` for a path that is no method's.
        method: Option<Arc<str>>,
        status: Option<Code>,
        /// Those that the server has; a client knows what it calls.
        methods: Option<Arc<Methods>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    /// The body of the response is on its way.
    Answered,
    Over,
}

#[derive(Debug)]
pub(super) struct Exchange {
    /// With the span.
    cx: Context,
    side: Side,
    protocol: Protocol,
    /// `None` unless somebody wants measurements.
    measured: Option<Measured>,
    start: Start,
    stage: Stage,
    status: Option<StatusCode>,
    failure: Option<&'static str>,
    /// Whether somebody else's code is running: what ends the exchange then is a panic.
    polling: bool,
    /// Whether the body of the response was asked for.
    touched: bool,
    /// Bytes of the response's body until now.
    sent: u64,
    /// How many the headers promised.
    length: Option<u64>,
}

/// When an exchange began, by two clocks: the second is not set back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    clock: Instant,
    pub(super) time: SystemTime,
}

impl Start {
    pub(super) fn now() -> Self {
        // In this order, so that the end, counted from here, is not before that of a child.
        let clock = Instant::now();
        Self {
            clock,
            time: SystemTime::now(),
        }
    }
}

impl Exchange {
    pub(super) fn new(
        cx: Context,
        side: Side,
        protocol: Protocol,
        start: Start,
        measured: Option<Measured>,
    ) -> Self {
        if let (Some(measured), Side::Server, Protocol::Http { method, .. }) =
            (&measured, side, &protocol)
        {
            measured.begun(method);
        }
        Self {
            cx,
            side,
            protocol,
            measured,
            start,
            stage: Stage::Asked,
            status: None,
            failure: None,
            polling: false,
            touched: false,
            sent: 0,
            length: None,
        }
    }

    pub(super) fn cx(&self) -> &Context {
        &self.cx
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Tells the caller which span its request was, if it was one.
    pub(super) fn reply(&self, headers: &mut HeaderMap, server_timing: bool) {
        let span = self.cx.span();
        // Where telemetry is switched off, the span is the caller's own, or none.
        if span.span_context().is_valid() && !span.span_context().is_remote() {
            headers::answer(headers, span.span_context(), server_timing);
        }
    }

    /// The head of the response is there. Returns whether more is to come.
    pub(super) fn answered<B: http_body::Body>(&mut self, response: &Response<B>) -> bool {
        let (status, headers) = (response.status(), response.headers());
        self.status = Some(status);
        self.stage = Stage::Answered;
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match &mut self.protocol {
            Protocol::Http {
                method,
                head,
                route,
            } => {
                let tunnel = *method == Method::CONNECT.as_str() && status.is_success();
                if bodiless || *head || tunnel {
                    self.stage = Stage::Over;
                }
                if self.side == Side::Server
                    && route.is_none()
                    && let Some(Route(known)) = response.extensions().get()
                {
                    let span = self.cx.span();
                    span.update_name(request::name(method, Some(known.as_str())));
                    span.set_attribute(KeyValue::new(attribute::HTTP_ROUTE, known.clone()));
                    *route = Some(known.clone());
                }
                if self.side == Side::Client {
                    describe_connection(&self.cx.span(), response);
                    if let Some(measured) = &mut self.measured {
                        measured.version = request::version(response.version());
                    }
                }
            }
            Protocol::Grpc { status: code, .. } => {
                *code = call::status(headers).or_else(|| call::foreign_status(status, headers));
            }
        }
        if response.body().is_end_stream() {
            self.stage = Stage::Over;
        }
        self.length = request::content_length(headers);
        self.stage != Stage::Over
    }

    /// Runs somebody else's code, so that a panic in it is known for one.
    pub(super) fn observed<T>(&mut self, run: impl FnOnce() -> T) -> T {
        self.polling = true;
        let done = run();
        self.polling = false;
        done
    }

    pub(super) fn touched(&mut self) {
        self.touched = true;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The response ended with these.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Protocol::Grpc { status, .. } = &mut self.protocol {
            *status = call::status(trailers).or(*status);
        }
        self.stage = Stage::Over;
    }

    /// The response ended as it should.
    pub(super) fn over(&mut self) {
        self.stage = Stage::Over;
    }

    /// There will be no response, or no more of it.
    pub(super) fn failed<E: 'static>(&mut self, error: &E) {
        let word = failure::of(error);
        self.failure = Some(word);
        if let Protocol::Grpc { status, .. } = &mut self.protocol {
            let code = failure::code(error, word, self.side);
            *status = Some(code);
        }
        self.stage = Stage::Over;
    }

    /// Why the exchange came to no proper end, if that is so.
    fn broken(&self) -> Option<&'static str> {
        if self.polling || thread::panicking() {
            return Some(PANIC);
        }
        let cut = match self.stage {
            Stage::Over => false,
            Stage::Asked => true,
            // A server that has written all that it promised does not ask for more. A client may not want the body.
            Stage::Answered => {
                self.length != Some(self.sent)
                    && (self.side == Side::Server || self.touched || self.is_call())
            }
        };
        self.failure.or(cut.then_some(ABORTED))
    }

    fn is_call(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc { .. })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.start.clock.elapsed();
        // By the wall clock, a span could end before it began.
        let end = self.start.time + duration;
        let broken = self.broken();
        let span = self.cx.span();
        let (labels, error) = match &self.protocol {
            Protocol::Http { method, route, .. } => {
                let status = self.status.map_or(0, |status| status.as_u16());
                if status != 0 {
                    let status = i64::from(status);
                    span.set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, status));
                }
                let target = route.as_ref().map_or("", StringValue::as_str).into();
                let labels = Labels {
                    method,
                    target,
                    status,
                    ..Labels::default()
                };
                (labels, http_error(self.side, self.status, broken))
            }
            Protocol::Grpc {
                method,
                status,
                methods,
            } => {
                let (code, error) = call_error(self.side, *status, broken);
                let method = method.as_ref();
                let has =
                    |method: &&Arc<str>| methods.as_ref().is_none_or(|all| all.has(method, code));
                let known = method.filter(has);
                describe_call(&span, self.side, method, known, code);
                let (target, code) = (
                    known.map_or(call::OTHER, |known| known).into(),
                    call::name(code),
                );
                (
                    Labels {
                        target,
                        code,
                        ..Labels::default()
                    },
                    error,
                )
            }
        };
        if let Some(measured) = &self.measured {
            let error = error.as_deref().unwrap_or_default().into();
            let labels = Labels { error, ..labels };
            let (span, response_size) = (span.span_context(), self.sent);
            measured.over(
                self.side,
                labels,
                &Over {
                    duration,
                    end,
                    span,
                    response_size,
                },
            );
        }
        if let Some(error) = error {
            span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(end);
    }
}

/// Adds what is known of a connection once there is a response.
fn describe_connection<B>(span: &SpanRef<'_>, response: &Response<B>) {
    let version = request::version(response.version());
    span.set_attribute(KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, version));
    if let Some(info) = response.extensions().get::<HttpInfo>() {
        let Peer { address, port, .. } = info.remote_addr().into();
        span.set_attributes([
            KeyValue::new(attribute::NETWORK_PEER_ADDRESS, address),
            KeyValue::new(attribute::NETWORK_PEER_PORT, port),
        ]);
    }
}

/// To a client 4xx is an error; to a server it is the client's fault.
fn http_error(
    side: Side,
    status: Option<StatusCode>,
    broken: Option<&'static str>,
) -> Option<Cow<'static, str>> {
    if let Some(broken) = broken {
        return Some(broken.into());
    }
    let least = match side {
        Side::Server => 500,
        Side::Client => 400,
    };
    let status = status.filter(|status| status.as_u16() >= least)?;
    Some(status.as_str().to_owned().into())
}

/// How a call ended, and what of that is an error.
fn call_error(
    side: Side,
    code: Option<Code>,
    broken: Option<&'static str>,
) -> (Code, Option<Cow<'static, str>>) {
    let code = match broken {
        // Whoever cancelled, nobody is told.
        Some(ABORTED) => Code::Cancelled,
        Some(PANIC) => Code::Unknown,
        // A response must end with a status.
        _ => code.unwrap_or(Code::Unknown),
    };
    let error = match broken {
        Some(ABORTED) | None => {
            let is_error = match side {
                Side::Server => call::is_servers_fault(code),
                Side::Client => code != Code::Ok,
            };
            is_error.then(|| call::name(code).into())
        }
        Some(broken) => Some(broken.into()),
    };
    (code, error)
}

/// Adds what is known of a call at its end only.
fn describe_call(
    span: &SpanRef<'_>,
    side: Side,
    asked: Option<&Arc<str>>,
    known: Option<&Arc<str>>,
    code: Code,
) {
    let code = KeyValue::new(attribute::RPC_RESPONSE_STATUS_CODE, call::name(code));
    span.set_attribute(code);
    if side == Side::Client {
        return;
    }
    if let Some(method) = known {
        span.set_attribute(KeyValue::new(attribute::RPC_METHOD, method.clone()));
        return;
    }
    span.update_name(call::SYSTEM);
    span.set_attribute(KeyValue::new(attribute::RPC_METHOD, call::OTHER));
    if let Some(method) = asked {
        let original = KeyValue::new(attribute::RPC_METHOD_ORIGINAL, method.clone());
        span.set_attribute(original);
    }
}
