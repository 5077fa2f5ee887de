#![no_main]

#[path = "../../crates/uber-trace-id/tests/it/promises.rs"]
#[allow(dead_code, reason = "there is another target")]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::uber_trace_id(bytes));
