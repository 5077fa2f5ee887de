//! Keeps the store in order, in a thread of its own: merges small parts, seals large ones, evicts
//! what exceeds a bound, and looks for damage.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;

use super::{
    CACHE_SHARE, Loose, Parts, Shared, Unread, loose, nanos,
    orders::{REST, Trouble},
    part::{self, Part},
    storage::{NotSealed, Sealed},
    timings::timed,
    write,
};
use crate::output;

/// Spans of a sealed part. Larger ones make fewer files, smaller ones less to replay at a start.
const SEAL_SPANS: u64 = 64 << 10;
/// Bytes of requests after which their parts are sealed: they bound the time of a start.
const SEAL_LOG_BYTES: u64 = 48 << 20;
/// A segment that is larger is not written again with the next spans.
const SMALL_SEGMENT_BYTES: u64 = 4 << 20;
/// A bound of memory is divided into so many sealed parts, so that eviction goes in small steps.
const STEPS: usize = 16;
/// So many parts of about the same size are merged into one.
const FAN_IN: usize = 16;
/// How long what could not be read is left alone.
pub(super) const RETRY_UNREAD: Duration = Duration::from_secs(60);
/// Logs of earlier runs that a start may have to replay.
const MAX_GENERATIONS: u64 = 16;

/// Whether there is something to do that cannot wait.
pub(super) fn is_wanted(shared: &Shared, parts: &Parts) -> bool {
    let small = parts.loose.len();
    (small >= 2 * FAN_IN && small.is_multiple_of(FAN_IN)) || is_full(shared, parts)
}

/// Whether loose parts are to be sealed.
fn is_full(shared: &Shared, parts: &Parts) -> bool {
    let Some(oldest) = parts.loose.first() else {
        // A log that takes nothing is to be ended even if nothing is lost with it.
        return shared.storage.is_suspect();
    };
    let newest = parts.loose.last().map_or(0, |newest| newest.generation);
    let received = *oldest.part.directory.summary.received.start();
    let old = shared.options.max_age / 8;
    parts.loose_spans() >= SEAL_SPANS
        || parts.loose_bytes() >= shared.options.max_memory / STEPS
        || shared.storage.appended_bytes() >= max_log_bytes(shared)
        || shared.storage.is_suspect()
        // They are listed in the order in which they were written, which may not be this one.
        || newest.saturating_sub(oldest.generation) >= MAX_GENERATIONS
        || age(received) >= old
}

/// Of one generation.
fn max_log_bytes(shared: &Shared) -> u64 {
    SEAL_LOG_BYTES.min(step_of_disk(shared))
}

/// Bytes on disk that may be evicted at once.
fn step_of_disk(shared: &Shared) -> u64 {
    match shared.storage.is_on_disk() {
        true => shared.options.max_disk / STEPS as u64,
        false => u64::MAX,
    }
}

fn age(received: u64) -> Duration {
    Duration::from_nanos(nanos(SystemTime::now()).saturating_sub(received))
}

pub(super) fn run(shared: &Shared) {
    let mut trouble = Trouble::default();
    let mut unverified: Vec<Arc<Part>> = (shared.snapshot().sealed.iter())
        .map(|sealed| Arc::clone(&sealed.part))
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
        // Parts are never half changed, so that the next round finds all in order.
        let round = catch_unwind(AssertUnwindSafe(|| keep(shared, &mut trouble)));
        if round.is_err() {
            trouble.note(&shared.orders, Err(io::Error::other("it panicked").into()));
        }
        if let Some(part) = unverified.pop()
            && let Err(damaged) = part.verify()
        {
            shared.quarantine(&damaged);
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
        let sealed = timed(&shared.timings.seal, || seal(shared));
        let has_room = sealed.is_ok();
        trouble.note(&shared.orders, sealed);
        // Only then: whoever waits would wake the keeper again, and so on without a rest.
        if has_room {
            shared.orders.made_room();
        }
    }
    if shared.snapshot().loose.len() >= 2 * FAN_IN {
        merge_loose(shared);
    }
    retry_unread(shared, RETRY_UNREAD);
    evict(shared);
}

/// Reads one part that a disk did not give `after` which time or longer ago, and lets it be asked
/// again if all of it is there.
pub(super) fn retry_unread(shared: &Shared, after: Duration) {
    let parts = shared.snapshot();
    let due = |unread: &&Unread| unread.tried.elapsed() >= after;
    let Some(Unread { sealed, .. }) = parts.unread.iter().find(due) else {
        return;
    };
    let read = sealed.part.verify();
    {
        let mut parts = write(&shared.parts);
        let parts = Arc::make_mut(&mut *parts);
        let is_it = |unread: &Unread| Arc::ptr_eq(&unread.sealed.part, &sealed.part);
        let Some(index) = parts.unread.iter().position(is_it) else {
            return;
        };
        match &read {
            Err(damaged) if damaged.is_unread => parts.unread[index].tried = Instant::now(),
            Err(_) => drop(parts.unread.remove(index)),
            Ok(()) => {
                parts.sealed.push(parts.unread.remove(index).sealed);
                (parts.sealed).sort_by_key(|sealed| *sealed.generations.end());
            }
        }
    }
    let (name, spans) = (sealed.part.name(), sealed.part.directory.spans());
    match read {
        Err(damaged) if damaged.is_unread => {}
        Err(damaged) => shared.drop_damaged(&damaged, sealed),
        Ok(()) => output::info(
            &format!("{name} can be read again, and so can its {spans} spans"),
            json!({ "segment": &**name, "spans": spans }),
        ),
    }
}

