//! TLS, and what is no TLS (reliability f10).

use std::{sync::Arc, time::Duration};

use faults::{Answer, Authority, Collector};
use rustls::ServerConfig;

use crate::{
    ACCEPTED, Config, Identity, PROTOCOLS, Protocol, Tls, config, deliver, endpoint,
    transport::{Outcome, Transport},
};

const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// The outcome of what a client with these settings sends, by that scheme, to that server.
async fn outcome(
    protocol: Protocol,
    scheme: &str,
    tls: Tls,
    server: Option<Arc<ServerConfig>>,
) -> Outcome {
    let collector = Collector::start_with(server, |_| Answer::Accept);
    let mut config = config(protocol, collector.address());
    config.endpoint = endpoint(scheme, protocol, collector.address());
    config.retry.give_up_after = Duration::ZERO;
    config.tls = tls;
    let mut transport = Transport::new(&config).unwrap();
    deliver(&mut transport, 0..1).await.0
}

async fn check_cause(
    protocol: Protocol,
    scheme: &str,
    tls: Tls,
    server: Option<Arc<ServerConfig>>,
    expected: &str,
) {
    match outcome(protocol, scheme, tls, server).await {
        Outcome::GaveUp { cause } => assert!(cause.contains(expected), "{cause}"),
        outcome => panic!("{expected}: {outcome:?}"),
    }
}

fn trusting(authority: &Authority) -> Tls {
    Tls {
        certificate: Some(authority.certificate().into_bytes()),
        identity: None,
    }
}

#[tokio::test]
async fn a_collector_of_a_trusted_authority_is_served() {
    let authority = Authority::new("ours");
    let server = authority.issue(&["127.0.0.1"]).server(&ALPN, None);
    for protocol in PROTOCOLS {
        let server = Some(server.clone());
        let found = outcome(protocol, "https", trusting(&authority), server).await;
        assert_eq!(found, ACCEPTED);
    }
}

#[tokio::test]
async fn one_of_several_authorities_is_enough() {
    let [one, other] = ["one", "other"].map(Authority::new);
    let server = other.issue(&["127.0.0.1"]).server(&ALPN, None);
    let both = one.certificate() + &other.certificate();
    for protocol in PROTOCOLS {
        let tls = Tls {
            certificate: Some(both.clone().into_bytes()),
            identity: None,
        };
        let found = outcome(protocol, "https", tls, Some(server.clone())).await;
        assert_eq!(found, ACCEPTED);
    }
}

#[tokio::test]
async fn a_collector_that_is_not_who_it_should_be_gets_nothing() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let cases = [
        (theirs.issue(&["127.0.0.1"]), "UnknownIssuer"),
        (ours.issue(&["localhost"]), "certificate not valid for name"),
        (ours.issue_expired(&["127.0.0.1"]), "certificate expired"),
    ];
    for (certified, cause) in cases {
        for protocol in PROTOCOLS {
            let server = Some(certified.server(&ALPN, None));
            check_cause(protocol, "https", trusting(&ours), server, cause).await;
        }
    }
}

#[tokio::test]
async fn the_systems_authorities_are_trusted_unless_others_are_named() {
    // They do not know ours, so its server is refused; that they were read shows in that it is tried.
    let server = Authority::new("ours")
        .issue(&["127.0.0.1"])
        .server(&ALPN, None);
    for protocol in PROTOCOLS {
        let server = Some(server.clone());
        check_cause(protocol, "https", Tls::default(), server, "UnknownIssuer").await;
    }
}

#[tokio::test]
async fn a_client_that_is_asked_shows_its_identity() {
    let authority = Authority::new("ours");
    let server = authority
        .issue(&["127.0.0.1"])
        .server(&ALPN, Some(&authority));
    for protocol in PROTOCOLS {
        let client = authority.issue(&["client"]);
        let tls = Tls {
            identity: Some(Identity {
                certificate: client.certificate.into_bytes(),
                key: client.key.into_bytes(),
            }),
            ..trusting(&authority)
        };
        let found = outcome(protocol, "https", tls, Some(server.clone())).await;
        assert_eq!(found, ACCEPTED);
        let tls = trusting(&authority);
        let expected = "received fatal alert: CertificateRequired";
        check_cause(protocol, "https", tls, Some(server.clone()), expected).await;
    }
}

#[tokio::test]
async fn tls_and_plain_text_are_told_apart() {
    let authority = Authority::new("ours");
    let server = authority.issue(&["127.0.0.1"]).server(&ALPN, None);
    for protocol in PROTOCOLS {
        let expected = "the server does not speak TLS: the endpoint should begin with http://";
        check_cause(protocol, "https", trusting(&authority), None, expected).await;
        let expected = "the server speaks TLS: the endpoint should begin with https://";
        check_cause(
            protocol,
            "http",
            Tls::default(),
            Some(server.clone()),
            expected,
        )
        .await;
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_as_such() {
    let authority = Authority::new("ours");
    let certified = authority.issue(&["127.0.0.1"]);
    let cases = [
        (
            Protocol::Grpc,
            &["http/1.1"][..],
            "the server does not offer this protocol over TLS (ALPN)",
        ),
        (
            Protocol::Grpc,
            &[],
            "the server does not offer HTTP/2 over TLS (ALPN `h2`), which gRPC needs",
        ),
        (
            Protocol::HttpProtobuf,
            &["h2"],
            "the server does not offer this protocol over TLS (ALPN)",
        ),
    ];
    for (protocol, alpn, expected) in cases {
        let server = Some(certified.server(alpn, None));
        check_cause(protocol, "https", trusting(&authority), server, expected).await;
    }
    // Without ALPN HTTP/1 is what is meant.
    let server = Some(certified.server(&[], None));
    let found = outcome(
        Protocol::HttpProtobuf,
        "https",
        trusting(&authority),
        server,
    )
    .await;
    assert_eq!(found, ACCEPTED);
}

#[test]
fn an_identity_is_a_certificate_with_its_own_key() {
    let authority = Authority::new("some authority");
    let [one, other] = [(); 2].map(|()| authority.issue(&["client"]));
    let told = |key: &str| {
        let mut config = Config {
            endpoint: "https://localhost".to_owned(),
            ..Config::default()
        };
        config.tls = trusting(&authority);
        config.tls.identity = Some(Identity::new(&*one.certificate, key));
        Transport::new(&config).err().map(|error| error.to_string())
    };
    let found = told(&other.key).unwrap();
    let expected = "tls.identity.key: cannot be used with its certificate: ";
    assert!(found.starts_with(expected), "{found}");
    assert_eq!(told(&one.key), None);
}
