//! Series.

use serde::Serialize;

use super::{
    search::SearchMetrics,
    values::{Attributes, JsonDouble, Text},
};
use crate::span::{Double, KeyValue};

/// `tempopb.QueryRangeResponse`.
#[derive(Serialize)]
pub(crate) struct QueryRangeResponse<'a> {
    series: Vec<TimeSeries<'a>>,
    metrics: SearchMetrics,
    #[serde(flatten)]
    partial: Partial<'a>,
}

#[derive(Serialize)]
struct TimeSeries<'a> {
    labels: Attributes<'a>,
    samples: Vec<Sample>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exemplars: Vec<Exemplar<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exemplar<'a> {
    labels: Attributes<'a>,
    value: JsonDouble,
    timestamp_ms: Text<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    timestamp_ms: Text<u64>,
    #[serde(skip_serializing_if = "JsonDouble::is_zero")]
    value: JsonDouble,
}

impl<'a> QueryRangeResponse<'a> {
    pub(crate) fn new(charted: &'a Charted) -> QueryRangeResponse<'a> {
        let series = charted.series.iter().map(|series| {
            let samples = series.values.iter().zip(&charted.timestamps);
            let samples = samples.filter(|(value, _)| !value.is_nan());
            let samples = samples.map(|(value, timestamp)| Sample {
                timestamp_ms: Text(*timestamp),
                value: JsonDouble(Double(*value)),
            });
            let exemplars = series.exemplars.iter().map(|exemplar| Exemplar {
                labels: Attributes(&exemplar.labels),
                value: JsonDouble(Double(exemplar.value)),
                timestamp_ms: Text(exemplar.timestamp_ms),
            });
            TimeSeries {
                labels: Attributes(&series.labels),
                samples: samples.collect(),
                exemplars: exemplars.collect(),
            }
        });
        QueryRangeResponse {
            series: series.collect(),
            metrics: SearchMetrics::ONE_JOB,
            partial: Partial::new(charted),
        }
    }
}

/// `tempopb.QueryInstantResponse`.
#[derive(Serialize)]
pub(crate) struct QueryInstantResponse<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<InstantSeries<'a>>,
    metrics: SearchMetrics,
    #[serde(flatten)]
    partial: Partial<'a>,
}

#[derive(Serialize)]
struct InstantSeries<'a> {
    labels: Attributes<'a>,
    #[serde(skip_serializing_if = "JsonDouble::is_zero")]
    value: JsonDouble,
}

impl<'a> QueryInstantResponse<'a> {
    /// Of the first point of each series.
    pub(crate) fn new(charted: &'a Charted) -> QueryInstantResponse<'a> {
        let series = charted.series.iter().filter_map(|series| {
            let value = series.values.iter().find(|value| !value.is_nan())?;
            Some(InstantSeries {
                labels: Attributes(&series.labels),
                value: JsonDouble(Double(*value)),
            })
        });
        QueryInstantResponse {
            series: series.collect(),
            metrics: SearchMetrics::ONE_JOB,
            partial: Partial::new(charted),
        }
    }
}

/// Nothing, if nothing is missing.
#[derive(Serialize)]
struct Partial<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Partial<'a> {
    fn new(charted: &'a Charted) -> Partial<'a> {
        let message = charted.partial.as_deref();
        Partial {
            status: message.map(|_| "PARTIAL"),
            message,
        }
    }
}

/// What a metrics query is answered.
#[derive(Debug)]
pub(crate) struct Charted {
    pub(crate) series: Vec<LabeledSeries>,
    /// When the intervals of all series end, in milliseconds since the Unix epoch.
    pub(crate) timestamps: Vec<u64>,
    /// What is missing.
    pub(crate) partial: Option<String>,
}

/// A series with labels as they are written.
#[derive(Debug)]
pub(crate) struct LabeledSeries {
    pub(crate) labels: Vec<KeyValue<'static>>,
    /// NaN is no point.
    pub(crate) values: Vec<f64>,
    pub(crate) exemplars: Vec<LabeledExemplar>,
}

/// A span that a series counted.
#[derive(Debug)]
pub(crate) struct LabeledExemplar {
    pub(crate) labels: Vec<KeyValue<'static>>,
    pub(crate) value: f64,
    /// Since the Unix epoch.
    pub(crate) timestamp_ms: u64,
}
