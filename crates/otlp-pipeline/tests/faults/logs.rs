//! Log records on their way to a collector.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use faults::{Answer, Collector, Failure};
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use otlp_pipeline::{Compression, Config, FlushError, LogPipeline, Pipeline, Protocol};

use crate::{LONG, PROTOCOLS, config, end_spans, once, provider};

const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

fn to(protocol: Protocol, collector: &Collector) -> Config {
    let mut config = config(protocol, collector.address());
    if protocol == Protocol::HttpProtobuf {
        config.endpoint = collector.http_logs_endpoint();
    }
    config
}

fn loggers(pipeline: &LogPipeline) -> SdkLoggerProvider {
    SdkLoggerProvider::builder()
        .with_log_processor(pipeline.processor())
        .build()
}

fn log(provider: &SdkLoggerProvider, numbers: std::ops::Range<i64>) {
    let logger = provider.logger("scope");
    for number in numbers {
        let mut record = logger.create_log_record();
        record.set_body(AnyValue::Int(number));
        logger.emit(record);
    }
}

/// The numbers that were taken, in their order.
fn taken(collector: &Collector) -> Vec<i64> {
    let exports = collector.exports();
    let taken = exports.iter().filter(|export| export.taken());
    let records = taken.flat_map(faults::Export::log_records);
    let numbers = records.map(|record| match record.body.as_ref().unwrap().value {
        Some(Value::IntValue(number)) => number,
        ref other => panic!("{other:?}"),
    });
    numbers.collect()
}

#[test]
fn log_records_arrive_over_both_protocols_though_the_collector_fails_at_first() {
    for protocol in PROTOCOLS {
        for compression in [Compression::None, Compression::Gzip] {
            let failed = AtomicBool::new(false);
            let collector = Collector::start(move |_| {
                if failed.swap(true, Relaxed) {
                    Answer::Accept
                } else {
                    Answer::Fail(Failure::unavailable())
                }
            });
            let mut config = to(protocol, &collector);
            config.compression = compression;
            let pipeline = LogPipeline::start(config).unwrap();
            log(&loggers(&pipeline), 0..100);
            pipeline.shutdown(LONG).unwrap();
            assert_eq!(taken(&collector), Vec::from_iter(0..100));
            assert_eq!(pipeline.accounts().exported, 100);
            let path = match protocol {
                Protocol::Grpc => METHOD,
                _ => "/v1/logs",
            };
            for export in collector.exports() {
                assert_eq!(export.path, path);
                assert_eq!(export.compressed, compression == Compression::Gzip);
            }
        }
    }
}

#[test]
fn a_collector_that_does_not_know_log_records_costs_them_alone() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|export| {
            let of_logs = export.log_records().next().is_some();
            match of_logs {
                true => Answer::Fail(Failure::new(12, 404, "unknown service")),
                false => Answer::Accept,
            }
        });
        let logs = LogPipeline::start(to(protocol, &collector)).unwrap();
        let spans = Pipeline::start(config(protocol, collector.address())).unwrap();
        // Held, since a provider that is dropped flushes, and is told of the loss.
        let loggers = loggers(&logs);
        log(&loggers, 0..10);
        end_spans(&provider(&spans), 0..10);
        spans.shutdown(LONG).unwrap();
        assert_eq!(collector.taken(), once(0..10));
        let Err(FlushError::Undelivered(told)) = logs.shutdown(LONG) else {
            panic!("they were refused");
        };
        assert_eq!((told.dropped.refused, told.total()), (10, 10), "{told}");
        assert!(told.cause.unwrap().contains("unknown service"));
    }
}

#[test]
fn log_records_that_the_collector_rejects_are_counted() {
    for protocol in PROTOCOLS {
        let collector = Collector::start(|_| Answer::Partial(2, "too old".to_owned()));
        let mut config = to(protocol, &collector);
        config.max_batch_size = None;
        config.schedule_delay = LONG;
        let pipeline = LogPipeline::start(config).unwrap();
        let loggers = loggers(&pipeline);
        log(&loggers, 0..5);
        let told = pipeline.shutdown(LONG).unwrap_err().to_string();
        let text = "2 log records were not delivered: 2 rejected by the collector (too old)";
        assert_eq!(told, text);
        assert_eq!(pipeline.accounts().exported, 3);
    }
}

#[test]
fn an_endpoint_over_http_is_the_whole_url_for_log_records() {
    let mut config = Config::default();
    config.protocol = Protocol::HttpProtobuf;
    let told = LogPipeline::start(config).unwrap_err().to_string();
    let text =
        "endpoint: `http://localhost:4317` has no path to post to: that of a collector is /v1/logs";
    assert_eq!(told, text);
}
