//! `tempopb.StreamingQuerier`: the queries of the HTTP API over gRPC, as Grafana's live results ask for them.
//!
//! Answers are those of HTTP, and so is what is refused. An answer that would be larger than clients take comes in several
//! messages. What is spoken is in `proto/tempopb`.

mod messages;
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "generated")]
mod tempopb;

use std::{
    collections::BTreeMap,
    convert::identity,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, http::StatusCode, middleware, response::Response as HttpResponse};
use prost::Message;
use tokio::sync::mpsc;
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
use super::{Api, DEADLINE, Refusal, present, search, series, tags, wanted::Wanted};
use crate::{
    query::Patience,
    serve::Takes,
    store::{Early, Found, Store},
};

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

/// How often a search tells what it has found so far, as in Tempo.
const EARLY: Duration = Duration::from_millis(500);

impl Streaming {
    async fn answer<T, M>(
        &self,
        metadata: &MetadataMap,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
        messages: impl FnOnce(T) -> M,
    ) -> Result<Response<BoxStream<M::Item>>, Status>
    where
        T: Send + 'static,
        M: IntoIterator<IntoIter: Send + 'static, Item: Message + 'static>,
    {
        let time = timeout(metadata).unwrap_or(DEADLINE);
        let (answer, _) = self.0.answer_within(time, query).await?;
        let messages: Vec<_> = messages(answer).into_iter().collect();
        let bytes = messages.iter().map(Message::encoded_len).sum();
        let messages = messages.into_iter().map(Ok);
        let mut response = Response::new(Box::pin(tokio_stream::iter(messages)) as BoxStream<_>);
        response.extensions_mut().insert(Takes(bytes));
        Ok(response)
    }

