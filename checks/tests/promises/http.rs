//! Requests as a browser or a script makes them. They dial an address and name the host in a header, since
//! not every machine resolves `*.localhost`.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"));
        value.to_str().unwrap()
    }

    /// The trace that the answer names in `traceresponse`, 32 digits.
    pub(crate) fn trace_id(&self) -> String {
        self.header("traceresponse")
            .split('-')
            .nth(1)
            .unwrap()
            .to_owned()
    }
}

/// A GET with these headers, names and values as bytes so that they may be malformed.
pub(crate) async fn get(url: &str, headers: &[(&str, &[u8])]) -> anyhow::Result<Answer> {
    let mut req = Request::get(url.parse::<Uri>()?);
    for (name, value) in headers {
        req = req.header(*name, *value);
    }
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = async {
        let answer = client.request(req.body(Empty::new())?).await?;
        let (parts, body) = answer.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        anyhow::Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    };
    time::timeout(Duration::from_secs(30), answer).await?
}

/// A page that must be there.
pub(crate) async fn visit(edge: &str, host: &str) -> Answer {
    let answer = get(
        edge,
        &[("host", host.as_bytes()), ("user-agent", b"checks")],
    )
    .await
    .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:#?}");
    answer
}