/// Writes all loose parts of ended generations, usually as one. After trouble with a disk there may be many more than that:
/// what is merged takes its memory two times more, so it goes in steps.
pub(super) fn seal(shared: &Shared) -> Result<(), NotSealed> {
    let ended = shared.storage.rotate()?;
    // Whoever was given a generation that has ended lists its part before this is granted.
    drop(write(&shared.arrivals));
    let max_bytes = shared.options.max_memory / STEPS;
    let loose = shared.snapshot().loose.clone();
    let mut is_first = true;
    for last in steps(&loose, ended, max_bytes) {
        seal_until(shared, last, is_first)?;
        is_first = false;
    }
    Ok(())
}

/// The last generation of each step. A step is one generation or several that are not more than one sealed part should be.
fn steps(loose: &[Loose], ended: u64, max_bytes: usize) -> Vec<u64> {
    let mut sizes: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for loose in loose.iter().filter(|loose| loose.generation <= ended) {
        let (spans, bytes) = sizes.entry(loose.generation).or_default();
        *spans += u64::from(loose.part.directory.spans());
        *bytes += loose.bytes;
    }
    let mut steps = Vec::new();
    let (mut spans, mut bytes) = (0, 0);
    for (generation, (more_spans, more_bytes)) in sizes {
        let is_too_much = spans + more_spans > SEAL_SPANS || bytes + more_bytes > max_bytes;
        if is_too_much && spans > 0 {
            steps.push(generation - 1);
            (spans, bytes) = (0, 0);
        }
        spans += more_spans;
        bytes += more_bytes;
    }
    steps.push(ended);
    steps
}

