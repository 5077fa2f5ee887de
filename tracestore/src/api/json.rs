//! Tempo's JSON: protobuf's, but with ids in base64.
//!
//! What has its default value is left out, 64-bit integers are strings, enums are names. It is
//! not OTLP/JSON, whose ids are hexadecimal and whose enums are numbers: that is for logs alone.

mod logs;
mod search;
mod series;
mod tags;
mod trace;
mod values;

pub(super) use self::logs::{newest, older};
pub(super) use self::search::{duration_ms, root_name, root_service};
pub(crate) use self::{
    logs::LogsResponse,
    search::SearchResponse,
    series::{Charted, LabeledExemplar, LabeledSeries, QueryInstantResponse, QueryRangeResponse},
    tags::{
        TagScope, TagValue, TagValuesResponse, TagValuesV1Response, TagsResponse, TagsV1Response,
    },
    trace::{TraceByIdResponse, TraceV1},
};
