//! The example of README.org, as it stands there. A process of its own, since its layers use the global propagator.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

#[expect(dead_code, reason = "its main is not what is tested")]
#[path = "../examples/books.rs"]
mod books;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "it/recorder.rs"]
mod recorder;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry::trace::{SpanId, SpanKind};
use telemetry::stop::Readiness;
use tokio::{net::TcpListener, sync::oneshot};

use crate::recorder::{Recorder, config};

#[tokio::test]
async fn a_request_to_it_is_one_trace_and_is_measured() {
    let recorder = Recorder::default();
    let telemetry = telemetry::builder("books", "1.0.0")
        .config(config(&["OTEL_TRACES_EXPORTER=none"]))
        .processor(recorder.clone())
        .build()
        .unwrap();
    opentelemetry::global::set_text_map_propagator(telemetry.propagator());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let ending = Readiness::default();
    let readiness = ending.clone();
    let serving = tokio::spawn({
        let stock = format!("{url}/stock");
        async move {
            let stopped = async {
                let _ = stopped.await;
            };
            books::serve(listener, stock, &telemetry, readiness, stopped)
                .await
                .unwrap();
            telemetry.shutdown().await.unwrap();
        }
    });

    assert_eq!(
        text(&format!("{url}/books/17")).await,
        "book 17, in stock\n"
    );
    let metrics = text(&format!("{url}/metrics")).await;
    assert_eq!(get(&format!("{url}/ready")).await.0, 200);
    ending.end();
    assert_eq!(get(&format!("{url}/ready")).await.0, 503);
    stop.send(()).unwrap();
    serving.await.unwrap();

    let mut spans = recorder.take();
    spans.sort_by_key(|span| span.start_time);
    let seen = spans
        .iter()
        .map(|span| (span.name.as_ref(), &span.span_kind));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            ("GET /books/{id}", &SpanKind::Server),
            ("GET", &SpanKind::Client),
            ("GET /stock/{id}", &SpanKind::Server),
        ]
    );
    let parents = spans.iter().map(|span| span.parent_span_id);
    let ids = spans.iter().map(|span| span.span_context.span_id());
    let ids: Vec<_> = [SpanId::INVALID].into_iter().chain(ids).collect();
    assert_eq!(parents.collect::<Vec<_>>(), ids[..3]);

    let trace = spans[0].span_context.trace_id().to_string();
    let measured = metrics.lines().find(|line| {
        line.starts_with("http_server_request_duration_seconds_bucket")
            && line.contains("/books/{id}")
            && line.contains("trace_id")
    });
    assert!(
        measured.is_some_and(|line| line.contains(&trace)),
        "{metrics}"
    );
}

async fn text(url: &str) -> String {
    let (status, text) = get(url).await;
    assert_eq!(status, 200);
    text
}

async fn get(url: &str) -> (u16, String) {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(url.parse().unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