    /// Answers a search that takes long in parts: every half a second the traces that were found since, which are sure to
    /// be in the answer, and last the whole answer.
    ///
    /// Such an answer keeps its place among those that are answered at once until the client has taken all of it.
    async fn search_early(
        &self,
        time: Duration,
        every: Duration,
        search: search::Search,
    ) -> Result<Response<BoxStream<SearchResponse>>, Status> {
        let with_spans = search.with_spans();
        let (tell, mut told) = mpsc::channel(1);
        let query = move |store: &Store, patience: &Patience| {
            let tell = |mut found: Vec<Found>| {
                present::in_columns(&mut found);
                // A client that is slow gets these with the rest.
                let _ = tell.try_send(messages::search(&found, with_spans));
            };
            let early = Early::every(every, &tell);
            let found = search.run(store, Some(&early), patience)?;
            Ok(messages::search(&found, with_spans))
        };
        let api = self.0.clone();
        let mut answer = Box::pin(async move { api.answer_within(time, query).await });
        let first = tokio::select! {
            biased;
            answer = &mut answer => {
                let (whole, _) = answer?;
                let bytes = whole.encoded_len();
                let messages = tokio_stream::iter(split(whole).into_iter().map(Ok));
                let mut response = Response::new(Box::pin(messages) as BoxStream<_>);
                response.extensions_mut().insert(Takes(bytes));
                return Ok(response);
            }
            Some(first) = told.recv() => first,
        };
        // With room for one: whoever does not read stops this.
        let (send, messages) = mpsc::channel(1);
        tokio::spawn(async move {
            let deliver = async {
                let mut next = split(first);
                loop {
                    for message in next {
                        send.send(Ok(message)).await.ok()?;
                    }
                    tokio::select! {
                        biased;
                        answer = &mut answer => {
                            match answer {
                                Err(refusal) => send.send(Err(refusal.into())).await.ok()?,
                                Ok((whole, _place)) => {
                                    for message in split(whole) {
                                        send.send(Ok(message)).await.ok()?;
                                    }
                                }
                            }
                            return Some(());
                        }
                        Some(more) = told.recv() => next = split(more),
                    }
                }
            };
            tokio::select! {
                _ = deliver => {}
                // The client has gone, and so goes the query.
                () = send.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(Messages(messages))))
    }
}

/// Messages as they come.
struct Messages<T>(mpsc::Receiver<T>);

impl<T> tokio_stream::Stream for Messages<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
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
        let time = timeout(&metadata).unwrap_or(DEADLINE);
        self.search_early(time, EARLY, search).await
    }

    type SearchTagsStream = BoxStream<SearchTagsResponse>;

    async fn search_tags(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let scope = tags::Scope::parse(&asked.scope)?;
        let bounds = tags::Bounds::new(asked.start, asked.end, asked.max_tags_per_scope)?;
        let query = move |store: &Store, patience: &Patience| scope.names(store, &bounds, patience);
        self.answer(&metadata, query, messages::tags_v1).await
    }

    type SearchTagsV2Stream = BoxStream<SearchTagsV2Response>;

    async fn search_tags_v2(
        &self,
        request: Request<SearchTagsRequest>,
    ) -> Result<Response<Self::SearchTagsV2Stream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let scope = tags::Scope::parse(&asked.scope)?;
        let found = tags::lenient_query(&asked.query);
        let bounds = tags::Bounds::new(asked.start, asked.end, asked.max_tags_per_scope)?;
        let query =
            move |store: &Store, patience: &Patience| scope.tags(store, &found, &bounds, patience);
        self.answer(&metadata, query, messages::tags).await
    }

    type SearchTagValuesStream = BoxStream<SearchTagValuesResponse>;

    async fn search_tag_values(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let bounds = tags::Bounds::new(asked.start, asked.end, asked.max_tag_values)?;
        let query = move |store: &Store, patience: &Patience| {
            tags::plain_values(&asked.tag_name, bounds, store, patience)
        };
        self.answer(&metadata, query, messages::tag_values_v1).await
    }

    type SearchTagValuesV2Stream = BoxStream<SearchTagValuesV2Response>;

    async fn search_tag_values_v2(
        &self,
        request: Request<SearchTagValuesRequest>,
    ) -> Result<Response<Self::SearchTagValuesV2Stream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let bounds = tags::Bounds::new(asked.start, asked.end, asked.max_tag_values)?;
        let listed = tags::Listed::new(&asked.tag_name, &asked.query, bounds)?;
        let query = move |store: &Store, patience: &Patience| listed.values(store, patience);
        self.answer(&metadata, query, messages::tag_values).await
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
            let answer = series::range(store, &asked, window, patience)?;
            Ok(messages::range(answer))
        };
        self.answer(&metadata, query, identity).await
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
            let answer = series::instant(store, &asked, window, patience)?;
            Ok(messages::instant(answer))
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

/// The same traces in messages that clients take.
fn split(whole: SearchResponse) -> Vec<SearchResponse> {
    let SearchResponse { traces, metrics } = whole;
    let message = |traces| SearchResponse { traces, metrics };
    let parts = in_parts(traces, Message::encoded_len).into_iter();
    parts.map(message).collect()
}

