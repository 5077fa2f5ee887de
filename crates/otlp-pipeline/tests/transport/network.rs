//! What a network does to requests (reliability f1 to f4, f9, f11).

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use faults::{Answer, Collector, Fault, Proxy};
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::{
    ACCEPTED, Config, PROTOCOLS, Protocol, config, deliver, request,
    transport::{Event, Outcome, Transport},
};

/// Delivers through a fault that is mended after the first failure, and returns the causes of all failures.
async fn mended(transport: &mut Transport, proxy: &Proxy) -> Vec<String> {
    let mut causes = Vec::new();
    let mut told = |Event::Failed { cause, .. }| {
        proxy.set(Fault::None);
        causes.push(cause);
    };
    let outcome = transport.deliver(request(0..3), &mut told).await;
    assert_eq!(outcome, ACCEPTED);
    causes
}

/// A short time for each attempt, which decides nothing: an attempt that it ends is repeated.
fn impatient(protocol: Protocol, address: SocketAddr) -> Config {
    Config {
        timeout: Duration::from_millis(200),
        ..config(protocol, address)
    }
}

fn once(ids: std::ops::Range<i64>) -> HashMap<i64, u32> {
    ids.map(|id| (id, 1)).collect()
}

#[tokio::test]
async fn closed_port_costs_nothing_but_time() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Refuse);
        let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
        let causes = mended(&mut transport, &proxy).await;
        let expected = format!("cannot connect to {}: ", proxy.address());
        assert!(causes[0].starts_with(&expected), "{causes:?}");
        assert!(causes[0].contains("Connection refused"), "{causes:?}");
        assert_eq!(collector.taken(), once(0..3));
    }
}

#[tokio::test]
async fn a_collector_that_stays_away_is_given_up() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Refuse);
        let mut config = config(protocol, proxy.address());
        config.retry.give_up_after = Duration::from_millis(30);
        let mut transport = Transport::new(&config).unwrap();
        let (outcome, causes) = deliver(&mut transport, 0..1).await;
        let Outcome::GaveUp { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(cause.contains("Connection refused"), "{cause}");
        let attempts = format!("(gave up after {} attempt", causes.len() + 1);
        assert!(cause.contains(&attempts), "{cause}");
        // It is not forgotten for all that.
        proxy.set(Fault::None);
        assert_eq!(mended(&mut transport, &proxy).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_connection_that_went_silent_is_not_used_again() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::None);
        let mut transport = Transport::new(&impatient(protocol, proxy.address())).unwrap();
        assert_eq!(deliver(&mut transport, 3..4).await.0, ACCEPTED);
        let before = proxy.accepted();
        proxy.set(Fault::Blackhole);
        let causes = mended(&mut transport, &proxy).await;
        let expected = format!("no answer from {} within 200ms", proxy.address());
        assert_eq!(causes[0], expected);
        assert!(proxy.accepted() > before);
        // The first may have come through at last, so twice is right.
        let taken = collector.taken();
        assert!((0..3).all(|id| taken.contains_key(&id)), "{taken:?}");
    }
}

#[tokio::test]
async fn an_answer_after_its_time_is_not_waited_for() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Delay(Duration::from_secs(40)));
        let mut transport = Transport::new(&impatient(protocol, proxy.address())).unwrap();
        let causes = mended(&mut transport, &proxy).await;
        assert!(causes[0].ends_with("within 200ms"), "{causes:?}");
        assert_eq!(collector.taken().len(), 3);
    }
}

#[tokio::test]
async fn a_flapping_port_loses_nothing() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Flap(Duration::from_millis(20)));
        let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
        let mut failures = 0;
        let mut id = 0;
        // Until it has been met by both sides of the flapping.
        while id < 50 || failures == 0 {
            let (outcome, causes) = deliver(&mut transport, id..id + 1).await;
            assert_eq!(outcome, ACCEPTED);
            failures += causes.len();
            id += 1;
        }
        assert_eq!(collector.taken().len(), usize::try_from(id).unwrap());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    for protocol in PROTOCOLS {
        for bytes in [0, 1, 17, 60] {
            let collector = Collector::start(|_| Answer::Accept);
            let proxy = Proxy::start(collector.address(), Fault::CutAfter(bytes));
            let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
            let causes = mended(&mut transport, &proxy).await;
            assert!(!causes.is_empty(), "{protocol:?} {bytes}");
            assert!(
                causes[0].contains(&proxy.address().to_string()),
                "{causes:?}"
            );
            assert_eq!(collector.taken().len(), 3);
        }
    }
}

