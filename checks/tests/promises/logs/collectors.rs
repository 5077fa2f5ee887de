//! A real Alloy and a real Loki, and files as Docker writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant, sleep};

use crate::http::get;
use crate::lab::{PATIENCE, Process};
use crate::prometheus::escaped;
use crate::{need, repository};

/// Lines in the form in which Docker keeps them, a moment apart.
pub(super) struct Container {
    pub(super) file: File,
    service: &'static str,
}

impl Container {
    pub(super) fn of(service: &'static str, folder: &Path) -> Container {
        let folder = folder.join(service);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{service}-json.log"));
        let file = OpenOptions::new().create(true).append(true).open(file);
        Container {
            file: file.unwrap(),
            service,
        }
    }

    /// What Docker does with a file that has become too large.
    pub(super) fn rotate(self, folder: &Path) -> Container {
        let file = folder
            .join(self.service)
            .join(format!("{}-json.log", self.service));
        fs::rename(&file, file.with_extension("log.1")).unwrap();
        Container::of(self.service, folder)
    }

    /// A piece of a line that is too long for Docker to keep it whole.
    pub(super) fn prints_piece(&mut self, piece: &str) {
        let time = jiff::Timestamp::now().to_string();
        let attrs = json!({"com.docker.compose.service": self.service});
        let line = json!({"log": piece, "stream": "stdout", "time": time, "attrs": attrs});
        writeln!(self.file, "{line}").unwrap();
    }

    pub(super) fn prints(&mut self, stream: &str, text: &str) {
        let mut lines = String::new();
        for line in text.split('\n') {
            let time = jiff::Timestamp::now().to_string();
            let mut line = json!({"log": format!("{line}\n"), "stream": stream, "time": time});
            if !self.service.is_empty() {
                line["attrs"] = json!({"com.docker.compose.service": self.service});
            }
            writeln!(lines, "{line}").unwrap();
        }
        self.file.write_all(lines.as_bytes()).unwrap();
    }
}

/// A record of Loki.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) text: String,
    pub(super) service: String,
    pub(super) stream: String,
    pub(super) level: String,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
}

/// The two programs, with the committed configurations but for addresses and folders.
pub(super) struct Collectors {
    folder: TempDir,
    alloy_program: String,
    loki_program: String,
    alloy: String,
    loki: String,
    loki_grpc: String,
    running: BTreeMap<&'static str, Process>,
}

impl Collectors {
    pub(super) async fn start() -> Option<Collectors> {
        let [alloy_program, loki_program] = need::variables(["ALLOY", "LOKI"])?;
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Vec::new();
        for _ in 0..3 {
            ports.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let [loki, loki_grpc, http] = &ports[..] else {
            unreachable!()
        };
        let [loki, loki_grpc, http] =
            [loki, loki_grpc, http].map(|port| port.local_addr().unwrap().to_string());
        drop(ports);
        let root = folder.path().display().to_string();
        let config = repository::read("conf/alloy/config.alloy")
            .replace("/var/log/containers", &format!("{root}/containers"))
            .replace("loki:3100", &loki);
        let file = folder.path().join("config.alloy");
        fs::write(&file, config).unwrap();
        fs::create_dir(folder.path().join("containers")).unwrap();
        let mut collectors = Collectors {
            folder,
            alloy_program,
            loki_program,
            alloy: http,
            loki,
            loki_grpc,
            running: BTreeMap::new(),
        };
        collectors.start_loki().await;
        collectors.start_alloy();
        Some(collectors)
    }

    pub(super) fn start_alloy(&mut self) {
        let root = self.folder.path().display();
        let mut command = Command::new(&self.alloy_program);
        command
            .arg("run")
            .arg(format!("--storage.path={root}/positions"))
            .arg(format!("--server.http.listen-addr={}", self.alloy))
            .arg("--disable-reporting")
            .arg(self.folder.path().join("config.alloy"));
        self.running.insert("alloy", Process::start(&mut command));
    }

    /// Kills one of the two, so that it forgets what it has not written down.
    pub(super) fn kill(&mut self, part: &str) {
        self.running.remove(part);
    }

    pub(super) async fn start_loki(&mut self) {
        let root = self.folder.path().display().to_string();
        let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
        let listen = format!(
            "http_listen_port: {}\n  http_listen_address: 127.0.0.1\n  \
             grpc_listen_port: {}\n  grpc_listen_address: 127.0.0.1",
            port(&self.loki),
            port(&self.loki_grpc)
        );
        let config = repository::read("conf/loki/loki.yaml")
            .replace(" /loki", &format!(" {root}/loki"))
            .replace("http_listen_port: 3100", &listen);
        let file = self.folder.path().join("loki.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(&self.loki_program);
        command.arg(format!("-config.file={}", file.display()));
        self.running.insert("loki", Process::start(&mut command));
        let begun = Instant::now();
        while get(&format!("http://{}/ready", self.loki), &[])
            .await
            .is_err()
        {
            assert!(begun.elapsed() < PATIENCE, "{}", self.running["loki"].log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn container(&self, service: &'static str) -> Container {
        Container::of(service, &self.containers())
    }

    pub(super) fn containers(&self) -> PathBuf {
        self.folder.path().join("containers")
    }

    pub(super) async fn ask(&self, query: &str) -> Vec<Value> {
        let url = format!(
            "http://{}/loki/api/v1/query_range?since=1h&limit=1000&query={}",
            self.loki,
            escaped(query)
        );
        let answer = get(&url, &[]).await.unwrap();
        assert!(answer.status.is_success(), "{query}: {}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// What Loki has of a query, once it has so many records.
    pub(super) async fn records(&self, query: &str, count: usize) -> Vec<Record> {
        let begun = Instant::now();
        loop {
            let mut records = Vec::new();
            for stream in self.ask(query).await {
                let of = |name: &str| stream["stream"][name].as_str().map(str::to_owned);
                for value in stream["values"].as_array().unwrap() {
                    records.push(Record {
                        text: value[1].as_str().unwrap().to_owned(),
                        service: of("service_name").unwrap(),
                        stream: of("stream").unwrap(),
                        level: of("level").unwrap(),
                        trace_id: of("trace_id"),
                        span_id: of("span_id"),
                    });
                }
            }
            if records.len() >= count {
                assert_eq!(records.len(), count, "{records:#?}");
                return records;
            }
            assert!(begun.elapsed() < PATIENCE, "{query}: {records:#?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
