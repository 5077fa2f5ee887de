//! Settings that cannot be used are told before the first request.

use std::time::Duration;

use crate::{Config, Identity, Protocol, transport::Transport};

/// What is told of a configuration, or nothing if it can be used.
fn problems(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    let checked = Transport::new(&config).err();
    checked.map_or(String::new(), |error| error.to_string())
}

#[test]
fn the_default_can_be_used() {
    assert_eq!(problems(|_| {}), "");
}

#[test]
fn an_endpoint_is_a_url_with_a_host() {
    let endpoints = [
        ("http://localhost:4317", ""),
        ("https://[::1]", ""),
        ("http://otel_collector:4317/any/path?x=y", ""),
        ("HTTP://localhost", ""),
        ("", "is empty"),
        ("localhost:4317", "does not begin with http:// or https://"),
        ("localhost", "does not begin with http:// or https://"),
        ("/v1/traces", "does not begin with http:// or https://"),
        (
            "grpc://localhost:4317",
            "has the scheme `grpc`: only http and https are spoken",
        ),
        ("unix:///run/otel", "is not a URL: invalid format"),
        ("http://", "is not a URL: empty string"),
        ("http://:4317", "names no host"),
        ("http://a b", "is not a URL: invalid uri character"),
        (
            "http://localhost:99999",
            "has a port that is not 1 to 65535",
        ),
        ("http://localhost:0", "has a port that is not 1 to 65535"),
        ("http://localhost:", "has a port that is not 1 to 65535"),
        (
            "http://localhost:4317\n",
            "is not a URL: invalid uri character",
        ),
    ];
    for (endpoint, problem) in endpoints {
        let told = match problem {
            "" => String::new(),
            problem => format!("endpoint: `{}` {problem}", endpoint.escape_debug()),
        };
        for protocol in super::PROTOCOLS {
            let found = problems(|config| {
                config.endpoint = endpoint.to_owned();
                config.protocol = protocol;
            });
            match protocol {
                // Of a good one the path is missing.
                Protocol::HttpProtobuf if problem.is_empty() && !endpoint.contains("/any") => {
                    assert!(found.contains(" has no path to post to"), "{found}");
                }
                _ => assert_eq!(found, told),
            }
        }
    }
}

#[test]
fn secrets_are_not_told() {
    let found = problems(|config| {
        config.endpoint = "http://me:secret@localhost:4317".to_owned();
        config.headers = vec![("api-key".to_owned(), "secret\n".to_owned())];
        config.tls.identity = Some(Identity {
            certificate: b"secret".to_vec(),
            key: b"secret".to_vec(),
        });
    });
    assert_eq!(
        found,
        "endpoint: `…@localhost:4317` carries a user: send credentials in a header; \
         headers: `api-key` has a value with a character that is not printable ASCII; \
         tls.identity.certificate: holds no certificate in PEM; \
         tls.identity.key: holds no private key in PEM"
    );
}

#[test]
fn a_configuration_is_shown_without_its_secrets() {
    let config = Config {
        endpoint: "http://me:hush@localhost:4317".to_owned(),
        headers: vec![("api-key".to_owned(), "hush".to_owned())],
        ..Config::default()
    };
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hush"), "{shown}");
        for told in ["@localhost:4317", "api-key", "Grpc", "max_memory: 10000000"] {
            assert!(shown.contains(told), "{shown}");
        }
    }
}

#[test]
fn http_needs_a_path_to_post_to() {
    let told = |endpoint: &str| {
        problems(|config| {
            config.endpoint = endpoint.to_owned();
            config.protocol = Protocol::HttpProtobuf;
        })
    };
    for endpoint in [
        Config::default().endpoint.as_str(),
        "https://[::1]:4318",
        "http://localhost:4318?x=/v1/traces",
    ] {
        let problem = "has no path to post to: that of a collector is /v1/traces";
        assert_eq!(told(endpoint), format!("endpoint: `{endpoint}` {problem}"));
    }
    for endpoint in ["http://localhost:4318/v1/traces", "http://localhost/"] {
        assert_eq!(told(endpoint), "");
    }
}

#[test]
fn values_of_headers_are_kept_out_of_tables_and_logs() {
    let config = Config {
        headers: vec![("api-key".to_owned(), "secret".to_owned())],
        ..Config::default()
    };
    let transport = Transport::new(&config).unwrap();
    assert!(transport.headers["api-key"].is_sensitive());
    let shown = format!("{transport:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn values_of_headers_are_printable_ascii() {
    let values = [
        ("caf\u{e9} \u{1f980}", false),
        ("\u{80}", false),
        ("\u{7f}", false),
        ("a\r\nb", false),
        ("\0", false),
        ("a\t~ b", true),
        ("", true),
    ];
    for name in ["user-agent", "api-key"] {
        for (value, fits) in values {
            let found = problems(|config| {
                config.headers = vec![(name.to_owned(), value.to_owned())];
            });
            let told = format!(
                "headers: `{name}` has a value with a character that is not printable ASCII"
            );
            assert_eq!(found, if fits { "" } else { &told }, "{value:?}");
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = problems(|config| {
        config.endpoint = "collector".to_owned();
        config.headers = vec![
            ("a b".to_owned(), String::new()),
            ("Content-Type".to_owned(), "text/plain".to_owned()),
            ("grpc-timeout".to_owned(), "1S".to_owned()),
        ];
        config.tls.certificate = Some(b"-----BEGIN CERTIFICATE-----\n!\n".to_vec());
        config.timeout = Duration::ZERO;
        config.retry.initial = Duration::ZERO;
        config.retry.max = Duration::ZERO;
    });
    assert_eq!(
        found,
        "endpoint: `collector` does not begin with http:// or https://; \
         headers: `a b` is not a name for a header; \
         headers: `content-type` is set by the protocol; \
         headers: `grpc-timeout` is set by the protocol; \
         tls.certificate: is not PEM: the end of a section is missing; \
         timeout: `0ns` must be longer; \
         retry.initial: `0ns` must be longer; \
         retry.max: `0ns` must be longer"
    );
}

#[test]
fn times_have_no_upper_bound() {
    let found = problems(|config| {
        config.timeout = Duration::MAX;
        config.retry.initial = Duration::MAX;
        config.retry.max = Duration::MAX;
        config.retry.give_up_after = Duration::MAX;
    });
    assert_eq!(found, "");
}
