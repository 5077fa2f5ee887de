//! What the process uses, as Linux tells it when it is asked.
//!
//! The names are those of Prometheus' own libraries, which dashboards and alerts know; the conventions have only drafts.

use std::fmt;

use procfs::{WithCurrentSystemInfo, process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    /// Leaves out what the system does not tell.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut show = |name, help, unit: Option<&Unit>, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        let Ok(process) = process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
            let resident = ConstGauge::new(stat.rss_bytes().get() as f64);
            let virtual_memory = ConstGauge::new(stat.vsize as f64);
            let threads = ConstGauge::new(stat.num_threads);
            let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
            show(
                "process_cpu",
                "Processor time that was used.",
                seconds,
                &cpu,
            )?;
            show(
                "process_resident_memory",
                "Memory that is in use now.",
                bytes,
                &resident,
            )?;
            show(
                "process_virtual_memory",
                "Addresses that are in use now.",
                bytes,
                &virtual_memory,
            )?;
            show(
                "process_threads",
                "Threads that there are now.",
                None,
                &threads,
            )?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = ConstGauge::new(boot as f64 + stat.starttime as f64 / ticks);
                let help = "When the process started, since the Unix epoch.";
                show("process_start_time", help, seconds, &start)?;
            }
        }
        if let Ok(open) = process.fd_count() {
            let open = ConstGauge::new(i64::try_from(open).unwrap_or(i64::MAX));
            show(
                "process_open_fds",
                "File descriptors that are open.",
                None,
                &open,
            )?;
        }
        if let Ok(limits) = process.limits()
            && let process::LimitValue::Value(max) = limits.max_open_files.soft_limit
        {
            let max = ConstGauge::new(i64::try_from(max).unwrap_or(i64::MAX));
            show(
                "process_max_fds",
                "File descriptors that may be open.",
                None,
                &max,
            )?;
        }
        Ok(())
    }
}