#[tokio::test]
async fn spans_whose_answer_broke_off_are_sent_twice_rather_than_never() {
    for protocol in PROTOCOLS {
        let mut answers = [Answer::BreakOff, Answer::Accept].into_iter();
        let collector = Collector::start(move |_| answers.next().unwrap());
        let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
        let (outcome, causes) = deliver(&mut transport, 0..1).await;
        assert_eq!((outcome, causes.len()), (ACCEPTED, 1));
        let peer = collector.address().to_string();
        assert!(causes[0].contains(&peer), "{causes:?}");
        assert_eq!(collector.taken(), HashMap::from([(0, 2)]));
    }
}

/// The head of an answer, and never its end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up_with_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = impatient(Protocol::Grpc, listener.local_addr().unwrap());
    config.retry.give_up_after = Duration::ZERO;
    let most_on_one = Arc::new(AtomicUsize::new(0));
    let most = most_on_one.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (requests, most) = (AtomicUsize::new(0), most.clone());
            let service = service_fn(move |_| {
                most.fetch_max(1 + requests.fetch_add(1, Relaxed), Relaxed);
                std::future::ready(Ok::<_, Infallible>(http::Response::new(Endless)))
            });
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let mut transport = Transport::new(&config).unwrap();
    let mut cut_off = 0;
    while cut_off < 3 {
        let (outcome, _) = deliver(&mut transport, 0..1).await;
        let Outcome::GaveUp { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(cause.contains(" within 200ms"), "{cause}");
        cut_off += usize::from(cause.contains("was cut off: it was not complete"));
    }
    assert_eq!(most_on_one.load(Relaxed), 1);
}

#[tokio::test]
async fn a_reset_connection_is_made_anew() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Reset);
        let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
        assert!(!mended(&mut transport, &proxy).await.is_empty());
        assert_eq!(collector.taken(), once(0..3));
    }
}

#[tokio::test]
async fn a_slow_network_is_slow_and_no_more() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::Throttle(20_000));
        let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
        assert_eq!(deliver(&mut transport, 0..300).await, (ACCEPTED, vec![]));
        assert_eq!(collector.taken(), once(0..300));
    }
}

#[tokio::test]
async fn one_connection_serves_all_requests() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Accept);
        let proxy = Proxy::start(collector.address(), Fault::None);
        let mut transport = Transport::new(&config(protocol, proxy.address())).unwrap();
        for id in 0..20 {
            assert_eq!(
                deliver(&mut transport, id..id + 1).await,
                (ACCEPTED, vec![])
            );
        }
        assert_eq!(proxy.accepted(), 1);
        // Closed in between, as collectors do, it is made anew.
        proxy.set(Fault::Refuse);
        proxy.set(Fault::None);
        assert_eq!(deliver(&mut transport, 20..21).await.0, ACCEPTED);
        assert_eq!(proxy.accepted(), 2);
        assert_eq!(collector.taken(), once(0..21));
    }
}

#[tokio::test]
async fn a_name_that_is_not_known_is_asked_for_again() {
    let mut config = config(Protocol::Grpc, ([127, 0, 0, 1], 1).into());
    config.endpoint = "http://collector.invalid:4317".to_owned();
    config.retry.give_up_after = Duration::from_millis(20);
    let mut transport = Transport::new(&config).unwrap();
    let (outcome, _) = deliver(&mut transport, 0..1).await;
    let Outcome::GaveUp { cause } = outcome else {
        panic!("{outcome:?}");
    };
    let expected = "cannot connect to collector.invalid:4317: dns error: ";
    assert!(cause.starts_with(expected), "{cause}");
}

#[tokio::test]
async fn an_abandoned_request_does_not_harm_the_next() {
    for protocol in PROTOCOLS {
        let mut answers = [Answer::Silence, Answer::Accept].into_iter();
        let collector = Collector::start(move |_| answers.next().unwrap());
        let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
        let mut told = |event| panic!("{event:?}");
        let arrived = async {
            while collector.exports().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = transport.deliver(request(0..1), &mut told) => panic!("{outcome:?}"),
            () = arrived => {}
        }
        assert_eq!(deliver(&mut transport, 1..2).await, (ACCEPTED, vec![]));
    }
}
