//! What the environment says, parsed once and wholly.

use std::env;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use telemetry::Problem;

use crate::route::Routes;

/// How long an export may take unless the environment says otherwise: less than the 2 s that the last flush has.
const EXPORT_TIMEOUT_MS: &str = "1500";

/// Everything the edge lets its environment decide.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; all with the same port, of which 0 stands for a free one.
    pub listen: Vec<SocketAddr>,
    /// The upstream of every host name.
    pub routes: Routes,
    /// Where `/metrics` is, if anywhere: on a port of its own, since what a client sees is not for it.
    pub metrics: Option<SocketAddr>,
    /// For how long after a signal requests are served on, while `/ready` already says that the edge stops.
    pub shutdown_delay: Duration,
    /// What spans are made of, and where they go.
    pub telemetry: telemetry::Config,
}

/// Everything that is wrong with the environment, in one message.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads, through `var`, `LISTEN_ADDR` (default `[::]:8000`), `ROUTES` (required), `METRICS_ADDR` (default none),
    /// `SHUTDOWN_DELAY_MS` (default 0) and the variables of [`telemetry::environment`], of which `OTEL_PROPAGATORS` is
    /// `jaeger` by default and `OTEL_EXPORTER_OTLP_TIMEOUT` 1500. An empty value is as good as none.
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
        let metrics = reader.metrics();
        let shutdown_delay = reader.shutdown_delay();
        let telemetry = reader.telemetry();
        match routes {
            Some(routes) if reader.wrong.is_empty() => Ok(Self {
                listen,
                routes,
                metrics,
                shutdown_delay,
                telemetry,
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

    fn metrics(&mut self) -> Option<SocketAddr> {
        let addr = self.get("METRICS_ADDR")?;
        let parsed = addr.parse().ok();
        if parsed.is_none() {
            self.wrong
                .push(format!("METRICS_ADDR: `{addr}` is not ip:port"));
        }
        parsed
    }

    fn shutdown_delay(&mut self) -> Duration {
        let name = "SHUTDOWN_DELAY_MS";
        let Some(delay) = self.get(name) else {
            return Duration::ZERO;
        };
        let parsed = delay.parse().map(Duration::from_millis);
        parsed.unwrap_or_else(|_| {
            self.wrong
                .push(format!("{name}: `{delay}` is not a number of milliseconds"));
            Duration::ZERO
        })
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

    /// The variables of OpenTelemetry, with defaults of our own, and stricter: what cannot be used ends the start.
    fn telemetry(&mut self) -> telemetry::Config {
        let traces = self.get("OTEL_TRACES_EXPORTER");
        let logs = self.get("OTEL_LOGS_EXPORTER");
        let is_exported = traces.is_none_or(|name| name.trim() != "none")
            || logs.is_some_and(|names| names.split(',').any(|name| name.trim() == "otlp"));
        let config = telemetry::Config::parse(|name| {
            let value = self.get(name);
            match name {
                "OTEL_PROPAGATORS" => Some(without_baggage(value.as_deref().unwrap_or("jaeger"))),
                "OTEL_EXPORTER_OTLP_TIMEOUT" => {
                    value.or_else(|| Some(EXPORT_TIMEOUT_MS.to_owned()))
                }
                // What is not exported has no settings that could be wrong.
                _ if name.starts_with("OTEL_EXPORTER_OTLP_") => value.filter(|_| is_exported),
                _ => value,
            }
        });
        self.wrong.extend(refused(config.problems()));
        config
    }
}

/// What is wrong with the variables of OpenTelemetry, without what a more patient program would use instead.
fn refused(problems: &[Problem]) -> impl Iterator<Item = String> {
    // What is told to all services of a stack need not be for this one.
    let standard = problems
        .iter()
        .filter(|problem| problem.variable().starts_with("OTEL_") && !problem.is_unsupported());
    standard.map(|problem| {
        let text = problem.to_string();
        let used = format!("; using {}", problem.used());
        text.strip_suffix(&used).unwrap_or(&text).to_owned()
    })
}

/// What telemetry could not use once it started, such as a certificate that cannot be read.
///
/// # Errors
/// Names every such variable.
pub(crate) fn accepted(problems: &[Problem]) -> Result<(), ConfigError> {
    let wrong: Vec<_> = refused(problems).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(ConfigError(wrong))
    }
}

/// A list of propagators without that of baggage, whose header is forwarded in any case.
fn without_baggage(list: &str) -> String {
    let names = list.split(',').map(str::trim);
    let kept: Vec<&str> = names
        .filter(|name| !name.eq_ignore_ascii_case("baggage"))
        .collect();
    match kept[..] {
        [] => "none".to_owned(),
        _ => kept.join(","),
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

    fn setting(config: &Config, name: &str) -> String {
        let settings = config.telemetry.settings();
        let found = settings.into_iter().find(|(key, _)| *key == name);
        found.unwrap().1
    }

    #[test]
    fn an_empty_value_is_as_good_as_none() {
        let config = parse(&[
            ("ROUTES", "a=http://x"),
            ("LISTEN_ADDR", ""),
            ("OTEL_PROPAGATORS", ""),
            ("OTEL_TRACES_EXPORTER", ""),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", ""),
        ])
        .unwrap();
        assert_eq!(config.listen, ["[::]:8000".parse().unwrap()]);
        assert_eq!(setting(&config, "OTEL_PROPAGATORS"), "jaeger");
        let endpoint = setting(&config, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!(endpoint, "http://collector:4317");
        let timeout = setting(&config, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT");
        assert_eq!(timeout, "1500");
    }

    #[test]
    fn baggage_is_not_read_since_it_passes_unchanged() {
        for (list, read) in [
            ("tracecontext,baggage", "tracecontext"),
            ("Baggage, jaeger", "jaeger"),
            ("baggage", "none"),
            ("b3,b3multi", "b3,b3multi"),
        ] {
            let config = parse(&[("ROUTES", "a=http://x"), ("OTEL_PROPAGATORS", list)]);
            assert_eq!(setting(&config.unwrap(), "OTEL_PROPAGATORS"), read);
        }
    }

    #[test]
    fn all_bad_values_are_named_in_one_message() {
        let err = parse(&[
            ("LISTEN_ADDR", "localhost:1,127.0.0.1:2,[::1]:3"),
            ("ROUTES", "a=ftp://x,b"),
            ("METRICS_ADDR", "8080"),
            ("SHUTDOWN_DELAY_MS", "5s"),
            ("OTEL_PROPAGATORS", "jaeger,xray"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://localhost:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ])
        .unwrap_err()
        .to_string();
        for part in [
            "LISTEN_ADDR: `localhost:1` is not ip:port",
            "has more than one port",
            "ROUTES: `a=ftp://x`",
            "ROUTES: `b`",
            "METRICS_ADDR: `8080` is not ip:port",
            "SHUTDOWN_DELAY_MS: `5s` is not a number of milliseconds",
            "OTEL_PROPAGATORS: `xray` is not",
            "OTEL_TRACES_SAMPLER: `sometimes` is not",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `ftp://localhost:4317` is not http://host:port",
            "OTEL_EXPORTER_OTLP_TIMEOUT: `2s`",
            "OTEL_BSP_SCHEDULE_DELAY: `soon`",
            "OTEL_BSP_MAX_QUEUE_SIZE: `many`",
            "OTEL_EXPORTER_OTLP_COMPRESSION: `zstd`",
        ] {
            assert!(err.contains(part), "{part} is not in: {err}");
        }
        assert!(!err.contains('\n'));
        assert!(!err.contains("using"), "nothing is used instead: {err}");
    }

    #[test]
    fn what_is_not_supported_ends_no_start() {
        let config = parse(&[("ROUTES", "a=http://x"), ("OTEL_METRICS_EXPORTER", "otlp")]);
        assert_eq!(config.unwrap().telemetry.problems().len(), 1);
    }

    #[test]
    fn how_logs_look_ends_no_start() {
        let config = parse(&[("ROUTES", "a=http://x"), ("RUST_LOG", "edge=loud")]);
        assert_eq!(config.unwrap().telemetry.problems().len(), 1);
    }

    #[test]
    fn without_an_exporter_its_settings_do_not_matter() {
        let config = parse(&[
            ("ROUTES", "a=http://x"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense://"),
        ]);
        assert!(config.unwrap().telemetry.problems().is_empty());
    }

    #[test]
    fn log_records_go_where_they_are_sent_even_if_no_spans_do() {
        let config = parse(&[
            ("ROUTES", "a=http://x"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "console,otlp"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector:4317"),
        ]);
        let endpoint = setting(&config.unwrap(), "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT");
        assert_eq!(endpoint, "http://collector:4317");
    }
}