/// The same items in parts, each of as many bytes as go into a message. There is one part at least.
fn in_parts<T>(items: impl IntoIterator<Item = T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for item in items {
        let more = bytes_of(&item);
        if bytes > 0 && bytes + more > MAX_MESSAGE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(last) = parts.last_mut() {
            last.push(item);
        }
    }
    parts
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
    use std::{sync::Arc, time::SystemTime};

    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use tokio::sync::Semaphore;
    use tonic::codegen::tokio_stream::StreamExt;

    use super::{
        tempopb::{PartialStatus, TraceSearchMetadata},
        *,
    };
    use crate::{
        api::json::{Charted, LabeledSeries},
        ingest,
        store::{Accepted, Fsync, Options},
    };

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

    /// A search that tells all it can, and what it told: the ids of the traces of each message.
    async fn told(every: Duration) -> Vec<Vec<String>> {
        let options = Options {
            data: None,
            max_memory: 64 << 20,
            max_disk: 1,
            max_age: Duration::MAX,
            fsync: Fsync::default(),
        };
        let store = Store::open(options, ingest::decode_again).unwrap();
        for number in 1..=40_u8 {
            let span = Span {
                trace_id: vec![number; 16],
                span_id: vec![number; 8],
                start_time_unix_nano: 1000 + u64::from(number),
                end_time_unix_nano: 2000,
                ..Span::default()
            };
            let request = ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    scope_spans: vec![ScopeSpans {
                        spans: vec![span],
                        ..ScopeSpans::default()
                    }],
                    ..ResourceSpans::default()
                }],
            };
            let body = request.encode_to_vec();
            let accepted = Accepted {
                form: 1,
                body: &body,
                batches: ingest::decode_again(1, &body).unwrap(),
                received: SystemTime::now(),
            };
            store.append(&accepted).unwrap();
        }
        let api = Api {
            queries: Arc::new(Semaphore::new(1)),
            ..Api::new(Arc::new(store))
        };
        let search = search::Asked {
            query: Some("{ }".to_owned()),
            limit: Some(30),
            ..search::Asked::default()
        };
        let streaming = Streaming(api.clone());
        let search = search.check().unwrap();
        let answer = streaming.search_early(DEADLINE, every, search).await;
        let mut messages = answer.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(message) = messages.next().await {
            let traces = message.unwrap().traces.into_iter();
            told.push(traces.map(|trace| trace.trace_id).collect());
        }
        // The place is free again.
        api.answer(|_, _| Ok(())).await.unwrap();
        told
    }

    #[tokio::test]
    async fn a_search_that_takes_long_is_answered_in_parts_and_then_whole() {
        let mut told = told(Duration::ZERO).await;
        let whole = told.pop().unwrap();
        let newest = (11..=40_u8).rev();
        let newest: Vec<_> = newest
            .map(|number| format!("{number:02x}").repeat(16))
            .collect();
        assert_eq!(whole, newest);
        // What a slow client missed of them is in the whole answer.
        let mut rest = whole.iter();
        for trace in told.iter().flatten() {
            assert!(rest.any(|other| other == trace), "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_search_that_is_quick_is_one_message() {
        assert_eq!(told(Duration::from_secs(3600)).await.len(), 1);
    }

    #[test]
    fn series_that_lack_traces_are_partial() {
        let charted = |partial: Option<&str>| Charted {
            series: Vec::new(),
            timestamps: Vec::new(),
            partial: partial.map(str::to_owned),
        };
        for (partial, status) in [
            (None, PartialStatus::Complete),
            (Some("why"), PartialStatus::Partial),
        ] {
            let range = messages::range(charted(partial));
            assert_eq!(range.len(), 1);
            assert_eq!(
                (range[0].status(), &*range[0].message),
                (status, partial.unwrap_or_default())
            );
            let instant = messages::instant(charted(partial));
            assert_eq!(
                (instant.status(), &*instant.message),
                (status, partial.unwrap_or_default())
            );
        }
    }

    #[test]
    fn many_series_come_in_several_messages_of_which_the_last_says_what_is_missing() {
        let series = |number: u8| LabeledSeries {
            labels: Vec::new(),
            values: vec![f64::from(number); 100_000],
            exemplars: Vec::new(),
        };
        let messages = messages::range(Charted {
            series: (0..3).map(series).collect(),
            timestamps: (0..100_000).collect(),
            partial: Some("why".to_owned()),
        });
        let said = messages.iter().map(|message| {
            let numbers = message.series.iter().map(|series| series.samples[0].value);
            let is_partial = message.status() == PartialStatus::Partial;
            (numbers.collect(), is_partial, &*message.message)
        });
        let said: Vec<(Vec<_>, _, _)> = said.collect();
        assert_eq!(
            said,
            [(vec![0.0, 1.0], false, ""), (vec![2.0], true, "why")]
        );
        assert!(messages.iter().all(|message| message.metrics.is_some()));
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
