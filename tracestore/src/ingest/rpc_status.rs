//! What went wrong, as Google's APIs and OTLP say it in protobuf.
//!
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>

use prost::Message;
use tonic::Code;

/// How long a sender shall wait before it sends again, in seconds.
pub(super) const RETRY_SECONDS: u8 = 1;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

impl RpcStatus {
    pub(super) fn new(code: Code, message: impl Into<String>) -> RpcStatus {
        RpcStatus {
            code: code as i32,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Without this, a sender need not try again.
    pub(super) fn with_retry(mut self) -> RpcStatus {
        let retry_info = RetryInfo {
            retry_delay: Some(Duration {
                seconds: RETRY_SECONDS.into(),
                nanos: 0,
            }),
        };
        self.details.push(Any {
            type_url: RETRY_INFO.to_owned(),
            value: retry_info.encode_to_vec(),
        });
        self
    }
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

pub(super) const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Duration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Duration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}
