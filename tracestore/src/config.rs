//! What flags and the environment set.

mod flags;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::flags::Flags;
pub(crate) use self::flags::{Command, CommandLine};
pub use crate::{output::Format, store::Fsync};

/// Everything that can be configured, by a flag or else by a variable. An empty variable counts as
/// unset, an empty flag is a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `--listen-addr`, `LISTEN_ADDR`: Tempo's HTTP API and the page. Default `[::]:3200`.
    pub listen_addr: String,
    /// `--otlp-grpc-addr`, `OTLP_GRPC_ADDR`: the OTLP/gRPC receiver. Default `[::]:4317`.
    pub otlp_grpc_addr: String,
    /// `--otlp-http-addr`, `OTLP_HTTP_ADDR`: the OTLP/HTTP receiver. Default port 4318 on the host
    /// of `OTLP_GRPC_ADDR`, so `[::]:4318` if that is unset too; any free port if that one's is 0.
    pub otlp_http_addr: String,
    /// `--jaeger-http-addr`, `JAEGER_HTTP_ADDR`: the receiver of Jaeger's thrift over HTTP. Default
    /// port 14268, on the same terms as `OTLP_HTTP_ADDR`.
    pub jaeger_http_addr: String,
    /// `--data`, `DATA`: the folder to keep traces in. Default: `tracestore` in `XDG_DATA_HOME` or
    /// in `HOME/.local/share`. None with `--memory` (`MEMORY=true`), or if there is no home.
    pub data: Option<PathBuf>,
    /// `--max-memory`, `MAX_MEMORY`: memory for traces, in bytes or as `64MiB` (`KiB`, `MiB`,
    /// `GiB`). Default 256 MiB.
    pub max_memory: usize,
    /// `--max-request-size`, `MAX_REQUEST_SIZE`: what one request may take, before and after decompression, written
    /// likewise, at most 64 MiB. Default 16 MiB.
    pub max_request_size: usize,
    /// `--max-disk`, `MAX_DISK`: disk space for traces, written likewise. Default 2 GiB.
    pub max_disk: u64,
    /// `--max-age`, `MAX_AGE`: how long traces are kept, as `30m`, `24h` or `7d`. Default 7 days.
    pub max_age: Duration,
    /// `--max-log-memory`, `MAX_LOG_MEMORY`: memory for logs, written likewise. Default 64 MiB.
    pub max_log_memory: usize,
    /// `--max-log-disk`, `MAX_LOG_DISK`: disk space for logs, written likewise. Default 1 GiB.
    pub max_log_disk: u64,
    /// `--max-log-age`, `MAX_LOG_AGE`: how long logs are kept. Default that of traces.
    pub max_log_age: Duration,
    /// `--fsync`, `FSYNC`: `always`, or at most how long after it was written a request is on the
    /// medium, as `200ms` or `5s`. Default 200 ms.
    pub fsync: Fsync,
    /// `--allow-host` for each, or `ALLOW_HOSTS` with all of them, separated by commas: names under
    /// which browsers and clients may address the HTTP ports beside `localhost` and IP addresses.
    /// Default: none.
    pub allow_hosts: BTreeSet<String>,
    /// `--metrics-generator`, `METRICS_GENERATOR`: `true` or `false`, whether `/metrics` tells what
    /// spans tell of services. Default `true`.
    pub metrics_generator: bool,
    /// `--log`, `LOG`: `text` or `json`. Default `text`.
    pub log: Format,
    /// `--shutdown-delay`, `SHUTDOWN_DELAY`: for how long after a signal all is served on, while `/ready` already says that it
    /// stops, as `500ms` or `5s`. Default none.
    pub shutdown_delay: Duration,
}

