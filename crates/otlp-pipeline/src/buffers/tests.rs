//! Requests are taken from full memory.

use opentelemetry_sdk::Resource;

use super::*;
use crate::{Config, encode::tests::any::simple};

#[test]
fn a_request_that_ends_within_a_chunk_is_within_the_limit() {
    let max_memory = 1_000_000;
    let buffers = Buffers::new(Memory::new(&Config {
        max_memory,
        ..Config::default()
    }));
    let resource = Arc::new(ResourceBytes::new(&Resource::builder_empty().build()));
    let span = simple("span");
    let memory = &buffers.memory;
    let fill = || {
        let full = buffers.accounts().dropped.full;
        while buffers.accounts().dropped.full == full {
            buffers.end(&resource, &span);
        }
        buffers.collect(Take::Everything);
    };
    fill();
    let mut pieces = 0;
    for _ in 0..10 {
        let before = memory.used();
        let outgoing = buffers.ledger().next_request(memory).unwrap();
        let used = memory.used();
        pieces += usize::from(used > before);
        assert!(
            used + memory.limits.request <= max_memory,
            "{used} bytes, and a request of {}",
            memory.limits.request
        );
        outgoing.encode(memory);
        buffers.ledger().settle(memory, |exported| Settled {
            exported,
            ..Settled::default()
        });
        fill();
    }
    assert!(pieces > 0, "each request ended where a chunk ends");
}
