#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tracestore::fuzz::traceql_print(bytes));
