//! What the environment sets.

use std::{collections::BTreeSet, fmt};

/// Everything that can be configured. An empty variable counts as unset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `LISTEN_ADDR`: Tempo's HTTP API and the page. Default `[::]:3200`.
    pub listen_addr: String,
    /// `OTLP_GRPC_ADDR`: the OTLP/gRPC receiver. Default `[::]:4317`.
    pub otlp_grpc_addr: String,
    /// `OTLP_HTTP_ADDR`: the OTLP/HTTP receiver. Default port 4318 on the host of
    /// `OTLP_GRPC_ADDR`, so `[::]:4318` if that is unset too; any free port if that one's is 0.
    pub otlp_http_addr: String,
    /// `JAEGER_HTTP_ADDR`: the receiver of Jaeger's thrift over HTTP. Default port 14268, on the
    /// same terms as `OTLP_HTTP_ADDR`.
    pub jaeger_http_addr: String,
    /// `MAX_BYTES`: memory for spans, in bytes or as `64MiB` (`KiB`, `MiB`, `GiB`). Default 256 MiB.
    pub max_bytes: usize,
    /// `ALLOW_HOSTS`: names, separated by commas, under which browsers and clients may address the
    /// HTTP ports beside `localhost` and IP addresses. Default: none.
    pub allow_hosts: BTreeSet<String>,
}

/// All bad values at once: `LISTEN_ADDR: "7878" is not host:port; MAX_BYTES: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the variables named above through `var`.
    ///
    /// # Errors
    /// Names every variable that cannot be used, and why.
    pub fn parse(var: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut mistakes = Vec::new();
        let mut read = |name: &str, default: &str, check: fn(&str) -> Option<&str>| {
            let value = var(name)
                .filter(|value| !value.is_empty())
                .unwrap_or_else(|| default.to_owned());
            if let Some(wanted) = check(&value) {
                mistakes.push(format!("{name}: {value:?} is not {wanted}"));
            }
            value
        };
        let address = |value: &str| host_and_port(value).is_none().then_some("host:port");
        let listen_addr = read("LISTEN_ADDR", "[::]:3200", address);
        let otlp_grpc_addr = read("OTLP_GRPC_ADDR", "[::]:4317", address);
        let otlp_http_addr = read("OTLP_HTTP_ADDR", &beside(&otlp_grpc_addr, 4318), address);
        let jaeger_http_addr = read("JAEGER_HTTP_ADDR", &beside(&otlp_grpc_addr, 14268), address);
        let max_bytes = read("MAX_BYTES", "256MiB", |value| {
            size(value)
                .is_none()
                .then_some("a size above 0 such as 1000000 or 64MiB")
        });
        let allow_hosts = read("ALLOW_HOSTS", "", |value| {
            hosts(value)
                .any(|host| !host.bytes().all(is_host_byte))
                .then_some("a list of host names without ports, separated by commas")
        });
        if !mistakes.is_empty() {
            return Err(ConfigError { mistakes });
        }
        Ok(Config {
            listen_addr,
            otlp_grpc_addr,
            otlp_http_addr,
            jaeger_http_addr,
            max_bytes: size(&max_bytes).expect("checked above"),
            allow_hosts: hosts(&allow_hosts).map(str::to_ascii_lowercase).collect(),
        })
    }
}

/// Another port of the host of `address`, or any free one if the port of `address` is 0. Who binds
/// one receiver to the loopback does not expect others on all interfaces.
fn beside(address: &str, port: u16) -> String {
    match (address.rsplit_once(':'), host_and_port(address)) {
        (Some((host, _)), Some((_, 0))) => format!("{host}:0"),
        (Some((host, _)), Some(_)) => format!("{host}:{port}"),
        // A mistake that is named already.
        _ => format!("[::]:{port}"),
    }
}

/// The host without the brackets of IPv6, and the port.
pub(crate) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(port)?;
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

fn size(value: &str) -> Option<usize> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let number: usize = number.parse().ok()?;
    number.checked_mul(factor).filter(|&bytes| bytes > 0)
}

