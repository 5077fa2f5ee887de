//! Inputs of the fuzz targets in `fuzz/`: what they found once stays mended, without a fuzzer.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

#[path = "it/promises.rs"]
mod promises;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Runs the target on each of its inputs, and on what is left of them when they break off or one byte is another.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let check = |input: &[u8], how: &str| {
            let ran = catch_unwind(AssertUnwindSafe(|| run(input)));
            assert!(ran.is_ok(), "{} {how}", path.display());
        };
        check(&input, "as it is");
        for at in 0..input.len() {
            check(&input[..at], &format!("cut off at {at}"));
            let mut changed = input.clone();
            changed[at] ^= [1, 0x80, 0xff][at % 3];
            check(&changed, &format!("with another byte at {at}"));
        }
        inputs += 1;
    }
    assert!(inputs > 2, "{inputs} inputs for {target}");
}

#[test]
fn no_header_of_jaeger_breaks_a_promise() {
    replay("uber_trace_id", promises::uber_trace_id);
}

#[test]
fn no_header_of_trace_context_breaks_a_promise() {
    replay("traceparent", promises::traceparent);
}
