//! Keeps the store of logs in order, in a thread of its own: seals chunks, evicts what exceeds a
//! bound, and looks for damage.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use serde_json::json;

use super::{
    super::{
        keeper::RETRY_UNREAD,
        lock, nanos,
        orders::{REST, Trouble},
        storage::{NotSealed, Sealable},
        write,
    },
    CACHE_SHARE, Kept, Shared,
    chunk::{Loose, MAX_RECORDS},
    segment::Segment,
};
use crate::output;

/// Records of a segment. Larger ones make fewer files, smaller ones less to replay at a start.
const SEAL_RECORDS: usize = 16 * MAX_RECORDS;
/// Bytes of requests after which their records are sealed: they bound the time of a start.
const SEAL_LOG_BYTES: u64 = 48 << 20;
/// A bound is divided into so many segments, so that eviction goes in small steps.
const STEPS: usize = 16;
/// Logs of earlier runs that a start may have to replay.
const MAX_GENERATIONS: u64 = 16;

/// Whether loose chunks are to be sealed.
pub(super) fn is_full(shared: &Shared, kept: &Kept) -> bool {
    let (Some(oldest), Some(newest)) = (kept.loose.first(), kept.loose.last()) else {
        // A log that takes nothing is to be ended even if nothing is lost with it.
        return shared.storage.is_suspect();
    };
    let records = |loose: &Loose| loose.rows.rows.len();
    let options = &shared.options;
    let max_log_bytes = match shared.storage.is_on_disk() {
        true => SEAL_LOG_BYTES.min(options.max_disk / STEPS as u64),
        false => SEAL_LOG_BYTES,
    };
    kept.loose.iter().map(records).sum::<usize>() >= SEAL_RECORDS
        || kept.loose_bytes() >= options.max_memory / STEPS
        || shared.storage.appended_bytes() >= max_log_bytes
        || shared.storage.is_suspect()
        || newest.generation.saturating_sub(oldest.generation) >= MAX_GENERATIONS
        || age(*oldest.summary().arrivals.start()) >= options.max_age / 8
}

fn age(arrival: u64) -> Duration {
    Duration::from_nanos(nanos(SystemTime::now()).saturating_sub(arrival))
}

pub(super) fn run(shared: &Shared) {
    let mut trouble = Trouble::default();
    let mut unverified: Vec<(Arc<Segment>, usize)> = (shared.snapshot().sealed.iter())
        .flat_map(|sealed| {
            let chunks = 0..sealed.part.chunks().len();
            chunks.map(|index| (Arc::clone(&sealed.part), index))
        })
        .collect();
    // At a start the logs may hold what is to be sealed.
    let mut rest = Duration::ZERO;
    loop {
        let at_most = match unverified.is_empty() {
            true => rest,
            false => Duration::ZERO,
        };
        if !shared.orders.rest(at_most) {
            break;
        }
        rest = REST;
        // What is kept is never half changed, so that the next round finds all in order.
        let round = catch_unwind(AssertUnwindSafe(|| keep(shared, &mut trouble)));
        if round.is_err() {
            trouble.note(&shared.orders, Err(io::Error::other("it panicked").into()));
        }
        if let Some((segment, index)) = unverified.pop()
            && let Err(damaged) = segment.verify(&segment.chunks()[index])
        {
            shared.quarantine(&shared.snapshot(), &damaged);
        }
    }
    // What a log that failed holds is safe nowhere else, and nobody is left to seal it.
    if shared.storage.is_suspect() {
        trouble.note(&shared.orders, seal(shared));
    }
}

/// One round of all that may have to be done.
pub(super) fn keep(shared: &Shared, trouble: &mut Trouble) {
    if is_full(shared, &shared.snapshot()) && trouble.may_try_again() {
        let sealed = seal(shared);
        let has_room = sealed.is_ok();
        trouble.note(&shared.orders, sealed);
        // Only then: whoever waits would wake the keeper again, and so on without a rest.
        if has_room {
            shared.orders.made_room();
        }
    }
    retry_unread(shared, RETRY_UNREAD);
    evict(shared);
}