fn hosts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Config, String> {
        let var = |wanted: &str| {
            let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
            Some((*value).to_owned())
        };
        Config::parse(var).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_or_set_to_nothing_means_the_defaults() {
        let defaults = Config {
            listen_addr: "[::]:3200".to_owned(),
            otlp_grpc_addr: "[::]:4317".to_owned(),
            otlp_http_addr: "[::]:4318".to_owned(),
            jaeger_http_addr: "[::]:14268".to_owned(),
            max_bytes: 256 << 20,
            allow_hosts: BTreeSet::new(),
        };
        assert_eq!(parse(&[]), Ok(defaults.clone()));
        let empty = [
            "LISTEN_ADDR",
            "OTLP_GRPC_ADDR",
            "OTLP_HTTP_ADDR",
            "JAEGER_HTTP_ADDR",
            "MAX_BYTES",
            "ALLOW_HOSTS",
        ];
        assert_eq!(parse(&empty.map(|name| (name, ""))), Ok(defaults));
    }

    #[test]
    fn every_variable_is_read() {
        let config = parse(&[
            ("LISTEN_ADDR", "127.0.0.1:80"),
            ("OTLP_GRPC_ADDR", "localhost:0"),
            ("OTLP_HTTP_ADDR", "[::1]:1"),
            ("JAEGER_HTTP_ADDR", "0.0.0.0:2"),
            ("MAX_BYTES", "64MiB"),
            ("ALLOW_HOSTS", "tracestore, Traces.Example.org,"),
        ]);
        assert_eq!(
            config,
            Ok(Config {
                listen_addr: "127.0.0.1:80".to_owned(),
                otlp_grpc_addr: "localhost:0".to_owned(),
                otlp_http_addr: "[::1]:1".to_owned(),
                jaeger_http_addr: "0.0.0.0:2".to_owned(),
                max_bytes: 64 << 20,
                allow_hosts: ["tracestore", "traces.example.org"]
                    .map(str::to_owned)
                    .into(),
            })
        );
    }

    #[test]
    fn the_receivers_over_http_are_where_the_one_over_grpc_is() {
        for (grpc, http, jaeger) in [
            ("127.0.0.1:4317", "127.0.0.1:4318", "127.0.0.1:14268"),
            ("[::1]:5000", "[::1]:4318", "[::1]:14268"),
            ("localhost:0", "localhost:0", "localhost:0"),
        ] {
            let config = parse(&[("OTLP_GRPC_ADDR", grpc)]).unwrap();
            assert_eq!(config.otlp_http_addr, http);
            assert_eq!(config.jaeger_http_addr, jaeger);
        }
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let error = parse(&[
            ("LISTEN_ADDR", "7878"),
            ("OTLP_GRPC_ADDR", "localhost:65536"),
            ("OTLP_HTTP_ADDR", "4318"),
            ("JAEGER_HTTP_ADDR", "::1:14268"),
            ("MAX_BYTES", "0"),
            ("ALLOW_HOSTS", "http://x"),
        ]);
        assert_eq!(
            error,
            Err("LISTEN_ADDR: \"7878\" is not host:port; \
                 OTLP_GRPC_ADDR: \"localhost:65536\" is not host:port; \
                 OTLP_HTTP_ADDR: \"4318\" is not host:port; \
                 JAEGER_HTTP_ADDR: \"::1:14268\" is not host:port; \
                 MAX_BYTES: \"0\" is not a size above 0 such as 1000000 or 64MiB; \
                 ALLOW_HOSTS: \"http://x\" is not a list of host names without ports, \
                 separated by commas"
                .to_owned())
        );
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("1"), Some(1));
        assert_eq!(size("3 KiB"), Some(3072));
        assert_eq!(size("2GiB"), Some(2 << 30));
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1MB",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        assert_eq!(host_and_port("[::1]:1"), Some(("::1", 1)));
        for bad in ["", ":1", "a", "a:", "a:+1", "::1:1", "[::1:1", "[]:1"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }
}
