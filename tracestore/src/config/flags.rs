//! The command line, as it is written: what the values mean is decided beside the environment.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

/// Takes traces over OTLP and from Jaeger clients, and logs over OTLP, keeps them within bounds, and shows them
///
/// Send to it what your application exports: OTLP over gRPC on port 4317, OTLP over HTTP on port
/// 4318, Jaeger's thrift over HTTP on port 14268. Look at the traces at http://localhost:3200/, or
/// ask as you would ask Tempo, whose HTTP API is there too.
///
/// A flag goes before its variable, and an empty variable counts as unset. Where a port is taken, a
/// free one is used; the addresses that hold are printed.
#[derive(Debug, Parser)]
#[command(name = "tracestore", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) flags: Flags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Subcommand)]
pub(crate) enum Command {
    /// Ask the server that runs with the same settings whether it is ready: exit status 0 if so
    Healthcheck,
}

/// What flags say, before anybody has judged it: all mistakes are to be named at once, and a value
/// of clap's would end the reading at the first.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Where the page and Tempo's HTTP API are
    ///
    /// [env: LISTEN_ADDR] [default: [::]:3200]
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub(crate) listen_addr: Option<OsString>,

    /// Where OTLP over gRPC is received
    ///
    /// [env: OTLP_GRPC_ADDR] [default: [::]:4317]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) otlp_grpc_addr: Option<OsString>,

    /// Where OTLP over HTTP is received
    ///
    /// [env: OTLP_HTTP_ADDR] [default: port 4318 on the host of --otlp-grpc-addr]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) otlp_http_addr: Option<OsString>,

    /// Where Jaeger's thrift over HTTP is received
    ///
    /// [env: JAEGER_HTTP_ADDR] [default: port 14268 on the host of --otlp-grpc-addr]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) jaeger_http_addr: Option<OsString>,

    /// The folder to keep traces and logs in; it is made if it is missing, and only one process can use it
    ///
    /// [env: DATA] [default: $XDG_DATA_HOME/tracestore, or ~/.local/share/tracestore; if there is no
    /// home folder, traces are kept in memory only]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<OsString>,

    /// Keep traces and logs in memory only: they end with the process
    ///
    /// [env: MEMORY=true]
    #[arg(long)]
    pub(crate) memory: bool,

    /// Memory for traces, in bytes or with KiB, MiB or GiB
    ///
    /// All of them if they are kept in memory only, else those that are not on disk yet and what
    /// searches read. Requests that are being received and answers that are being made come on top.
    /// [env: MAX_MEMORY] [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_memory: Option<OsString>,

    /// What one request may take, before and after decompression, in bytes or with KiB or MiB: at most 64MiB
    ///
    /// Eight requests are kept at once, and each may take five times that much meanwhile. The specification of OTLP advises
    /// 64MiB; what SDKs and collectors send unless they are told otherwise takes some hundred KiB.
    /// [env: MAX_REQUEST_SIZE] [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_request_size: Option<OsString>,

    /// Disk space for traces, in bytes or with KiB, MiB or GiB: the oldest are removed beyond it
    ///
    /// [env: MAX_DISK] [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_disk: Option<OsString>,

    /// How long traces are kept, in s, m, h or d
    ///
    /// [env: MAX_AGE] [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<OsString>,

    /// Memory for logs, written likewise; those that come over OTLP are kept beside the traces
    ///
    /// All of them if they are kept in memory only, else those that are not on disk yet, what searches read, and some bytes
    /// for each record to find it by. [env: MAX_LOG_MEMORY] [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_log_memory: Option<OsString>,

    /// Disk space for logs: the oldest are removed beyond it, and never for a trace
    ///
    /// [env: MAX_LOG_DISK] [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_log_disk: Option<OsString>,

    /// How long logs are kept, in s, m, h or d
    ///
    /// [env: MAX_LOG_AGE] [default: that of --max-age]
    #[arg(long, value_name = "TIME")]
    pub(crate) max_log_age: Option<OsString>,

    /// When a request is on the medium: `always` before it is acknowledged, or a time in ms or s
    ///
    /// A crash of the process loses nothing that was acknowledged either way. A crash of the machine
    /// or a power failure loses the last so many milliseconds, unless it is `always`.
    /// [env: FSYNC] [default: 200ms]
    #[arg(long, value_name = "always|TIME")]
    pub(crate) fsync: Option<OsString>,

    /// Another name under which browsers and clients reach the HTTP ports; may be repeated
    ///
    /// `localhost`, what ends in `.localhost`, and IP addresses are allowed anyway. All other names
    /// are refused with status 421, because a stranger's page could give itself one that leads here.
    /// [env: ALLOW_HOSTS, separated by commas]
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<OsString>,

    /// Whether `/metrics` tells what spans tell of services and of the calls between them
    ///
    /// The names are those of Tempo's metrics generator: a Prometheus that scrapes them gives Grafana its
    /// service map. [env: METRICS_GENERATOR] [default: true]
    #[arg(long, value_name = "true|false")]
    pub(crate) metrics_generator: Option<OsString>,

    /// How the log is written: `text` for people, `json` for machines, one object per line
    ///
    /// [env: LOG] [default: text]
    #[arg(long, value_name = "text|json")]
    pub(crate) log: Option<OsString>,

    /// For how long after a signal all is served on, while /ready already says that it stops, in ms, s or m
    ///
    /// Whoever distributes requests has that time to send them elsewhere. [env: SHUTDOWN_DELAY] [default: none]
    #[arg(long, value_name = "TIME")]
    pub(crate) shutdown_delay: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  tracestore                                    for any application on this machine
  tracestore --listen-addr 127.0.0.1:3200 --otlp-grpc-addr 127.0.0.1:4317
                                                and for nobody else
  tracestore --memory --max-memory 64MiB        nothing on disk
  tracestore --data /var/lib/traces --fsync always --max-disk 20GiB --max-age 30d
                                                nothing lost, for a month
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 your-application
                                                what most SDKs of OpenTelemetry need to be told";
