//! `tempopb.StreamingQuerier`: the queries of the HTTP API over gRPC, as Grafana's live results ask for them.
//!
//! Answers are those of HTTP, and so is what is refused. An answer that would be larger than clients take comes in several
//! messages. What is spoken is in `proto/tempopb`.

mod messages;
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "generated")]
mod tempopb;

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, http::StatusCode, middleware, response::Response as HttpResponse};
use prost::Message;
use tonic::{
    Code, Request, Response, Status,
    codec::CompressionEncoding,
    codegen::{BoxStream, tokio_stream},
    metadata::MetadataMap,
    server::NamedService,
};

use self::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse,
    SearchRequest, SearchResponse, SearchTagValuesRequest, SearchTagValuesResponse,
    SearchTagValuesV2Response, SearchTagsRequest, SearchTagsResponse, SearchTagsV2Response,
    streaming_querier_server::{StreamingQuerier, StreamingQuerierServer},
};
use super::{Api, DEADLINE, Refusal, search, series, tags, wanted::Wanted};
use crate::{query::Patience, store::Store};

/// Enough for any query that is none because it is too long to say so.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// A message is not made larger than that by one more trace: clients take 4 MiB unless they are told otherwise.
const MAX_MESSAGE_BYTES: usize = 2 << 20;

const METHODS: [&str; 7] = [
    "Search",
    "SearchTags",
    "SearchTagsV2",
    "SearchTagValues",
    "SearchTagValuesV2",
    "MetricsQueryRange",
    "MetricsQueryInstant",
];

/// A route for each method, so that queries are counted by what they ask.
pub(super) fn router(api: Api) -> Router {
    let service = StreamingQuerierServer::new(Streaming(api))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let mut router = Router::new();
    for method in METHODS {
        let path = format!("/{}/{method}", StreamingQuerierServer::<Streaming>::NAME);
        router = router.route_service(&path, service.clone());
    }
    router.layer(middleware::map_response(with_status))
}

/// What became of a call, in the words of HTTP: in gRPC every answer is a 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered(pub(crate) StatusCode);

async fn with_status(mut response: HttpResponse) -> HttpResponse {
    if let Some(status) = Status::from_header_map(response.headers()) {
        let status = match status.code() {
            Code::Ok => StatusCode::OK,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Internal | Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        response.extensions_mut().insert(Answered(status));
    }
    response
}

struct Streaming(Api);

impl Streaming {
    async fn answer<T, M>(
        &self,
        metadata: &MetadataMap,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
        messages: impl FnOnce(T) -> M,
    ) -> Result<Response<BoxStream<M::Item>>, Status>
    where
        T: Send + 'static,
        M: IntoIterator<IntoIter: Send + 'static, Item: 'static>,
    {
        let time = timeout(metadata).unwrap_or(DEADLINE);
        let answer = self.0.answer_within(time, query).await?;
        let messages = messages(answer).into_iter().map(Ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

#[tonic::async_trait]
impl StreamingQuerier for Streaming {
    type SearchStream = BoxStream<SearchResponse>;

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let search = asked_search(asked).check()?;
        let query = move |store: &Store, patience: &Patience| {
            let found = search.run(store, patience)?;
            Ok(messages::search(&found, search.with_spans()))
        };
        self.answer(&metadata, query, split).await
    }

    type SearchTagsStream = BoxStream<SearchTagsResponse>;

    async fn search_tags(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsStream>, Status> {
        let scope = tags::Scope::parse(&request.get_ref().scope)?;
        let query = move |store: &Store, _: &Patience| Ok(messages::tags_v1(scope.names(store)));
        self.answer(request.metadata(), query, Some).await
    }

    type SearchTagsV2Stream = BoxStream<SearchTagsV2Response>;

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let scope = tags::Scope::parse(&request.get_ref().scope)?;
        let query = move |store: &Store, _: &Patience| Ok(messages::tags(scope.tags(store)));
        self.answer(request.metadata(), query, Some).await
    }

    type SearchTagValuesStream = BoxStream<SearchTagValuesResponse>;

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let query = move |store: &Store, patience: &Patience| {
            let values = tags::plain_values(&asked.tag_name, store, patience)?;
            Ok(messages::tag_values_v1(values))
        };
        self.answer(&metadata, query, Some).await
    }

    type SearchTagValuesV2Stream = BoxStream<SearchTagValuesV2Response>;

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let listed = tags::Listed::new(&asked.tag_name, &asked.query)?;
        let query = move |store: &Store, patience: &Patience| {
            Ok(messages::tag_values(listed.values(store, patience)?))
        };
        self.answer(&metadata, query, Some).await
    }

    type MetricsQueryRangeStream = BoxStream<QueryRangeResponse>;

    async fn metrics_query_range(
        &self,
        request: Request<QueryRangeRequest>,
    ) -> Result<Response<Self::MetricsQueryRangeStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let QueryRangeRequest {
            start,
            end,
            step,
            exemplars,
            ..
        } = asked;
        let asked = series::Asked::new(&asked.query, start, end, step, exemplars.into())?;
        let window = asked.range()?;
        let query = move |store: &Store, patience: &Patience| {
            let (series, timestamps) = series::range(store, &asked, window, patience)?;
            Ok(messages::range(series, &timestamps))
        };
        self.answer(&metadata, query, Some).await
    }

    type MetricsQueryInstantStream = BoxStream<QueryInstantResponse>;

    async fn metrics_query_instant(
        &self,
        request: Request<QueryInstantRequest>,
    ) -> Result<Response<Self::MetricsQueryInstantStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let asked = series::Asked::new(&asked.query, asked.start, asked.end, 0, 0)?;
        let window = asked.instant()?;
        let query = move |store: &Store, patience: &Patience| {
            let series = series::instant(store, &asked, window, patience)?;
            Ok(messages::instant(series))
        };
        self.answer(&metadata, query, Some).await
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let code = match refusal.status {
            StatusCode::BAD_REQUEST => Code::InvalidArgument,
            StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::UNPROCESSABLE_ENTITY => Code::FailedPrecondition,
            _ => Code::Internal,
        };
        Status::new(code, refusal.message)
    }
}

