use tokio::io::AsyncReadExt;

use super::*;

/// What a reader sees of these bytes, which come in pieces of this size, and the rest of each of `requests`.
async fn shown(sent: &[u8], pieces: usize, requests: usize) -> (Vec<u8>, Vec<Option<Rest>>) {
    let (mut client, server) = tokio::io::duplex(pieces);
    let handover = Handover::default();
    let mut stream = Shortened::new(server, Room::new(), handover.clone());
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut client, sent)
            .await
            .unwrap();
        drop(client);
    };
    let mut seen = Vec::new();
    let (_, read) = tokio::join!(send, stream.read_to_end(&mut seen));
    read.unwrap();
    let rests = (0..requests).map(|_| handover.next()).collect();
    (seen, rests)
}

fn get(address: &str) -> String {
    format!("GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// An address of so many bytes, whose query is digits.
fn long(bytes: usize) -> String {
    let digits = (0..bytes).map(|at| char::from(b'0' + (at % 10) as u8));
    let address: String = "/api/search?q=".chars().chain(digits).collect();
    address[..bytes].to_owned()
}

#[tokio::test]
async fn of_a_long_address_the_beginning_is_shown_and_the_rest_handed_over() {
    for pieces in [1 << 20, 10_007, 7] {
        for bytes in [
            SHOWN - 4,
            SHOWN - 3,
            SHOWN + 5000,
            SHOWN - 4 + MAX_REST,
            SHOWN - 4 + MAX_REST + 1,
        ] {
            let address = long(bytes);
            let sent = get("/first") + &get(&address) + &get("/last");
            let (seen, rests) = shown(sent.as_bytes(), pieces, 3).await;
            let (begin, rest) = address.split_at(bytes.min(SHOWN - 4));
            let expected = get("/first") + &get(begin) + &get("/last");
            assert!(seen == expected.as_bytes(), "{pieces} {bytes}");
            assert!(rests[0].is_none() && rests[2].is_none());
            let told = rests[1].as_ref();
            let told = told.map(|rest| (rest.bytes(), rest.is_whole()));
            let kept = &rest.as_bytes()[..rest.len().min(MAX_REST)];
            // A line that ends where the rest would begin is known to be long as well.
            let is_long = bytes >= SHOWN - 4;
            let expected = is_long.then_some((kept, kept.len() == rest.len()));
            assert!(told == expected, "{pieces} {bytes}");
        }
    }
}

#[tokio::test]
async fn requests_that_are_behind_each_other_have_each_their_own_rest() {
    let [one, two] = [SHOWN, SHOWN + 3].map(long);
    // As Chromium asks for a page.
    let page = "GET / HTTP/1.1\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";
    let sent = get(&one) + page + &get(&two);
    let (_, rests) = shown(sent.as_bytes(), 1 << 20, 3).await;
    let rests = rests.iter().map(|rest| rest.as_ref().map(Rest::bytes));
    let expected = [
        Some(&one.as_bytes()[SHOWN - 4..]),
        None,
        Some(&two.as_bytes()[SHOWN - 4..]),
    ];
    assert_eq!(rests.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_is_no_long_query_is_shown_as_it_is() {
    let long = long(SHOWN * 2);
    let body = "x".repeat(20);
    for sent in [
        // Nobody asks so.
        format!("POST {long} HTTP/1.1\r\n\r\n"),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(SHOWN * 2)),
        "x".repeat(SHOWN * 2),
        format!("GET / HTTP/1.1 {}?\r\n\r\n", "x".repeat(SHOWN * 2)),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", get(&long)),
        // What is in a body, or behind it, may look like anything.
        format!("POST / HTTP/1.1\r\n\r\n{}", get(&long)),
        format!("GET / HTTP/1.1\r\nContent-LENGTH: 20\r\n\r\n{}", get(&long)),
        format!(
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{}",
            get(&long)
        ),
        format!("GET / HTTP/1.1\nUpgrade: h2c\n\n{}", get(&long)),
        format!(
            "GET / HTTP/1.1\r\nContent-Length: 20\r\n\r\n{body}{}",
            get(&long)
        ),
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", long),
    ] {
        for pieces in [1 << 20, 1009] {
            let (seen, rests) = shown(sent.as_bytes(), pieces, 2).await;
            assert!(seen == sent.as_bytes(), "{}", &sent[..50]);
            assert!(rests.iter().all(Option::is_none), "{}", &sent[..50]);
        }
    }
}

#[tokio::test]
async fn where_lines_end_is_told_as_leniently_as_by_hyper() {
    let long = long(SHOWN + 10);
    let begin = &long[..SHOWN - 4];
    let sent = format!("\r\n\nGET {long} HTTP/1.1\nHost: x\n\n\nGET {long} HTTP/1.1\r\n\r\n");
    let expected = format!("\r\n\nGET {begin} HTTP/1.1\nHost: x\n\n\nGET {begin} HTTP/1.1\r\n\r\n");
    let (seen, rests) = shown(sent.as_bytes(), 1 << 20, 2).await;
    assert!(seen == expected.as_bytes());
    assert!(rests.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_port_has_room_for_some_rests_and_more_wait() {
    let room = Room(Arc::new(Semaphore::new(1)));
    let open = || {
        let (client, server) = tokio::io::duplex(1 << 20);
        let handover = Handover::default();
        let stream = Shortened::new(server, room.clone(), handover.clone());
        (client, stream, handover)
    };
    let sent = get(&long(SHOWN * 2));
    let begin = SHOWN;
    let mut all = vec![0; begin + 100];
    let (mut client, mut stream, handover) = open();
    tokio::io::AsyncWriteExt::write_all(&mut client, sent.as_bytes())
        .await
        .unwrap();
    stream.read_exact(&mut all[..begin + 1]).await.unwrap();
    let first = handover.next();
    assert!(first.is_some());

    let (mut client, mut stream, handover) = open();
    tokio::io::AsyncWriteExt::write_all(&mut client, sent.as_bytes())
        .await
        .unwrap();
    stream.read_exact(&mut all[..begin]).await.unwrap();
    {
        let mut more = std::pin::pin!(stream.read_exact(&mut all[..1]));
        let waiting =
            std::future::poll_fn(|context| Poll::Ready(more.as_mut().poll(context).is_pending()));
        assert!(waiting.await);
        drop(first);
        more.await.unwrap();
    }
    assert!(handover.next().is_some());
}
