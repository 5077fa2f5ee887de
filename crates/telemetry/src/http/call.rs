//! Calls of gRPC: their methods and how they ended.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use tonic::Code;

/// What stands for a method that the server does not have.
pub(super) const OTHER: &str = "_OTHER";

/// `rpc.system.name`, and the name of a span without a method.
pub(super) const SYSTEM: &str = "grpc";

/// Longest method that is taken for one, in bytes.
const MAX_METHOD: usize = 255;

/// Most methods that are remembered. A server has fewer, but what passes calls on may see any number.
const MAX_METHODS: usize = 1000;

/// Whether a request is a call of gRPC, as its content type says.
pub(super) fn is_call<B>(request: &Request<B>) -> bool {
    is_grpc(request.headers())
}

/// `application/grpc`, with a format of messages or parameters behind it. `application/grpc-web` is another protocol,
/// which has its trailers in the body.
fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let rest = value.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t')))
}

/// `package.Service/Method` of a path, if it is one.
pub(super) fn method(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    let is_name = |part: &str, dot: bool| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (dot && byte == b'.');
        !part.is_empty() && part.bytes().all(fits)
    };
    (method.len() <= MAX_METHOD && is_name(service, true) && is_name(name, false)).then_some(method)
}

/// The status of a call that ended with its headers or at these trailers.
pub(super) fn status(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}

/// The status of a call that was answered, but not by gRPC.
///
/// <https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html>
pub(super) fn foreign_status(status: StatusCode, headers: &HeaderMap) -> Option<Code> {
    if is_grpc(headers) && status == StatusCode::OK {
        return None;
    }
    Some(match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    })
}

/// `rpc.response.status_code`.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether the server failed, rather than the caller asked for what it cannot have.
pub(super) fn is_servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The methods that a server is known to have.
///
/// A caller can ask for any. Until a call of one went well, its name is a stranger's word: every other answer may be of
/// something that refuses calls before it looks at their methods.
#[derive(Debug, Default)]
pub(super) struct Methods(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    methods: HashSet<Arc<str>>,
    /// Whether the service has named them, so that there are no others.
    named: bool,
}

impl Methods {
    /// Those that the service names, after which none are learned.
    pub(super) fn add(&self, methods: impl Iterator<Item = Arc<str>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.methods.extend(methods);
        known.named = true;
    }

    /// Whether there was room for it.
    fn learn(&self, method: &Arc<str>) -> bool {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let has_room = known.methods.len() < MAX_METHODS;
        if has_room {
            known.methods.insert(method.clone());
        }
        // Another call of it may have ended meanwhile.
        has_room || known.methods.contains(method)
    }

    /// Whether there is such a method, given how a call of it ended.
    pub(super) fn has(&self, method: &Arc<str>, code: Code) -> bool {
        let (is_known, named) = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            (known.methods.contains(method), known.named)
        };
        is_known || (!named && code == Code::Ok && self.learn(method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_learns_no_method_however_its_calls_end() {
        let methods = Methods::default();
        let name = |nth: usize| Arc::from(format!("shop.Cart/{nth}"));
        for nth in 0..MAX_METHODS {
            assert!(methods.has(&name(nth), Code::Ok));
        }
        let more = name(MAX_METHODS);
        assert!(!methods.has(&more, Code::Ok));
        assert!(!methods.has(&more, Code::Ok));
        assert!(methods.has(&name(0), Code::Internal));
    }
}
