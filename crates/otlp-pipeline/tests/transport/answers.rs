//! What a collector says, and what it is sent (reliability f6 to f8).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use faults::{Answer, Collector, Export, Failure};
use http::HeaderMap;

use crate::{
    ACCEPTED, Compression, PROTOCOLS, Protocol, config, deliver, request,
    transport::{Event, Outcome, Transport},
};

fn answering(answers: impl IntoIterator<Item = Answer>) -> Collector {
    let answers: Vec<_> = answers.into_iter().collect();
    let mut answers = answers.into_iter();
    Collector::start(move |_| answers.next().expect("no further request"))
}

/// Speaks HTTP/1 just well enough to say what it is told, to one request, and to break off then.
fn saying(answer: impl Into<Vec<u8>>, hears_out: bool) -> SocketAddr {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        if hears_out {
            reader.read_exact(&mut vec![0; length]).unwrap();
        }
        // Whoever does not read it to its end has closed before.
        let _ = (&stream).write_all(&answer);
    });
    address
}

/// The outcome of a single attempt over HTTP, whatever it is.
async fn told(answer: impl Into<Vec<u8>>) -> Outcome {
    let mut config = config(Protocol::HttpProtobuf, saying(answer, true));
    config.retry.give_up_after = Duration::ZERO;
    let mut transport = Transport::new(&config).unwrap();
    deliver(&mut transport, 0..1).await.0
}