/// All bad values at once: `--listen-addr: "7878" is not host:port; MAX_MEMORY: ...`.
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
    /// Reads the flags, and through `var` the variables of those that are not there.
    ///
    /// # Errors
    /// Names every flag and variable that cannot be used, and why.
    pub fn parse(
        flags: &Flags,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Config, ConfigError> {
        let mut mistakes = Vec::new();
        let mut settings = Settings {
            var: &var,
            mistakes: &mut mistakes,
        };
        let listen_addr = settings.address(flags.listen_addr.as_deref(), LISTEN_ADDR, "[::]:3200");
        let otlp_grpc_addr =
            settings.address(flags.otlp_grpc_addr.as_deref(), OTLP_GRPC_ADDR, "[::]:4317");
        let otlp_http_addr = settings.address(
            flags.otlp_http_addr.as_deref(),
            OTLP_HTTP_ADDR,
            &beside(&otlp_grpc_addr, 4318),
        );
        let jaeger_http_addr = settings.address(
            flags.jaeger_http_addr.as_deref(),
            JAEGER_HTTP_ADDR,
            &beside(&otlp_grpc_addr, 14268),
        );
        let data = settings.data(flags);
        let wanted = "a size above 0 such as 1000000 or 64MiB";
        let max_memory = settings.value(flags.max_memory.as_deref(), MAX_MEMORY, wanted, size);
        let at_most = "a size above 0 and at most 64MiB";
        let max_request_size = settings.value(
            flags.max_request_size.as_deref(),
            MAX_REQUEST_SIZE,
            at_most,
            |value| size(value).filter(|size| *size <= MOST_REQUEST_SIZE),
        );
        let max_disk = settings.value(flags.max_disk.as_deref(), MAX_DISK, wanted, size);
        let flag = flags.max_log_memory.as_deref();
        let max_log_memory = settings.value(flag, MAX_LOG_MEMORY, wanted, size);
        let flag = flags.max_log_disk.as_deref();
        let max_log_disk = settings.value(flag, MAX_LOG_DISK, wanted, size);
        let wanted = "a time above 0 such as 30m, 24h or 7d";
        let max_age = settings.value(flags.max_age.as_deref(), MAX_AGE, wanted, duration);
        let max_age = max_age.unwrap_or(Duration::from_secs(7 * 24 * 3600));
        let flag = flags.max_log_age.as_deref();
        let max_log_age = settings.value(flag, MAX_LOG_AGE, wanted, duration);
        let wanted = "`always` or a time such as 200ms";
        let fsync = settings.value(flags.fsync.as_deref(), FSYNC, wanted, parse_fsync);
        let allow_hosts = settings.hosts(&flags.allow_host);
        let metrics_generator = settings.value(
            flags.metrics_generator.as_deref(),
            METRICS_GENERATOR,
            TRUTH,
            truth,
        );
        let wanted = "`text` or `json`";
        let log = settings.value(flags.log.as_deref(), LOG, wanted, |value| match value {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        });
        let wanted = "a time above 0 such as 500ms or 5s";
        let flag = flags.shutdown_delay.as_deref();
        let shutdown_delay = settings.value(flag, SHUTDOWN_DELAY, wanted, duration);
        if !mistakes.is_empty() {
            return Err(ConfigError { mistakes });
        }
        Ok(Config {
            listen_addr,
            otlp_grpc_addr,
            otlp_http_addr,
            jaeger_http_addr,
            data,
            max_memory: max_memory.unwrap_or(256 << 20),
            max_request_size: max_request_size.unwrap_or(DEFAULT_REQUEST_SIZE),
            max_disk: max_disk.map_or(2 << 30, |bytes| bytes as u64),
            max_age,
            max_log_memory: max_log_memory.unwrap_or(64 << 20),
            max_log_disk: max_log_disk.map_or(1 << 30, |bytes| bytes as u64),
            max_log_age: max_log_age.unwrap_or(max_age),
            fsync: fsync.unwrap_or_default(),
            allow_hosts,
            metrics_generator: metrics_generator.unwrap_or(true),
            log: log.unwrap_or_default(),
            shutdown_delay: shutdown_delay.unwrap_or_default(),
        })
    }
}

/// Bytes of a request, if nothing else is said. The specification of OTLP advises 64 MiB. Eight requests of that size at once
/// would take 2.5 GiB here; what SDKs and collectors send unless they are told otherwise is a tenth of 16 MiB, or less.
const DEFAULT_REQUEST_SIZE: usize = 16 << 20;

/// What the log takes.
const MOST_REQUEST_SIZE: usize = 64 << 20;

/// How a setting is called.
#[derive(Clone, Copy)]
struct Name {
    flag: &'static str,
    variable: &'static str,
}

