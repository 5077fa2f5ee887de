//! Clients of hyper.

use std::{future, sync::Arc, time::Duration};

use ::http::{Request, Response};
use expect_test::expect;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use telemetry::http::{ClientLayer, ResendCount};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::{
    collected::Collected,
    serving::{Answer, Channel, data, hello, http_client, http2_client, page, serve},
};

fn request(url: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::get(url.as_ref()).body(Full::default()).unwrap()
}

fn attribute(collected: &Collected, key: &str) -> Option<String> {
    let span = collected.now().pop()?;
    let attribute = span
        .attributes
        .into_iter()
        .find(|attribute| attribute.key.as_str() == key)?;
    Some(attribute.value.to_string())
}

#[tokio::test]
async fn a_status_of_4xx_is_an_error_to_the_client_that_asked() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let addr = serve(silent.server(), async |_| {
        let mut response = page("hello");
        *response.status_mut() = ::http::StatusCode::NOT_FOUND;
        Ok(response)
    })
    .await;
    let client = collected.client().layer(http_client());
    let mut asked = request(format!("http://{addr}/a"));
    asked.extensions_mut().insert(ResendCount(2));
    let response = client.oneshot(asked).await.unwrap();
    assert_eq!(collected.now().len(), 0, "the body is not read yet");
    response.collect().await.unwrap();
    expect![[r#"
        client "GET" ERROR
          error.type=404
          http.request.method=GET
          http.request.resend_count=2
          http.response.status_code=404
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=127.0.0.1
          server.port=PORT
          url.full=http://127.0.0.1:PORT/a
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn http_2_and_unknown_methods_are_told() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let addr = serve(silent.server(), hello).await;
    let client = collected.client().layer(http2_client());
    let mut asked = request(format!("http://{addr}/"));
    *asked.method_mut() = "BREW".parse().unwrap();
    client
        .oneshot(asked)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    expect![[r#"
        client "HTTP"
          http.request.method=_OTHER
          http.request.method_original=BREW
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=2
          server.address=127.0.0.1
          server.port=PORT
          url.full=http://127.0.0.1:PORT/
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn the_default_port_is_told_though_the_url_does_not() {
    let collected = Collected::new();
    let nobody = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for (url, port) in [("https://books.example/a", "443"), ("http://[::1]/a", "80")] {
        collected
            .client()
            .layer(nobody)
            .oneshot(request(url))
            .await
            .unwrap();
        assert_eq!(attribute(&collected, "server.port").unwrap(), port);
    }
    assert_eq!(attribute(&collected, "server.address").unwrap(), "::1");
    assert_eq!(attribute(&collected, "url.full").unwrap(), "http://[::1]/a");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let collected = Collected::new();
    let addr = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let client = collected.client().layer(http_client());
    client
        .oneshot(request(format!("http://{addr}/")))
        .await
        .unwrap_err();
    expect![[r#"
        client "GET" ERROR
          error.type=connection_refused
          http.request.method=GET
          server.address=127.0.0.1
          server.port=PORT
          url.full=http://127.0.0.1:PORT/
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_told() {
    let collected = Collected::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        super::serving::read_until(&mut stream, "\r\n\r\n").await;
    });
    let client = collected.client().layer(http_client());
    client
        .oneshot(request(format!("http://{addr}/")))
        .await
        .unwrap_err();
    collected.wait(1).await;
    assert_eq!(
        attribute(&collected, "error.type").unwrap(),
        "connection_closed"
    );
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_told() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let (bodies, mut senders) = mpsc::unbounded_channel();
    let addr = serve(silent.server(), move |_| {
        let (sender, body) = Channel::open();
        bodies.send(sender).unwrap();
        async { Ok(Response::new(body)) }
    })
    .await;
    let client = collected.client().layer(http_client());
    let asked = tokio::spawn(client.oneshot(request(format!("http://{addr}/"))));
    let sender = senders.recv().await.unwrap();
    sender.send(data("one")).await.unwrap();
    let response = asked.await.unwrap().unwrap();
    let broken = Err(std::io::Error::other("broken"));
    sender.send(broken).await.unwrap();
    response.collect().await.unwrap_err();
    expect![[r#"
        client "GET" ERROR
          error.type=connection_closed
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=127.0.0.1
          server.port=PORT
          url.full=http://127.0.0.1:PORT/
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn whoever_gives_up_waiting_is_told() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let entered = Arc::new(Notify::new());
    let notify = entered.clone();
    let addr = serve(silent.server(), move |_| {
        notify.notify_one();
        future::pending::<Answer>()
    })
    .await;
    let client = collected.client().layer(http_client());
    tokio::select! {
        _ = client.oneshot(request(format!("http://{addr}/"))) => unreachable!(),
        () = entered.notified() => {}
    }
    let tree = collected.trees(1).await;
    assert!(
        tree.starts_with("client \"GET\" ERROR\n  error.type=aborted\n"),
        "{tree}"
    );
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_no_error_and_one_given_up_is() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let addr = serve(silent.server(), async |_| {
        let (sender, body) = Channel::open();
        sender.send(data("one")).await.unwrap();
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(body))
    })
    .await;
    let client = collected.client().layer(http_client());
    let response = client
        .clone()
        .oneshot(request(format!("http://{addr}/")))
        .await
        .unwrap();
    drop(response);
    assert_eq!(attribute(&collected, "error.type"), None);
    let mut response = client
        .oneshot(request(format!("http://{addr}/")))
        .await
        .unwrap();
    response.frame().await.unwrap().unwrap();
    drop(response);
    assert_eq!(attribute(&collected, "error.type").unwrap(), "aborted");
}

#[tokio::test]
async fn an_error_in_a_box_is_looked_into() {
    async fn check(error: BoxError, told: &str) {
        let collected = Collected::new();
        let mut error = Some(error);
        let failing = service_fn(move |_: Request<()>| {
            future::ready(Err::<Response<String>, _>(error.take().unwrap()))
        });
        let client = collected.client().layer(failing);
        let asked = Request::get("http://a/").body(()).unwrap();
        client.oneshot(asked).await.unwrap_err();
        assert_eq!(attribute(&collected, "error.type").unwrap(), told);
    }
    let reset = std::io::ErrorKind::ConnectionReset;
    check(std::io::Error::from(reset).into(), "connection_reset").await;
    check(
        std::io::Error::other(std::io::Error::from(reset)).into(),
        "connection_reset",
    )
    .await;
    let late = tokio::time::timeout(Duration::ZERO, future::pending::<()>()).await;
    check(late.unwrap_err().into(), "timeout").await;
    check("17 bottles".into(), "_OTHER").await;
}

#[tokio::test]
async fn an_error_of_an_unknown_type_is_told_by_it() {
    #[derive(Debug)]
    struct Full;

    let collected = Collected::new();
    let failing = service_fn(async |_: Request<()>| Err::<Response<String>, _>(Full));
    let asked = Request::get("http://a/").body(()).unwrap();
    collected
        .client()
        .layer(failing)
        .oneshot(asked)
        .await
        .unwrap_err();
    let told = attribute(&collected, "error.type").unwrap();
    assert!(told.ends_with("::Full"), "{told}");
}

#[tokio::test]
async fn stale_trace_headers_are_replaced() {
    let collected = Collected::new();
    let headers = Arc::new(std::sync::Mutex::new(::http::HeaderMap::new()));
    let seen = headers.clone();
    let inner = service_fn(move |request: Request<()>| {
        *seen.lock().unwrap() = request.into_parts().0.headers;
        async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) }
    });
    let propagator = opentelemetry::propagation::TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]);
    let client = ClientLayer::new(collected.tracer())
        .propagator(propagator)
        .layer(inner);
    let stale = Request::get("http://a/")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header(
            "traceparent",
            "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header("tracestate", "a=b")
        .header("baggage", "user=someone")
        .header("x-other", "kept")
        .body(())
        .unwrap();
    client.oneshot(stale).await.unwrap();
    let span = collected.now().remove(0).span_context;
    let headers = headers.lock().unwrap().clone();
    let mut names: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    names.sort();
    let traceparent = format!("traceparent: 00-{}-{}-01", span.trace_id(), span.span_id());
    assert_eq!(names, [&traceparent, "x-other: kept"].map(str::to_owned));
}
