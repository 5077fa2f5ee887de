//! Where requests go and what each carries: the endpoint and the headers, checked.

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::USER_AGENT,
    uri::{PathAndQuery, Scheme},
};

use crate::{Config, Protocol, config::without_user, config_error::Mistakes, signal::Signal};

/// Names the exporter, its language and its version, as "User Agent" of OTLP's exporters asks.
const OUR_AGENT: &str = concat!("otlp-pipeline/", env!("CARGO_PKG_VERSION"), " (Rust)");

/// Set by the protocols, or not ours to set: what a caller wrote there would break requests.
const RESERVED: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The URL that is posted to.
pub(super) fn uri(config: &Config, mistakes: &mut Mistakes) -> Option<Uri> {
    let endpoint = &config.endpoint;
    let parsed = parse(endpoint).and_then(|uri| match config.protocol {
        Protocol::HttpProtobuf if !has_path(endpoint) => Err(no_path(config.signal)),
        Protocol::Grpc | Protocol::HttpProtobuf => Ok(uri),
    });
    match parsed {
        Ok(uri) if config.protocol == Protocol::Grpc => {
            let mut parts = uri.into_parts();
            parts.path_and_query = Some(PathAndQuery::from_static(config.signal.method()));
            Some(Uri::from_parts(parts).expect("a scheme and an authority were there"))
        }
        Ok(uri) => Some(uri),
        Err(problem) => {
            let shown = without_user(endpoint);
            mistakes.add("endpoint", format!("`{}` {problem}", shown.escape_debug()));
            None
        }
    }
}

fn no_path(signal: Signal) -> String {
    let path = signal.path();
    format!("has no path to post to: that of a collector is {path}")
}

/// Whether a URL says where to post to, be it `/`, which `Uri` adds where there is none.
fn has_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find(['/', '?', '#'])
        .is_some_and(|end| rest[end..].starts_with('/'))
}

fn parse(endpoint: &str) -> Result<Uri, String> {
    if endpoint.is_empty() {
        return Err("is empty".to_owned());
    }
    let uri: Uri = endpoint
        .parse()
        .map_err(|error| format!("is not a URL: {error}"))?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {}
        Some(scheme) => {
            return Err(format!(
                "has the scheme `{scheme}`: only http and https are spoken"
            ));
        }
        None => {
            let why = "does not begin with http:// or https://";
            return Err(why.to_owned());
        }
    }
    let Some(authority) = uri.authority() else {
        return Err("names no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("carries a user: send credentials in a header".to_owned());
    }
    if authority.host().is_empty() {
        return Err("names no host".to_owned());
    }
    let port = &authority.as_str()[authority.host().len()..];
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not 1 to 65535".to_owned());
    }
    Ok(uri)
}

/// The headers of the configuration and the user agent.
pub(super) fn headers(config: &Config, mistakes: &mut Mistakes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut agents = String::new();
    for (name, value) in &config.headers {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            let shown = name.escape_debug();
            mistakes.add("headers", format!("`{shown}` is not a name for a header"));
            continue;
        };
        if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("grpc-") {
            mistakes.add("headers", format!("`{header}` is set by the protocol"));
            continue;
        }
        // The value is not shown: it may be a key.
        let Some(mut checked) = text(value) else {
            let problem = "has a value with a character that is not printable ASCII";
            mistakes.add("headers", format!("`{header}` {problem}"));
            continue;
        };
        if header == USER_AGENT {
            agents.push_str(value);
            agents.push(' ');
            continue;
        }
        checked.set_sensitive(true);
        headers.append(header, checked);
    }
    agents.push_str(OUR_AGENT);
    let agent = text(&agents).expect("made of such values");
    headers.insert(USER_AGENT, agent);
    headers
}

/// `HeaderValue` takes all of UTF-8, which neither gRPC's metadata nor what reads HTTP's headers does.
fn text(value: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(value).ok()?;
    value.to_str().is_ok().then_some(value)
}