const fn name(flag: &'static str, variable: &'static str) -> Name {
    Name { flag, variable }
}

const LISTEN_ADDR: Name = name("--listen-addr", "LISTEN_ADDR");
const OTLP_GRPC_ADDR: Name = name("--otlp-grpc-addr", "OTLP_GRPC_ADDR");
const OTLP_HTTP_ADDR: Name = name("--otlp-http-addr", "OTLP_HTTP_ADDR");
const JAEGER_HTTP_ADDR: Name = name("--jaeger-http-addr", "JAEGER_HTTP_ADDR");
const DATA: Name = name("--data", "DATA");
const MEMORY: Name = name("--memory", "MEMORY");
const MAX_MEMORY: Name = name("--max-memory", "MAX_MEMORY");
const MAX_REQUEST_SIZE: Name = name("--max-request-size", "MAX_REQUEST_SIZE");
const MAX_DISK: Name = name("--max-disk", "MAX_DISK");
const MAX_AGE: Name = name("--max-age", "MAX_AGE");
const MAX_LOG_MEMORY: Name = name("--max-log-memory", "MAX_LOG_MEMORY");
const MAX_LOG_DISK: Name = name("--max-log-disk", "MAX_LOG_DISK");
const MAX_LOG_AGE: Name = name("--max-log-age", "MAX_LOG_AGE");
const FSYNC: Name = name("--fsync", "FSYNC");
const ALLOW_HOSTS: Name = name("--allow-host", "ALLOW_HOSTS");
const METRICS_GENERATOR: Name = name("--metrics-generator", "METRICS_GENERATOR");
const LOG: Name = name("--log", "LOG");
const SHUTDOWN_DELAY: Name = name("--shutdown-delay", "SHUTDOWN_DELAY");

/// Where values come from, and what is wrong with them.
struct Settings<'a> {
    var: &'a dyn Fn(&str) -> Option<OsString>,
    mistakes: &'a mut Vec<String>,
}

