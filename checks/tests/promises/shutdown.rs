//! A stop loses no request and no span.

use rustix::process::Signal;

use crate::http::get;
use crate::lab::Lab;
use crate::trace::Trace;

/// Stops a lab while a request waits for the database, and returns the trace as another lab's store has it.
async fn stop_in_flight(signal: Signal) -> Trace {
    let store = Lab::start(&[]).await;
    let mut lab = Lab::start_slow(&["--otlp", &store.url("otlp")]).await;
    let edge = lab.url("edge");
    let visit = tokio::spawn(async move {
        get(&edge, &[("host", b"uservice3.localhost")])
            .await
            .unwrap()
    });
    lab.process.says("uservice4  | Request: {").await;
    lab.signal(signal);
    let answer = visit.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert!(lab.process.ended().await.success(), "{}", lab.process.log());

    // It has ended: what has not arrived by now never will.
    let trace = Trace::now(&store.url("tracestore"), &answer.trace_id()).await;
    assert_eq!(trace.spans.len(), 7, "{}", trace.tree());
    trace
}

#[tokio::test]
async fn sigterm_lets_the_open_request_finish_and_its_spans_arrive() {
    let trace = stop_in_flight(Signal::TERM).await;
    assert!(
        trace.spans.iter().all(|span| span.status == "UNSET"),
        "{}",
        trace.tree()
    );
}

#[tokio::test]
async fn ctrl_c_lets_the_open_request_finish_and_its_spans_arrive() {
    stop_in_flight(Signal::INT).await;
}
