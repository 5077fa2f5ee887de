//! A trace store in a process of its own: this one, executed again.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// Says that a process is to be a store.
const STORE: &str = "PLAYGROUND_TEST_STORE";

/// Not a test, but where the other process begins.
#[test]
fn store() {
    if env::var_os(STORE).is_none() {
        return;
    }
    let mut arguments = vec!["--memory".to_owned()];
    for what in ["listen", "otlp-grpc", "otlp-http", "jaeger-http"] {
        arguments.extend([format!("--{what}-addr"), "127.0.0.1:0".to_owned()]);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(tracestore::run(arguments.into_iter().map(Into::into)));
}

/// Ends when it is dropped.
pub(crate) struct Store {
    process: Child,
    url: String,
    endpoint: String,
}

impl Store {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        // With one thread the name of the test would stand in the first line.
        let arguments = ["--exact", "store::store", "--nocapture", "--test-threads=2"];
        command.args(arguments).env(STORE, "1");
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |what: &str| loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, address)) = line.split_once(what) {
                break format!("http://{address}");
            }
        };
        let endpoint = address("receiving OTLP/gRPC on ");
        let url = address("listening on ");
        // Lest it is held up by a pipe that is full.
        thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            url,
            endpoint,
        }
    }

    /// Where it takes OTLP over gRPC.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The ids of the traces that a query finds; its mistake if there is one.
    pub(crate) fn find(&self, query: &str) -> Result<BTreeSet<String>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/search?limit=1000&q={encoded}");
        let answer: Value = serde_json::from_str(&self.get(&path)?).unwrap();
        let found = answer["traces"].as_array().cloned().unwrap_or_default();
        let ids = found.iter().map(|trace| trace["traceID"].as_str().unwrap());
        // Tempo's API leaves zeros out that a trace's id begins with.
        Ok(ids.map(|id| format!("{id:0>32}")).collect())
    }

    /// What it answers, in JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).unwrap()).unwrap()
    }

    fn get(&self, path: &str) -> Result<String, String> {
        get(&format!("{}{path}", self.url))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body of a success, or else of a failure.
pub(crate) fn get(url: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(url).body(Empty::new()).unwrap();
        let (head, body) = client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        match head.status.is_success() {
            true => Ok(text),
            false => Err(text),
        }
    })
}
