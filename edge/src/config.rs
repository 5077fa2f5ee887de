//! What the environment says, parsed once and wholly.

use std::env;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::Uri;

use crate::propagation::Propagators;
use crate::route::Routes;

/// How long an export may take unless the environment says otherwise: less than the 2 s that the last flush has.
const EXPORT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Everything the edge lets its environment decide.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; all with the same port, of which 0 stands for a free one.
    pub listen: Vec<SocketAddr>,
    /// The upstream of every host name.
    pub routes: Routes,
    /// The formats of the trace headers.
    pub propagators: Propagators,
    /// Where spans go; `None` when they are not exported.
    pub export: Option<Export>,
    /// `service.name` of the exported spans.
    pub service_name: String,
}

/// Where spans go, over OTLP/gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// An `http://` URL.
    pub endpoint: String,
    /// Upper bound of one export.
    pub timeout: Duration,
}

/// Everything that is wrong with the environment, in one message.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads, through `var`, `LISTEN_ADDR` (default `[::]:8000`), `ROUTES` (required), `OTEL_PROPAGATORS` (default
    /// `jaeger`), `OTEL_TRACES_EXPORTER` (default `otlp`), `OTEL_SERVICE_NAME` (default `edge`) and the endpoint and
    /// timeout of `OTEL_EXPORTER_OTLP_*`. An empty value is as good as none.
    ///
    /// # Errors
    /// Names every variable that is missing or has a value that cannot be used.
    pub fn parse(var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader {
            var: &var,
            wrong: Vec::new(),
        };
        let listen = reader.listen();
        let routes = reader.routes();
        let propagators = reader.propagators();
        let export = reader.export();
        let service_name = reader.get("OTEL_SERVICE_NAME");
        match (routes, propagators) {
            (Some(routes), Some(propagators)) if reader.wrong.is_empty() => Ok(Self {
                listen,
                routes,
                propagators,
                export,
                service_name: service_name.unwrap_or_else(|| "edge".to_owned()),
            }),
            _ => Err(ConfigError(reader.wrong)),
        }
    }
}

/// A variable of this process. One that is not Unicode becomes a value that nothing accepts.
pub(crate) fn process_env(name: &str) -> Option<String> {
    Some(env::var_os(name)?.to_string_lossy().into_owned())
}

/// The addresses of `LISTEN_ADDR` alone, for a caller that needs no more.
///
/// # Errors
/// As `Config::parse`.
pub(crate) fn listen_addrs(
    var: impl Fn(&str) -> Option<String>,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut reader = Reader {
        var: &var,
        wrong: Vec::new(),
    };
    let listen = reader.listen();
    if reader.wrong.is_empty() {
        Ok(listen)
    } else {
        Err(ConfigError(reader.wrong))
    }
}

