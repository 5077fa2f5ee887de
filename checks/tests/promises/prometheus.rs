//! A Prometheus of a test's own, with the configuration of conf/prometheus, and pages for it to scrape.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use crate::lab::{PATIENCE, Process};
use crate::{http, need, repository};

/// Where Prometheus and promtool come from.
pub(crate) const PROMETHEUS: &str = "the Debian package prometheus has it";

/// Also how long a scrape may take, so no less, and a test waits for what it needs.
const EVERY: &str = "1s";

/// Scrapes and evaluates until it is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    url: String,
    /// Where it is the test's own.
    own: Option<(Process, TempDir)>,
}

impl Prometheus {
    /// One that runs already.
    pub(crate) fn at(url: String) -> Prometheus {
        Prometheus { url, own: None }
    }

    /// Starts one with the committed configuration and rules, but for three things: it scrapes at the addresses that are
    /// given for the committed ones and at its own (those of others do not answer), it does so every second, and no alert waits.
    ///
    /// `None` where there is no Prometheus.
    pub(crate) async fn start(
        addresses: &BTreeMap<&str, String>,
        further_jobs: &str,
    ) -> Option<Prometheus> {
        let program = need::program("prometheus", PROMETHEUS)?;
        let folder = tempfile::tempdir().unwrap();
        let mut config = repository::read("conf/prometheus/prometheus.yaml").replace("5s", EVERY);
        for (target, address) in addresses {
            let committed = format!("targets: [{target}]");
            assert!(config.contains(&committed), "nobody scrapes {target}");
            config = config.replace(&committed, &format!("targets: [\"{address}\"]"));
        }
        config.push_str(further_jobs);
        let rules = repository::read("conf/prometheus/rules.yaml");
        let rules = rules.lines().map(|line| match line.split_once("for: ") {
            Some((indent, _)) => format!("{indent}for: 0s\n"),
            None => format!("{line}\n"),
        });
        fs::write(folder.path().join("rules.yaml"), rules.collect::<String>()).unwrap();
        let (url, process) = listening(&program, folder.path(), &config).await;
        Some(Prometheus {
            url,
            own: Some((process, folder)),
        })
    }

    /// Asks its API, e.g. for `query?query=up`.
    ///
    /// # Panics
    /// Where that is no proper question.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = http::get(&format!("{}/api/v1/{path}", self.url), &[])
            .await
            .unwrap();
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer:#}");
        answer["data"].clone()
    }

    /// The series that an expression makes now, without their values.
    pub(crate) async fn series(&self, expression: &str) -> Vec<Value> {
        let data = self
            .get(&format!("query?query={}", escaped(expression)))
            .await;
        let series = data["result"].as_array().unwrap().iter();
        series.map(|series| series["metric"].clone()).collect()
    }

    /// Waits until an expression has series.
    pub(crate) async fn answered(&self, expression: &str) {
        let begun = Instant::now();
        while self.series(expression).await.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{expression} has no series");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The exemplars of the series that an expression names, of the last five minutes.
    pub(crate) async fn exemplars(&self, expression: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (start, end) = (now.as_secs() - 300, now.as_secs() + 60);
        let query = escaped(expression);
        self.get(&format!(
            "query_exemplars?query={query}&start={start}&end={end}"
        ))
        .await
    }

    /// Waits until these labels of firing alerts, or of none, are as the caller wants them.
    pub(crate) async fn alerts_when(
        &self,
        name: &str,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let data = self.get("alerts").await;
            let alerts = data["alerts"].as_array().unwrap().iter();
            let firing = alerts.filter(|alert| alert["state"] == "firing");
            let named = firing.map(|alert| alert["labels"].clone());
            let named: Vec<_> = named.filter(|labels| labels["alertname"] == name).collect();
            if wanted(&named) {
                return named;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{name}: {named:#?}\n{}",
                self.own
                    .as_ref()
                    .map_or(String::new(), |(process, _)| process.log())
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Prometheus cannot be told to take any port that is free, so somebody else may be quicker.
async fn listening(program: &Path, folder: &Path, config: &str) -> (String, Process) {
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let config = config.replace("localhost:9090", &address.to_string());
        fs::write(folder.join("prometheus.yaml"), config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!(
                "--config.file={}/prometheus.yaml",
                folder.display()
            ))
            .arg(format!("--storage.tsdb.path={}/data", folder.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage");
        let mut process = Process::start(&mut command);
        let url = format!("http://{address}");
        let begun = Instant::now();
        while process.is_running() && begun.elapsed() < PATIENCE {
            let ready = http::get(&format!("{url}/-/ready"), &[]).await;
            if ready.is_ok_and(|answer| answer.status.is_success()) {
                return (url, process);
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert!(
            process.log().contains("address already in use"),
            "{}",
            process.log()
        );
    }
    panic!("no port was free five times");
}

/// For a query string.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Serves one page of metrics, whatever is asked for, until it is dropped.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

impl Page {
    pub(crate) async fn of(text: String) -> Page {
        Page::at("127.0.0.1:0", move || text.clone()).await
    }

    /// Asks `text` anew for each scrape.
    pub(crate) async fn at(
        address: &str,
        mut text: impl FnMut() -> String + Send + 'static,
    ) -> Page {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The request fits into one read, and its answer does not depend on it.
                let _ = stream.read(&mut [0; 4096]).await;
                let text = text();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Page { address, server }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}