/// Writes the loose parts of all generations that are not sealed, up to this one, as one, and with them, if wanted, the
/// sealed part before them if that is small.
fn seal_until(shared: &Shared, ended: u64, with_small: bool) -> Result<(), NotSealed> {
    let before = shared.snapshot();
    let is_sealed = |loose: &Loose| loose.generation <= ended;
    let parts = before.loose.iter().filter(|loose| is_sealed(loose));
    let mut parts: Vec<Arc<Part>> = parts.map(|loose| Arc::clone(&loose.part)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    // Also generations of which nothing was kept: their logs go with the others.
    let sealed_up_to = before.sealed_up_to();
    let mut first = sealed_up_to.map_or(0, |generation| generation + 1);
    let spans: u64 = parts
        .iter()
        .map(|part| u64::from(part.directory.spans()))
        .sum();
    // One that is small, because a restart or age sealed it early, is written again with these.
    let small = before.sealed.last().filter(|sealed| {
        let small = u64::from(sealed.part.directory.spans());
        with_small
            && sealed_up_to == Some(*sealed.generations.end())
            && small <= 4 * spans
            && small + spans <= SEAL_SPANS
            && sealed.disk_bytes <= SMALL_SEGMENT_BYTES.min(step_of_disk(shared))
            // It is evicted as a whole once its last span is too old.
            && age(*sealed.part.directory.summary.received.start()) <= shared.options.max_age / 4
            && shared.storage.is_on_disk()
    });
    if let Some(small) = small {
        parts.insert(0, Arc::clone(&small.part));
        first = *small.generations.start();
    }
    let absorbed = small.map(|small| Arc::clone(&small.part));
    drop(before);
    let merged = match part::merge(&parts) {
        Ok(merged) => merged,
        // Only what was sealed can be damaged, and the rest is sealed without it.
        Err(damaged) if with_small && shared.quarantine(&damaged) => {
            return seal_until(shared, ended, false);
        }
        Err(damaged) => return Err(damaged.into()),
    };
    drop(parts);
    let sealed = shared.storage.seal(merged, first..=ended)?;
    let mut parts = write(&shared.parts);
    let parts = Arc::make_mut(&mut *parts);
    parts.loose.retain(|loose| !is_sealed(loose));
    if let Some(absorbed) = absorbed {
        // A query that it failed may have left it out meanwhile.
        parts.forget(&absorbed);
    }
    parts.sealed.push(sealed);
    Ok(())
}

/// Merges the small ones among the loose parts.
pub(super) fn merge_loose(shared: &Shared) {
    let mut merged = shared.snapshot().loose.clone();
    let seen = merged.len();
    merge_small(&mut merged);
    let mut parts = write(&shared.parts);
    let parts = Arc::make_mut(&mut *parts);
    merged.extend(parts.loose.drain(seen..));
    parts.loose = merged;
}

/// Merges all loose parts of each generation, however few there are.
#[cfg(test)]
pub(super) fn merge_all(shared: &Shared) {
    let mut parts = write(&shared.parts);
    let parts = Arc::make_mut(&mut *parts);
    let merged = parts.loose.chunk_by(|a, b| a.generation == b.generation);
    let merged = merged.map(|loose_parts| {
        let parts: Vec<_> = loose_parts
            .iter()
            .map(|loose| Arc::clone(&loose.part))
            .collect();
        let merged = part::merge(&parts).expect("parts in memory are never damaged");
        loose(merged, loose_parts[0].generation)
    });
    parts.loose = merged.collect();
}

/// Merges parts of one generation and about one size, wherever they stand in it, so that the number
/// of parts grows with the logarithm of the spans in whatever order large and small requests come.
pub(super) fn merge_small(loose_parts: &mut Vec<Loose>) {
    while let Some(chosen) = mergeable(loose_parts) {
        let parts: Vec<Arc<Part>> = (chosen.iter())
            .map(|index| Arc::clone(&loose_parts[*index].part))
            .collect();
        let Ok(merged) = part::merge(&parts) else {
            // Parts in memory are never damaged.
            return;
        };
        // In the place of the oldest, by whose age it is judged.
        let first = chosen[0];
        loose_parts[first] = loose(merged, loose_parts[first].generation);
        let mut index = 0;
        loose_parts.retain(|_| {
            index += 1;
            !chosen[1..].contains(&(index - 1))
        });
    }
}

/// Indices, ascending.
fn mergeable(parts: &[Loose]) -> Option<Vec<usize>> {
    let mut start = 0;
    for generation in parts.chunk_by(|a, b| a.generation == b.generation) {
        let mut counts = [0; (u32::BITS / FAN_IN.ilog2()) as usize + 1];
        for loose in generation {
            let tier = tier(loose);
            counts[tier as usize] += 1;
            if counts[tier as usize] == FAN_IN {
                let of_tier = generation.iter().enumerate();
                let of_tier = of_tier.filter(|(_, loose)| self::tier(loose) == tier);
                let indices = of_tier.map(|(index, _)| start + index);
                return Some(indices.take(FAN_IN).collect());
            }
        }
        start += generation.len();
    }
    None
}

fn tier(loose: &Loose) -> u32 {
    loose.part.directory.spans().max(1).ilog2() / FAN_IN.ilog2()
}

/// Bytes for parts; what the cache may hold is not for them.
fn max_memory(shared: &Shared) -> usize {
    let options = &shared.options;
    match shared.storage.is_on_disk() {
        true => options.max_memory - options.max_memory / CACHE_SHARE,
        false => options.max_memory,
    }
}

/// Drops sealed parts, the oldest first, until all bounds hold.
pub(super) fn evict(shared: &Shared) {
    loop {
        let oldest: Sealed = {
            let parts = shared.snapshot();
            let options = &shared.options;
            let disk = parts.sealed_disk() + shared.storage.log_bytes();
            // It was dropped already, and is of less use than anything else.
            if disk > options.max_disk
                && let Some(name) = shared.storage.remove_set_aside()
            {
                let text = format!("removing {name}, which was damaged, to make room");
                output::info(&text, json!({ "file": name }));
                continue;
            }
            let unread = parts.unread.first().map(|unread| &unread.sealed);
            let oldest = [parts.sealed.first(), unread].into_iter().flatten();
            let Some(oldest) = oldest.min_by_key(|sealed| *sealed.generations.end()) else {
                return;
            };
            // On disk, what is loose has a bound of its own: it waits for room, and removing what
            // is sealed would free next to nothing.
            let memory = match shared.storage.is_on_disk() {
                true => parts.sealed_memory(),
                false => parts.loose_bytes() + parts.sealed_memory(),
            };
            let is_over = memory > max_memory(shared)
                || (shared.storage.is_on_disk() && disk > options.max_disk)
                || age(*oldest.part.directory.summary.received.end()) > options.max_age;
            if !is_over {
                return;
            }
            oldest.clone()
        };
        {
            let mut parts = write(&shared.parts);
            let parts = Arc::make_mut(&mut *parts);
            parts.forget(&oldest.part);
        }
        if let Err(error) = shared.storage.remove(&oldest) {
            let name = oldest.part.name();
            output::warn(
                &format!("removing {name}: {error}"),
                json!({ "segment": &**name, "reason": error.to_string() }),
            );
        }
        let directory = &oldest.part.directory;
        let evicted = &shared.evicted;
        evicted
            .traces
            .fetch_add(u64::from(directory.traces), Ordering::Relaxed);
        evicted
            .spans
            .fetch_add(u64::from(directory.spans()), Ordering::Relaxed);
    }
}