impl Settings<'_> {
    /// What is set, and by what.
    fn raw(&self, flag: Option<&OsStr>, name: Name) -> Option<(&'static str, OsString)> {
        match flag {
            Some(value) => Some((name.flag, value.to_owned())),
            None => Some((name.variable, self.variable(name.variable)?)),
        }
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    fn mistake(&mut self, by: &str, value: &OsStr, wanted: &str) {
        // What is not Unicode is shown as far as it is.
        let value = value.to_string_lossy();
        self.mistakes
            .push(format!("{by}: {value:?} is not {wanted}"));
    }

    /// `None` if it is not set, or not as it must be.
    fn value<T>(
        &mut self,
        flag: Option<&OsStr>,
        name: Name,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (by, value) = self.raw(flag, name)?;
        let read = value.to_str().and_then(read);
        if read.is_none() {
            self.mistake(by, &value, wanted);
        }
        read
    }

    fn address(&mut self, flag: Option<&OsStr>, name: Name, default: &str) -> String {
        let read = |value: &str| host_and_port(value).map(|_| value.to_owned());
        self.value(flag, name, "host:port", read)
            .unwrap_or_else(|| default.to_owned())
    }

    /// A flag goes before both variables.
    fn data(&mut self, flags: &Flags) -> Option<PathBuf> {
        let by_variable = self.value(None, MEMORY, TRUTH, truth);
        if let Some(data) = &flags.data {
            if flags.memory {
                self.contradiction(MEMORY.flag, DATA.flag, data);
            } else if data.is_empty() {
                self.mistake(DATA.flag, data, "a folder");
            }
            return Some(PathBuf::from(data));
        }
        if flags.memory {
            return None;
        }
        let data = self.variable(DATA.variable);
        match (by_variable, data) {
            (Some(true), Some(data)) => {
                self.contradiction(MEMORY.variable, DATA.variable, &data);
                None
            }
            (Some(true), None) => None,
            (_, Some(data)) => Some(PathBuf::from(data)),
            (_, None) => self.home(),
        }
    }

    fn contradiction(&mut self, memory: &str, data: &str, value: &OsStr) {
        let value = value.to_string_lossy();
        self.mistakes.push(format!(
            "{memory} contradicts {data} {value:?}: traces are kept either in memory only or there"
        ));
    }

    /// <https://specifications.freedesktop.org/basedir-spec/latest/>: a relative path is none.
    fn home(&self) -> Option<PathBuf> {
        let absolute = |name: &str| {
            let path = PathBuf::from(self.variable(name)?);
            path.is_absolute().then_some(path)
        };
        let home = || absolute("HOME").map(|home| home.join(Path::new(".local/share")));
        let share = absolute("XDG_DATA_HOME").or_else(home)?;
        Some(share.join("tracestore"))
    }

    fn hosts(&mut self, flags: &[OsString]) -> BTreeSet<String> {
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_host_byte);
        let mut hosts = BTreeSet::new();
        for flag in flags {
            match flag.to_str().filter(|name| is_name(name)) {
                Some(name) => drop(hosts.insert(name.to_ascii_lowercase())),
                None => self.mistake(ALLOW_HOSTS.flag, flag, "a host name without a port"),
            }
        }
        if !flags.is_empty() {
            return hosts;
        }
        let wanted = "a list of host names without ports, separated by commas";
        let listed = self.value(None, ALLOW_HOSTS, wanted, |list| {
            let names = list
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            let known = |name: &str| is_name(name).then(|| name.to_ascii_lowercase());
            names.map(known).collect::<Option<BTreeSet<_>>>()
        });
        listed.unwrap_or_default()
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

const TRUTH: &str = "`true` or `false`";

fn truth(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
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

fn duration(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (!duration.is_zero()).then_some(duration)
}

fn parse_fsync(value: &str) -> Option<Fsync> {
    match value {
        "always" => Some(Fsync::Always),
        value => duration(value).map(Fsync::Within),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::{CommandFactory, Parser};

    use super::*;

    /// With these arguments after the name, and these variables.
    fn parse_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        let var = |wanted: &str| {
            let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
            Some(OsString::from(value))
        };
        let line = CommandLine::try_parse_from([&["tracestore"], arguments].concat());
        Config::parse(&line.unwrap().flags, var).map_err(|error| error.to_string())
    }

    fn parse(variables: &[(&str, &str)]) -> Result<Config, String> {
        parse_with(&[], variables)
    }

    fn defaults() -> Config {
        Config {
            listen_addr: "[::]:3200".to_owned(),
            otlp_grpc_addr: "[::]:4317".to_owned(),
            otlp_http_addr: "[::]:4318".to_owned(),
            jaeger_http_addr: "[::]:14268".to_owned(),
            data: None,
            max_memory: 256 << 20,
            max_request_size: 16 << 20,
            max_disk: 2 << 30,
            max_age: Duration::from_secs(604_800),
            max_log_memory: 64 << 20,
            max_log_disk: 1 << 30,
            max_log_age: Duration::from_secs(604_800),
            fsync: Fsync::Within(Duration::from_millis(200)),
            allow_hosts: BTreeSet::new(),
            metrics_generator: true,
            log: Format::Text,
            shutdown_delay: Duration::ZERO,
        }
    }

    const VARIABLES: [&str; 18] = [
        "LISTEN_ADDR",
        "OTLP_GRPC_ADDR",
        "OTLP_HTTP_ADDR",
        "JAEGER_HTTP_ADDR",
        "DATA",
        "MEMORY",
        "MAX_MEMORY",
        "MAX_REQUEST_SIZE",
        "MAX_DISK",
        "MAX_AGE",
        "MAX_LOG_MEMORY",
        "MAX_LOG_DISK",
        "MAX_LOG_AGE",
        "FSYNC",
        "ALLOW_HOSTS",
        "METRICS_GENERATOR",
        "LOG",
        "SHUTDOWN_DELAY",
    ];

    #[test]
    fn nothing_set_or_set_to_nothing_means_the_defaults() {
        assert_eq!(parse(&[]), Ok(defaults()));
        assert_eq!(parse(&VARIABLES.map(|name| (name, ""))), Ok(defaults()));
    }

    fn everything() -> Config {
        Config {
            listen_addr: "127.0.0.1:80".to_owned(),
            otlp_grpc_addr: "localhost:0".to_owned(),
            otlp_http_addr: "[::1]:1".to_owned(),
            jaeger_http_addr: "0.0.0.0:2".to_owned(),
            data: Some("traces".into()),
            max_memory: 64 << 20,
            max_request_size: 4 << 20,
            max_disk: 3 << 30,
            max_age: Duration::from_secs(1800),
            max_log_memory: 16 << 20,
            max_log_disk: 2 << 30,
            max_log_age: Duration::from_secs(3600),
            fsync: Fsync::Always,
            allow_hosts: ["tracestore", "traces.example.org"]
                .map(str::to_owned)
                .into(),
            metrics_generator: false,
            log: Format::Json,
            shutdown_delay: Duration::from_secs(5),
        }
    }

    #[test]
    fn every_variable_is_read() {
        let config = parse(&[
            ("LISTEN_ADDR", "127.0.0.1:80"),
            ("OTLP_GRPC_ADDR", "localhost:0"),
            ("OTLP_HTTP_ADDR", "[::1]:1"),
            ("JAEGER_HTTP_ADDR", "0.0.0.0:2"),
            ("DATA", "traces"),
            ("MAX_MEMORY", "64MiB"),
            ("MAX_REQUEST_SIZE", "4MiB"),
            ("MAX_DISK", "3GiB"),
            ("MAX_AGE", "30m"),
            ("MAX_LOG_MEMORY", "16MiB"),
            ("MAX_LOG_DISK", "2GiB"),
            ("MAX_LOG_AGE", "1h"),
            ("FSYNC", "always"),
            ("ALLOW_HOSTS", "tracestore, Traces.Example.org,"),
            ("METRICS_GENERATOR", "false"),
            ("LOG", "json"),
            ("SHUTDOWN_DELAY", "5s"),
        ]);
        assert_eq!(config, Ok(everything()));
    }

    #[test]
    fn every_flag_is_read_and_goes_before_its_variable() {
        let flags = [
            "--listen-addr=127.0.0.1:80",
            "--otlp-grpc-addr=localhost:0",
            "--otlp-http-addr=[::1]:1",
            "--jaeger-http-addr=0.0.0.0:2",
            "--data=traces",
            "--max-memory=64MiB",
            "--max-request-size=4MiB",
            "--max-disk=3GiB",
            "--max-age=30m",
            "--max-log-memory=16MiB",
            "--max-log-disk=2GiB",
            "--max-log-age=1h",
            "--fsync=always",
            "--allow-host=tracestore",
            "--allow-host=Traces.Example.org",
            "--metrics-generator=false",
            "--log=json",
            "--shutdown-delay=5s",
        ];
        // `MEMORY` alone is judged beside its flag.
        let overruled = VARIABLES.map(|name| match name {
            "MEMORY" => (name, "true"),
            _ => (name, "/?"),
        });
        assert_eq!(parse_with(&flags, &overruled), Ok(everything()));
    }

    #[test]
    fn traces_are_kept_at_home_unless_told_otherwise() {
        let home = ("HOME", "/home/me");
        for (arguments, variables, data) in [
            (
                &[][..],
                &[home][..],
                Some("/home/me/.local/share/tracestore"),
            ),
            (&[], &[home, ("XDG_DATA_HOME", "/x")], Some("/x/tracestore")),
            (
                &[],
                &[home, ("XDG_DATA_HOME", "relative")],
                Some("/home/me/.local/share/tracestore"),
            ),
            (&[], &[("HOME", "")], None),
            (&["--memory"], &[home, ("DATA", "d")], None),
            (&[], &[home, ("MEMORY", "true")], None),
            (&[], &[home, ("MEMORY", "0"), ("DATA", "d")], Some("d")),
            (&["--data", "d"], &[home, ("MEMORY", "1")], Some("d")),
        ] {
            let config = parse_with(arguments, variables).unwrap();
            assert_eq!(
                config.data,
                data.map(PathBuf::from),
                "{arguments:?} {variables:?}"
            );
        }
    }

    #[test]
    fn to_keep_traces_in_memory_only_and_in_a_folder_is_a_contradiction() {
        let error = |by: &str, folder: &str| {
            Err(format!(
                "{by} contradicts {folder} \"d\": traces are kept either in memory only or there"
            ))
        };
        assert_eq!(
            parse_with(&["--memory", "--data", "d"], &[]),
            error("--memory", "--data")
        );
        assert_eq!(
            parse(&[("MEMORY", "true"), ("DATA", "d")]),
            error("MEMORY", "DATA")
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
        let error = parse_with(
            &[
                "--listen-addr=3200",
                "--allow-host=a:1",
                "--data=",
                "--fsync=",
            ],
            &[
                ("LISTEN_ADDR", "7878"),
                ("OTLP_GRPC_ADDR", "localhost:65536"),
                ("OTLP_HTTP_ADDR", "4318"),
                ("JAEGER_HTTP_ADDR", "::1:14268"),
                ("MEMORY", "much"),
                ("MAX_MEMORY", "0"),
                ("MAX_DISK", "2GB"),
                ("MAX_AGE", "a week"),
                ("FSYNC", "always"),
                ("METRICS_GENERATOR", "on"),
                ("LOG", "xml"),
                ("SHUTDOWN_DELAY", "0"),
            ],
        );
        let expected = [
            "--listen-addr: \"3200\" is not host:port",
            "OTLP_GRPC_ADDR: \"localhost:65536\" is not host:port",
            "OTLP_HTTP_ADDR: \"4318\" is not host:port",
            "JAEGER_HTTP_ADDR: \"::1:14268\" is not host:port",
            "MEMORY: \"much\" is not `true` or `false`",
            "--data: \"\" is not a folder",
            "MAX_MEMORY: \"0\" is not a size above 0 such as 1000000 or 64MiB",
            "MAX_DISK: \"2GB\" is not a size above 0 such as 1000000 or 64MiB",
            "MAX_AGE: \"a week\" is not a time above 0 such as 30m, 24h or 7d",
            "--fsync: \"\" is not `always` or a time such as 200ms",
            "--allow-host: \"a:1\" is not a host name without a port",
            "METRICS_GENERATOR: \"on\" is not `true` or `false`",
            "LOG: \"xml\" is not `text` or `json`",
            "SHUTDOWN_DELAY: \"0\" is not a time above 0 such as 500ms or 5s",
        ];
        assert_eq!(error, Err(expected.join("; ")));
        let error = parse(&[("ALLOW_HOSTS", "http://x")]);
        let expected = "ALLOW_HOSTS: \"http://x\" is not a list of host names without ports, \
                        separated by commas";
        assert_eq!(error, Err(expected.to_owned()));
    }

    #[test]
    fn a_value_that_is_not_unicode_is_a_mistake_but_a_folder_may_be_called_anything() {
        let odd = || OsString::from_vec(b"\xff".to_vec());
        let config = Config::parse(&Flags::default(), |name| (name == "DATA").then(odd));
        assert_eq!(config.unwrap().data, Some(PathBuf::from(odd())));
        let error = Config::parse(&Flags::default(), |name| (name == "LOG").then(odd));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "LOG: \"\u{fffd}\" is not `text` or `json`");
    }

    #[test]
    fn the_help_names_the_variable_and_the_default_of_every_flag() {
        let help = CommandLine::command().render_long_help().to_string();
        let paragraphs: Vec<_> = help.split("\n      --").skip(1).collect();
        for name in [
            LISTEN_ADDR,
            OTLP_GRPC_ADDR,
            OTLP_HTTP_ADDR,
            JAEGER_HTTP_ADDR,
            DATA,
            MEMORY,
            MAX_MEMORY,
            MAX_DISK,
            MAX_AGE,
            MAX_LOG_MEMORY,
            MAX_LOG_DISK,
            MAX_LOG_AGE,
            FSYNC,
            ALLOW_HOSTS,
            METRICS_GENERATOR,
            LOG,
            SHUTDOWN_DELAY,
        ] {
            let flag = name.flag.trim_start_matches('-');
            let of_flag = |text: &&&str| text.split_whitespace().next() == Some(flag);
            let text = paragraphs.iter().find(of_flag).expect(flag);
            assert!(text.contains(&format!("[env: {}", name.variable)), "{text}");
            let has_default = text.contains("[default: ");
            assert_eq!(
                has_default,
                !["memory", "allow-host"].contains(&flag),
                "{text}"
            );
        }
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