/// Collects what is wrong while it reads.
struct Reader<'v> {
    var: &'v dyn Fn(&str) -> Option<String>,
    wrong: Vec<String>,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    fn listen(&mut self) -> Vec<SocketAddr> {
        let Some(list) = self.get("LISTEN_ADDR") else {
            return vec![(Ipv6Addr::UNSPECIFIED, 8000).into()];
        };
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for entry in list.split(',').map(str::trim) {
            match entry.parse() {
                Ok(addr) => addrs.push(addr),
                Err(_) => self
                    .wrong
                    .push(format!("LISTEN_ADDR: `{entry}` is not ip:port")),
            }
        }
        if addrs
            .windows(2)
            .any(|pair| pair[0].port() != pair[1].port())
        {
            self.wrong
                .push(format!("LISTEN_ADDR: `{list}` has more than one port"));
        }
        addrs
    }

    fn routes(&mut self) -> Option<Routes> {
        let Some(table) = self.get("ROUTES") else {
            self.wrong.push("ROUTES: missing".to_owned());
            return None;
        };
        match Routes::parse(&table) {
            Ok(routes) => Some(routes),
            Err(wrong) => {
                let wrong = wrong.iter().map(|reason| format!("ROUTES: {reason}"));
                self.wrong.extend(wrong);
                None
            }
        }
    }

    fn propagators(&mut self) -> Option<Propagators> {
        let list = self.get("OTEL_PROPAGATORS");
        match Propagators::parse(list.as_deref().unwrap_or("jaeger")) {
            Ok(propagators) => Some(propagators),
            Err(unknown) => {
                self.wrong.push(format!(
                    "OTEL_PROPAGATORS: `{unknown}` is none of jaeger, tracecontext, baggage, none"
                ));
                None
            }
        }
    }

    fn export(&mut self) -> Option<Export> {
        match self.get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return None,
            Some(unknown) => {
                self.wrong.push(format!(
                    "OTEL_TRACES_EXPORTER: `{unknown}` is neither otlp nor none"
                ));
                return None;
            }
        }
        self.compression();
        self.batches();
        let timeout = self.timeout();
        let (name, endpoint) = self
            .first(&[
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            ])
            .unwrap_or(("", "http://localhost:4317".to_owned()));
        let uri: Option<Uri> = endpoint.parse().ok();
        match uri.as_ref().and_then(Uri::scheme_str) {
            Some("http") => {}
            Some("https") => self.wrong.push(format!(
                "{name}: `{endpoint}` needs TLS, which the edge does not speak"
            )),
            _ => self
                .wrong
                .push(format!("{name}: `{endpoint}` is not http://host:port")),
        }
        Some(Export { endpoint, timeout })
    }

    fn timeout(&mut self) -> Duration {
        let Some((name, millis)) = self.first(&[
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ]) else {
            return EXPORT_TIMEOUT;
        };
        match millis.parse() {
            Ok(millis) if millis > 0 => Duration::from_millis(millis),
            _ => {
                self.wrong.push(format!(
                    "{name}: `{millis}` is not a number of milliseconds above 0"
                ));
                EXPORT_TIMEOUT
            }
        }
    }

    /// The exporter reads these itself, after us, and fails on every value that this build does not know: even on
    /// `none` and on an empty one.
    fn compression(&mut self) {
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ] {
            if let Some(value) = (self.var)(name) {
                self.wrong.push(format!(
                    "{name}: `{value}` must be unset, the edge does not compress its spans"
                ));
            }
        }
    }

    /// The batch processor reads these itself, and makes the best of what is no number. Of a delay of zero it makes a
    /// busy loop, of an empty queue a loss of everything.
    fn batches(&mut self) {
        for name in [
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ] {
            let value = self.get(name);
            let number = value.as_ref().map(|value| value.parse::<u64>());
            if let (Some(value), Some(Ok(0) | Err(_))) = (value, number) {
                self.wrong
                    .push(format!("{name}: `{value}` is not a number above 0"));
            }
        }
    }

    /// The first of these variables that has a value.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(|name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_value_is_as_good_as_none() {
        let config = parse(&[
            ("ROUTES", "a=http://x"),
            ("LISTEN_ADDR", ""),
            ("OTEL_PROPAGATORS", ""),
            ("OTEL_TRACES_EXPORTER", ""),
            ("OTEL_SERVICE_NAME", ""),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", ""),
        ])
        .unwrap();
        assert_eq!(config.listen, ["[::]:8000".parse().unwrap()]);
        assert_eq!(config.service_name, "edge");
        let export = Export {
            endpoint: "http://collector:4317".to_owned(),
            timeout: EXPORT_TIMEOUT,
        };
        assert_eq!(config.export, Some(export));
    }

    #[test]
    fn all_bad_values_are_named_in_one_message() {
        let err = parse(&[
            ("LISTEN_ADDR", "localhost:1,127.0.0.1:2,[::1]:3"),
            ("ROUTES", "a=ftp://x,b"),
            ("OTEL_PROPAGATORS", "jaeger,b3"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ])
        .unwrap_err()
        .to_string();
        for part in [
            "LISTEN_ADDR: `localhost:1` is not ip:port",
            "has more than one port",
            "ROUTES: `a=ftp://x`",
            "ROUTES: `b`",
            "OTEL_PROPAGATORS: `b3`",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `localhost:4317` is not http://host:port",
            "OTEL_EXPORTER_OTLP_TIMEOUT: `2s`",
            "OTEL_BSP_SCHEDULE_DELAY: `0`",
            "OTEL_BSP_MAX_QUEUE_SIZE: `many`",
            "OTEL_EXPORTER_OTLP_COMPRESSION: `gzip`",
        ] {
            assert!(err.contains(part), "{part} is not in: {err}");
        }
        assert!(!err.contains('\n'));
    }

    #[test]
    fn without_an_exporter_its_settings_do_not_matter() {
        let config = parse(&[
            ("ROUTES", "a=http://x"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
        ])
        .unwrap();
        assert_eq!(config.export, None);
    }
}
