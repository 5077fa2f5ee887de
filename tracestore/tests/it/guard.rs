//! Who may ask: names of this server, and no pages of strangers. Over raw sockets, because clients
//! would mend what is sent.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{Server, start};

/// The status of the answer to a request of these lines.
async fn status(address: SocketAddr, request: &[&str]) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{}\r\nconnection: close\r\n\r\n", request.join("\r\n"));
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{answer:?}"));
    status.parse().unwrap()
}

/// The ports that speak HTTP/1, with a request that each answers and the status of that.
fn ports(server: &Server) -> [(SocketAddr, &'static str, u16); 5] {
    [
        (server.http, "GET / HTTP/1.1", 200),
        (server.http, "GET /api/search HTTP/1.1", 200),
        (server.http, "GET /metrics HTTP/1.1", 200),
        (server.otlp_http, "POST /v1/traces HTTP/1.1", 415),
        (server.jaeger, "POST /api/traces HTTP/1.1", 400),
    ]
}

#[tokio::test]
async fn only_names_of_this_server_are_answered_on_every_port() {
    let server = start().await;
    for (address, request, fine) in ports(&server) {
        for (host, expected) in [
            ("localhost", fine),
            ("LOCALHOST:1", fine),
            ("a.localhost", fine),
            ("127.0.0.1", fine),
            ("[::1]:3200", fine),
            ("tracestore", fine),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.nip.io", 421),
            ("tracestore.evil.example", 421),
            ("", 400),
            ("a b", 400),
            ("user@localhost", 400),
        ] {
            let answered = status(address, &[request, &format!("host: {host}")]).await;
            assert_eq!(answered, expected, "{request} of {host:?}");
        }
        assert_eq!(status(address, &[request]).await, 400, "{request}");
        let twice = [request, "host: localhost", "host: localhost"];
        assert_eq!(status(address, &twice).await, 400, "{request}");
        // The target goes before the header, as RFC 9112 has it.
        let absolute = request.replace(" /", " http://evil.example/");
        let answered = status(address, &[&absolute, "host: localhost"]).await;
        assert_eq!(answered, 421, "{absolute}");
    }
}

const NAVIGATE: &str = "sec-fetch-mode: navigate";
const DOCUMENT: &str = "sec-fetch-dest: document";

#[tokio::test]
async fn pages_from_elsewhere_may_link_to_this_server_and_nothing_else() {
    let server = start().await;
    for (address, request, fine) in ports(&server) {
        // A page is sent to only by itself, so the navigation that is fine elsewhere is not here.
        let link = if request.starts_with("GET") {
            fine
        } else {
            403
        };
        for (headers, expected) in [
            (&[][..], fine),
            (&["sec-fetch-site: same-origin"], fine),
            (&["sec-fetch-site: none", NAVIGATE, DOCUMENT], fine),
            (&["origin: http://localhost"], fine),
            (&["sec-fetch-site: cross-site", NAVIGATE, DOCUMENT], link),
            (&["sec-fetch-site: same-site", NAVIGATE, DOCUMENT], link),
            (&["sec-fetch-site: cross-site"], 403),
            (&["sec-fetch-site: same-site"], 403),
            (&["sec-fetch-site: Same-Origin"], 403),
            (&["sec-fetch-site: "], 403),
            (
                &["sec-fetch-site: same-origin", "sec-fetch-site: cross-site"],
                403,
            ),
            (&["sec-fetch-site: cross-site", NAVIGATE], 403),
            (&["sec-fetch-site: cross-site", DOCUMENT], 403),
            (
                &[
                    "sec-fetch-site: cross-site",
                    NAVIGATE,
                    "sec-fetch-dest: iframe",
                ],
                403,
            ),
            (
                &[
                    "sec-fetch-site: cross-site",
                    "sec-fetch-mode: no-cors",
                    "sec-fetch-dest: image",
                ],
                403,
            ),
            (
                &[
                    "sec-fetch-site: cross-site",
                    NAVIGATE,
                    DOCUMENT,
                    "sec-fetch-dest: iframe",
                ],
                403,
            ),
            (&["origin: http://localhost:5173"], 403),
            (&["origin: http://evil.example"], 403),
            (&["origin: null"], 403),
            (
                &[
                    "origin: null",
                    "sec-fetch-site: cross-site",
                    NAVIGATE,
                    DOCUMENT,
                ],
                403,
            ),
            (
                &["origin: http://localhost", "origin: http://evil.example"],
                403,
            ),
        ] {
            let answered =
                status(address, &[&[request, "host: localhost"], headers].concat()).await;
            assert_eq!(answered, expected, "{request} {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_form_of_another_page_is_refused_although_it_navigates() {
    let server = start().await;
    for address in [server.http, server.otlp_http, server.jaeger] {
        let form = [
            "POST / HTTP/1.1",
            "host: localhost",
            "sec-fetch-site: cross-site",
            NAVIGATE,
            DOCUMENT,
        ];
        assert_eq!(status(address, &form).await, 403);
    }
}