fn asked_search(request: SearchRequest) -> search::Asked {
    let some = |number: u32| (number != 0).then_some(number);
    let nanoseconds = |milliseconds: u32| some(milliseconds).map(|ms| u64::from(ms) * 1_000_000);
    let SearchRequest {
        tags,
        min_duration_ms,
        max_duration_ms,
        limit,
        start,
        end,
        query,
        spans_per_span_set,
    } = request;
    search::Asked {
        query: (!query.is_empty()).then_some(query),
        wanted: Wanted {
            tags: BTreeMap::from_iter(tags),
            min_duration: nanoseconds(min_duration_ms),
            max_duration: nanoseconds(max_duration_ms),
        },
        limit: some(limit),
        start: some(start),
        end: some(end),
        spans_per_trace: some(spans_per_span_set),
    }
}

/// The same traces in messages that clients take. There is one at least.
fn split(whole: SearchResponse) -> Vec<SearchResponse> {
    let SearchResponse { traces, metrics } = whole;
    let empty = || SearchResponse {
        traces: Vec::new(),
        metrics,
    };
    let mut messages = vec![empty()];
    let mut bytes = 0;
    for trace in traces {
        let more = trace.encoded_len();
        if bytes > 0 && bytes + more > MAX_MESSAGE_BYTES {
            messages.push(empty());
            bytes = 0;
        }
        bytes += more;
        if let Some(last) = messages.last_mut() {
            last.traces.push(trace);
        }
    }
    messages
}

/// How long the client waits, if it says so: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&number.len()) && number.bytes().all(|c| c.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{tempopb::TraceSearchMetadata, *};

    #[test]
    fn a_client_says_how_long_it_waits() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("123456789S", None),
            ("+1S", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("", None),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(timeout(&metadata), expected, "{text}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }

    #[test]
    fn large_answers_are_split_between_traces_and_none_is_lost() {
        let trace = |(name, bytes): (usize, usize)| TraceSearchMetadata {
            trace_id: name.to_string(),
            root_trace_name: "x".repeat(bytes),
            ..TraceSearchMetadata::default()
        };
        let sizes = [1 << 20, 1 << 19, 1 << 20, 5 << 20, 1, 1];
        let traces: Vec<_> = sizes.into_iter().enumerate().map(trace).collect();
        let messages = split(SearchResponse {
            traces: traces.clone(),
            metrics: None,
        });
        let counts: Vec<_> = messages
            .iter()
            .map(|message| message.traces.len())
            .collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        let all: Vec<_> = messages
            .into_iter()
            .flat_map(|message| message.traces)
            .collect();
        assert_eq!(all, traces);
        assert_eq!(split(SearchResponse::default()).len(), 1);
    }
}