#[tokio::test]
async fn a_collector_that_asks_for_patience_gets_it() {
    for protocol in PROTOCOLS {
        // HTTP counts in seconds.
        let pause = match protocol {
            Protocol::Grpc => Duration::from_millis(300),
            Protocol::HttpProtobuf => Duration::from_secs(1),
        };
        let throttled = Answer::Fail(Failure::throttled(Some(pause)));
        let collector = answering([throttled, Answer::Accept]);
        let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
        let mut events = Vec::new();
        let outcome = transport
            .deliver(request(0..1), &mut |event| events.push(event))
            .await;
        assert_eq!(outcome, ACCEPTED);
        let [Event::Failed { cause, again_in }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(*again_in, pause);
        assert!(cause.ends_with(": too much"), "{cause}");
        let [first, second] = &collector.exports()[..] else {
            panic!("two requests were answered");
        };
        assert!(second.at - first.at >= pause);
    }
}

#[tokio::test]
async fn patience_that_was_asked_of_one_request_is_had_by_the_next() {
    for protocol in PROTOCOLS {
        let pause = Duration::from_secs(1);
        let throttled = Answer::Fail(Failure::throttled(Some(pause)));
        let collector = answering([throttled, Answer::Accept]);
        let mut config = config(protocol, collector.address());
        config.retry.give_up_after = pause / 2;
        let mut transport = Transport::new(&config).unwrap();
        let mut id = 0;
        loop {
            let (outcome, causes) = deliver(&mut transport, id..id + 1).await;
            assert_eq!(causes, [""; 0]);
            if outcome == ACCEPTED {
                break;
            }
            let Outcome::GaveUp { cause } = outcome else {
                panic!("{outcome:?}");
            };
            let expected = match id {
                0 => "too much (gave up after 1 attempt in ",
                _ => "the collector asked to be left alone for another ",
            };
            assert!(cause.contains(expected), "{cause}");
            id += 1;
            tokio::task::yield_now().await;
        }
        let [first, second] = &collector.exports()[..] else {
            panic!("two requests were answered");
        };
        assert!(second.at - first.at >= pause);
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_is_sent_once() {
    for protocol in PROTOCOLS {
        let collector = answering([Answer::Fail(Failure::invalid())]);
        let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
        let status = match protocol {
            Protocol::Grpc => "INVALID_ARGUMENT",
            Protocol::HttpProtobuf => "400 Bad Request",
        };
        let cause = format!(
            "{} answered {status}: this is not for me",
            collector.address()
        );
        let refused = Outcome::Refused { cause };
        assert_eq!(deliver(&mut transport, 0..1).await, (refused, vec![]));
    }
}

#[tokio::test]
async fn a_partial_success_is_not_repeated() {
    for protocol in PROTOCOLS {
        let partial = |rejected, message: &str| Answer::Partial(rejected, message.to_owned());
        let collector = answering([
            partial(2, "two are\ntoo old"),
            partial(0, "a warning"),
            partial(-1, ""),
        ]);
        let mut transport = Transport::new(&config(protocol, collector.address())).unwrap();
        for (rejected, message) in [(2, r"two are\ntoo old"), (0, "a warning"), (0, "")] {
            let message = message.to_owned();
            let accepted = Outcome::Accepted { rejected, message };
            assert_eq!(deliver(&mut transport, 0..3).await, (accepted, vec![]));
        }
    }
}

#[tokio::test]
async fn requests_carry_what_the_protocols_ask_for() {
    for protocol in PROTOCOLS {
        let collector = answering([Answer::Accept]);
        let mut config = config(protocol, collector.address());
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        config.headers = vec![
            header("Api-Key", "a b"),
            header("x-twice", "1"),
            header("x-twice", "2"),
            header("User-Agent", "shop/1.2"),
        ];
        let mut transport = Transport::new(&config).unwrap();
        assert_eq!(deliver(&mut transport, 0..1).await, (ACCEPTED, vec![]));
        let Export { headers, path, .. } = collector.exports().remove(0);
        let all = |headers: &HeaderMap, name: &str| -> Vec<String> {
            let found = headers.get_all(name).into_iter();
            found
                .map(|value| value.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(all(&headers, "api-key"), ["a b"]);
        assert_eq!(all(&headers, "x-twice"), ["1", "2"]);
        let agent = concat!(
            "shop/1.2 otlp-pipeline/",
            env!("CARGO_PKG_VERSION"),
            " (Rust)"
        );
        assert_eq!(all(&headers, "user-agent"), [agent]);
        match protocol {
            Protocol::Grpc => {
                let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                assert_eq!(path, method);
                assert_eq!(all(&headers, "content-type"), ["application/grpc"]);
                assert_eq!(all(&headers, "te"), ["trailers"]);
                assert_eq!(all(&headers, "grpc-timeout"), ["60000000u"]);
            }
            Protocol::HttpProtobuf => {
                assert_eq!(path, "/v1/traces");
                assert_eq!(all(&headers, "content-type"), ["application/x-protobuf"]);
                let host = collector.address().to_string();
                assert_eq!(all(&headers, "host"), [host]);
            }
        }
    }
}

#[tokio::test]
async fn requests_are_compressed_on_demand() {
    for protocol in PROTOCOLS {
        for compression in [Compression::None, Compression::Gzip] {
            // The second attempt, too.
            let unavailable = Answer::Fail(Failure::unavailable());
            let collector = answering([unavailable, Answer::Accept]);
            let mut config = config(protocol, collector.address());
            config.compression = compression;
            let mut transport = Transport::new(&config).unwrap();
            assert_eq!(deliver(&mut transport, 0..500).await.0, ACCEPTED);
            for export in collector.exports() {
                assert_eq!(export.compressed, compression == Compression::Gzip);
                assert_eq!(export.test_ids().count(), 500);
            }
        }
    }
}

#[tokio::test]
async fn a_success_in_other_words_is_a_success() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"partialSuccess\":{}}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 3\r\n\r\n\x0a\x7fx",
        // As protobuf it would be a rejection.
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\n\n\x02\x08\x09",
    ];
    for answer in answers {
        assert_eq!(told(answer).await, ACCEPTED, "{answer}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_4_mib() {
    let large = |size: usize| {
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain";
        let mut answer = format!("{head}\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + size, b'x');
        answer
    };
    for (size, heard) in [(4 << 20, true), ((4 << 20) + 1, false), (64 << 20, false)] {
        let Outcome::Refused { cause } = told(large(size)).await else {
            panic!("it was refused");
        };
        assert_eq!(
            cause.ends_with(" answered 400 Bad Request"),
            !heard,
            "{cause}"
        );
        assert_eq!(
            cause.contains(" answered 400 Bad Request: xxx"),
            heard,
            "{cause}"
        );
    }
    let mut success = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    success.resize(5 << 20, b'x');
    assert_eq!(told(success).await, ACCEPTED);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n";
    let Outcome::Refused { cause } = told(answer).await else {
        panic!("it was refused");
    };
    let expected = "answered 307 Temporary Redirect: to http://elsewhere/, which is not followed";
    assert!(cause.ends_with(expected), "{cause}");
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_heard() {
    // A collector that does not want so much closes with most of it unread, so writing to it fails.
    let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\n\r\ntoo much";
    for _ in 0..20 {
        let address = saying(answer, false);
        let mut transport = Transport::new(&config(Protocol::HttpProtobuf, address)).unwrap();
        let mut told = |event| panic!("{event:?}");
        let outcome = transport.deliver(vec![0; 8 << 20].into(), &mut told).await;
        let Outcome::Refused { cause } = outcome else {
            panic!("{outcome:?}");
        };
        // Its words may be lost when the connection is.
        assert!(cause.contains(" answered 413 Payload Too Large"), "{cause}");
    }
}