/// Reads chunks of a segment that a disk did not give `after` which time or longer ago, until one
/// fails again, and lets them be asked again if all of them is there.
pub(super) fn retry_unread(shared: &Shared, after: Duration) {
    let kept = shared.snapshot();
    let mut segments = kept.sealed.iter().map(|sealed| &sealed.part);
    let Some(segment) = segments.find(|segment| segment.due(after).next().is_some()) else {
        return;
    };
    for chunk in segment.due(after) {
        let read = segment.verify(chunk);
        {
            let mut kept = write(&shared.kept);
            let kept = Arc::make_mut(&mut *kept);
            let mut sealed = kept.sealed.iter_mut();
            // Else it was evicted meanwhile.
            let Some(sealed) = sealed.find(|sealed| sealed.part.is_same(segment)) else {
                return;
            };
            sealed.part = Arc::new(sealed.part.tried(chunk, &read));
        }
        let records = u64::from(chunk.summary.records);
        match read {
            Err(damaged) if damaged.is_unread => return,
            Err(damaged) => shared.say_lost(&damaged, records),
            Ok(()) => {
                let name = segment.name_of(chunk);
                output::info(
                    &format!("{name} can be read again, and so can its {records} log records"),
                    json!({ "chunk": name, "records": records }),
                );
            }
        }
    }
}

/// Writes all loose chunks of ended generations, some at a time. A generation is never divided.
pub(super) fn seal(shared: &Shared) -> Result<(), NotSealed> {
    let ended = shared.storage.rotate()?;
    // Whoever wrote to a generation that has ended lists its records before this is granted.
    drop(lock(&shared.order));
    loop {
        let kept = shared.snapshot();
        let of_ended = kept.loose.iter().filter(|loose| loose.generation <= ended);
        let of_ended: Vec<&Loose> = of_ended.collect();
        let Some(last) = of_ended.last() else {
            return Ok(());
        };
        let (mut bytes, mut until) = (0, of_ended[0].generation);
        for loose in &of_ended {
            bytes += loose.bytes();
            if loose.generation > until && bytes > shared.options.max_memory / STEPS {
                break;
            }
            until = loose.generation;
        }
        let until = if until == last.generation {
            ended
        } else {
            until
        };
        let chunks = of_ended
            .into_iter()
            .filter(|loose| loose.generation <= until);
        let segment = Segment::build(&chunks.collect::<Vec<_>>(), &shared.cache);
        // Also generations of which nothing was kept: their logs go with the others.
        let first = kept.sealed_up_to().map_or(0, |generation| generation + 1);
        let sealed = shared.storage.seal(segment, first.min(until)..=until)?;
        let mut kept = write(&shared.kept);
        let kept = Arc::make_mut(&mut *kept);
        kept.loose.retain(|loose| loose.generation > until);
        kept.sealed.push(sealed);
    }
}

/// Drops segments, the oldest first, until all bounds hold.
pub(super) fn evict(shared: &Shared) {
    loop {
        let oldest = {
            let kept = shared.snapshot();
            let options = &shared.options;
            let is_on_disk = shared.storage.is_on_disk();
            let disk = kept.sealed_disk() + shared.storage.log_bytes();
            // It was dropped already, and is of less use than anything else.
            if disk > options.max_disk
                && let Some(name) = shared.storage.remove_set_aside()
            {
                let text = format!("removing {name}, which was damaged, to make room");
                output::info(&text, json!({ "file": name }));
                continue;
            }
            let Some(oldest) = kept.sealed.first() else {
                return;
            };
            // On disk, what is loose has a bound of its own: it waits for room, and removing what
            // is sealed would free next to nothing.
            let (memory, max_memory) = match is_on_disk {
                true => (
                    kept.sealed_memory(),
                    options.max_memory - options.max_memory / CACHE_SHARE,
                ),
                false => (
                    kept.loose_bytes() + kept.sealed_memory(),
                    options.max_memory,
                ),
            };
            let is_over = memory > max_memory
                || (is_on_disk && disk > options.max_disk)
                || age(oldest.part.last_arrival()) > options.max_age;
            if !is_over {
                return;
            }
            oldest.clone()
        };
        let mut records = oldest.part.records();
        {
            let mut kept = write(&shared.kept);
            let kept = Arc::make_mut(&mut *kept);
            // A query that a chunk of it failed may have changed it meanwhile.
            let is_it = |end: u64| end == *oldest.generations.end();
            kept.sealed.retain(|sealed| {
                if is_it(*sealed.generations.end()) {
                    records = sealed.part.records();
                    return false;
                }
                true
            });
        }
        if let Err(error) = shared.storage.remove(&oldest) {
            let name: &str = oldest.part.name();
            output::warn(
                &format!("removing {name}: {error}"),
                json!({ "segment": name, "reason": error.to_string() }),
            );
        }
        shared.evicted.fetch_add(records, Ordering::Relaxed);
        lock(&shared.order).forget_up_to(*oldest.generations.end());
    }
}
