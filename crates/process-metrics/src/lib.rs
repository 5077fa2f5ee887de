//! What every part shows at `/metrics` of itself: its process, and the runtime of its tasks.

#[cfg(target_os = "linux")]
mod process;
mod runtime;

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

/// Shows memory, processor time, threads, open files and the start of the process as `process_*` on Linux, and, where a runtime
/// of Tokio is current, its threads and tasks as `tokio_*`. All are asked for when they are shown.
pub fn register(registry: &mut Registry) {
    #[cfg(target_os = "linux")]
    registry.register_collector(Box::new(process::Process));
    if let Ok(handle) = Handle::try_current() {
        registry.register_collector(Box::new(runtime::Runtime(handle)));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn shown() -> String {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        shown
    }

    fn value(shown: &str, name: &str) -> f64 {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.expect(shown).trim().parse().unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_shown_as_it_is_now() {
        let shown = shown();
        assert!(value(&shown, "process_resident_memory_bytes ") > 1e5);
        assert!(value(&shown, "process_start_time_seconds ") > 1.7e9);
        assert!(value(&shown, "process_open_fds ") >= 3.0);
        assert!(value(&shown, "process_cpu_seconds_total ") >= 0.0);
        assert!(!shown.contains("tokio_"), "{shown}");
    }

    #[tokio::test]
    async fn tasks_are_counted_while_they_are_alive() {
        let (_end, ended) = tokio::sync::oneshot::channel::<()>();
        let before = value(&shown(), "tokio_alive_tasks ");
        tokio::spawn(ended);
        assert_eq!(value(&shown(), "tokio_alive_tasks "), before + 1.0);
        assert_eq!(value(&shown(), "tokio_workers "), 1.0);
    }
}
