//! A request and its response, from the start of its span to the end.
//!
//! It is over when it is dropped, whichever way that comes about, and then tells its span how it went.

use std::{
    borrow::Cow,
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

use crate::http::{
    call,
    failure::{self, ABORTED, PANIC},
    headers,
    request::{self, Peer},
    server::Route,
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
        method: Option<String>,
        status: Option<Code>,
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
    start: SystemTime,
    clock: Instant,
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
    pub(super) fn new(cx: Context, side: Side, protocol: Protocol, start: Start) -> Self {
        Self {
            cx,
            side,
            protocol,
            start: start.time,
            clock: start.clock,
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

    /// Tells the caller which span its request was.
    pub(super) fn reply(&self, headers: &mut HeaderMap, server_timing: bool) {
        headers::answer(headers, self.cx.span().span_context(), server_timing);
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
        let elapsed = self.clock.elapsed();
        let broken = self.broken();
        let span = self.cx.span();
        if let Some(status) = self.status
            && !self.is_call()
        {
            let status = i64::from(status.as_u16());
            span.set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, status));
        }
        let error = match &self.protocol {
            Protocol::Http { .. } => http_error(self.side, self.status, broken),
            Protocol::Grpc { method, status } => {
                let (code, error) = call_error(self.side, *status, broken);
                describe_call(&span, self.side, method.as_deref(), code);
                error
            }
        };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error));
            span.set_status(Status::error(""));
        }
        // By the wall clock, a span could end before it began.
        span.end_with_timestamp(self.start + elapsed);
    }
}

/// Adds what is known of a connection once there is a response.
fn describe_connection<B>(span: &SpanRef<'_>, response: &Response<B>) {
    let version = request::version(response.version());
    span.set_attribute(KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, version));
    if let Some(info) = response.extensions().get::<HttpInfo>() {
        let Peer { address, port } = info.remote_addr().into();
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

/// Adds what is known of a call at its end only: a server that has the method answers otherwise than `UNIMPLEMENTED`.
fn describe_call(span: &SpanRef<'_>, side: Side, method: Option<&str>, code: Code) {
    span.set_attribute(KeyValue::new(
        attribute::RPC_RESPONSE_STATUS_CODE,
        call::name(code),
    ));
    if side == Side::Client {
        return;
    }
    match method {
        Some(method) if code != Code::Unimplemented => {
            span.set_attribute(KeyValue::new(attribute::RPC_METHOD, method.to_owned()));
        }
        _ => {
            span.update_name(call::SYSTEM);
            span.set_attribute(KeyValue::new(attribute::RPC_METHOD, call::OTHER));
            if let Some(method) = method {
                let original = KeyValue::new(attribute::RPC_METHOD_ORIGINAL, method.to_owned());
                span.set_attribute(original);
            }
        }
    }
}
