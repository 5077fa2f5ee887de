//! Requests are taken from full memory, and spans end while a slot is emptied.

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

/// Buffers with the slot of this thread, the resource of its spans, and a way to end one.
fn with_slot_of_this_thread(
    config: &Config,
    test: impl FnOnce(&Buffers, &Arc<Slot>, &(dyn Fn() + Sync)),
) {
    let buffers = Buffers::new(Memory::new(config));
    let resource = Arc::new(ResourceBytes::new(&Resource::builder_empty().build()));
    let span = simple("span");
    let end = || {
        buffers.start();
        buffers.end(&resource, &span);
    };
    end();
    let mut slots = Vec::new();
    buffers.arrivals.join(&mut slots);
    let slot = slots.pop().unwrap();
    buffers.arrivals.add(Arc::clone(&slot));
    test(&buffers, &slot, &end);
}

#[test]
fn a_span_that_ends_while_its_slot_is_emptied_is_kept_too() {
    with_slot_of_this_thread(&Config::default(), |buffers, slot, end| {
        let emptied = slot.buffer();
        end();
        assert_eq!(emptied.counts.ended, 1);
        drop(emptied);
        end();
        let accounts = buffers.accounts();
        let counts = (accounts.started, accounts.ended, accounts.pending);
        assert_eq!(counts, (3, 3, 3));
        buffers.collect(Take::Everything);
        buffers.ledger().next_request(&buffers.memory).unwrap();
        buffers
            .ledger()
            .settle(&buffers.memory, |exported| Settled {
                exported,
                ..Settled::default()
            });
        assert_eq!(buffers.accounts().exported, 3);
    });
}

#[test]
fn a_span_that_ends_while_its_slot_is_emptied_takes_one_place_in_the_queue() {
    let config = Config {
        max_queue_size: Some(2048),
        ..Config::default()
    };
    with_slot_of_this_thread(&config, |buffers, slot, end| {
        let emptied = slot.buffer();
        end();
        drop(emptied);
        for _ in 0..3000 {
            end();
        }
        assert_eq!(buffers.accounts().pending, 2048);
    });
}
