//! Strangers' bytes as segments of logs, for `crate::fuzz`: each function panics if they break a
//! promise.
//!
//! Bytes that change at random hardly ever have the right checksums, nor are they what LZ4 makes. So a
//! segment can also be put together from pieces, and what follows after both is reached.

use std::sync::Arc;

use super::{
    super::{
        bytes::Writer,
        cache::Cache,
        envelope,
        files::Memory,
        fuzz::patience,
        search::Failed,
        storage::{Sealable, Sealed},
    },
    FoundLogs, Kept, LogBatch, LogQuery, Place, Text,
    chunk::{Loose, Prepared},
    search::search,
    segment::{MAGIC, Segment, VERSION},
};

/// What is found of these records while they are loose, and once they are sealed: the same.
pub(crate) fn found(batches: &[LogBatch<'_>]) -> [FoundLogs; 2] {
    let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
    let loose = loose(batches);
    let sealed = kept(open(segment_of(&loose)).expect("a segment that was just written"));
    let everything = LogQuery {
        limit: usize::MAX - 1,
        ..query(None, Place::Newest)
    };
    let loose = Kept {
        loose,
        ..Kept::default()
    };
    let found = [loose, sealed].map(|kept| ask(&kept, &everything).expect("nothing is damaged"));
    let texts = |found: &FoundLogs| format!("{:?}", found.records);
    assert_eq!(texts(&found[0]), texts(&found[1]));
    // More than an answer has may have been sent.
    assert!(found[0].records.len() == records || found[0].older.is_some());
    found
}

fn loose(batches: &[LogBatch<'_>]) -> Vec<Loose> {
    let mut kept = Kept::default();
    kept.add(&Prepared::new(batches), 1, 1);
    kept.loose
}

fn segment_of(loose: &[Loose]) -> Vec<u8> {
    let built = Segment::build(&loose.iter().collect::<Vec<_>>(), &cache());
    built.encode().expect("what is in memory is not damaged")
}

fn cache() -> Arc<Cache<super::Page>> {
    Arc::new(Cache::new(1 << 20))
}

fn open(bytes: Vec<u8>) -> Option<Segment> {
    Segment::open("the segment", Arc::new(Memory(bytes)), &cache()).ok()
}

fn kept(segment: Segment) -> Kept {
    Kept {
        sealed: vec![Sealed {
            generations: segment.generations(),
            part: Arc::new(segment),
            disk_bytes: 0,
        }],
        ..Kept::default()
    }
}

fn query(text: Option<&str>, place: Place) -> LogQuery {
    LogQuery {
        service: None,
        severity: 0,
        text: text.and_then(Text::new),
        trace: None,
        span: None,
        times: 0..=u64::MAX,
        limit: 3,
        place,
    }
}

fn ask(kept: &Kept, query: &LogQuery) -> Result<FoundLogs, Failed> {
    let (patience, _abandon) = patience();
    search(kept, query, &patience)
}

/// Panics if a segment is opened and then is neither read nor found to be damaged.
pub(crate) fn segment(bytes: Vec<u8>) {
    let Some(segment) = open(bytes) else {
        return;
    };
    let mut good = Vec::new();
    for (number, chunk) in segment.chunks().iter().enumerate() {
        let is_good = segment.verify(chunk).is_ok();
        assert_eq!(
            is_good,
            segment.rows(chunk).is_ok() && segment.rest(chunk).is_ok()
        );
        good.extend(is_good.then_some(number));
    }
    let is_whole = good.len() == segment.chunks().len();
    let kept = kept(segment);
    for text in [None, Some("a")] {
        for place in [Place::Newest, Place::Since(0)] {
            match ask(&kept, &query(text, place)) {
                Ok(found) => assert!(found.records.len() <= 3),
                Err(Failed::Damaged(damaged)) => {
                    // Whoever is told of it can leave it out.
                    let segment = &kept.sealed[0].part;
                    assert!(segment.owns(&damaged.part), "{damaged}");
                    let (rest, _) = segment.without(&damaged);
                    assert!(rest.chunks().len() < segment.chunks().len());
                }
                Err(error) => assert!(!is_whole, "{error}"),
            }
        }
    }
}

/// The pieces of a segment of these records: for each chunk its summary, its columns and the rest,
/// as they are before they are compressed, each after its length in two bytes.
pub(crate) fn pieces(batches: &[LogBatch<'_>]) -> Vec<u8> {
    let mut pieces = Vec::new();
    for loose in loose(batches) {
        let mut summary = Vec::new();
        let sealed = loose.summary().sealed(&loose.rows);
        sealed.encode(&mut Writer(&mut summary));
        for piece in [&summary, &loose.rows.encode(), &*loose.rest] {
            let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            pieces.extend(len.to_le_bytes());
            pieces.extend(&piece[..usize::from(len)]);
        }
    }
    pieces
}

/// A segment of such pieces.
pub(crate) fn assemble(mut pieces: &[u8]) -> Vec<u8> {
    let mut file = envelope::head(MAGIC, VERSION).to_vec();
    let mut directory = Vec::new();
    let mut to = Writer(&mut directory);
    let mut count = 0;
    while let Some((summary, pages)) = chunk(&mut pieces) {
        count += 1;
        to.0.extend_from_slice(summary);
        for page in pages {
            let compressed = lz4_flex::block::compress(page);
            to.u64(file.len() as u64);
            to.u32(compressed.len() as u32);
            to.u32(page.len() as u32);
            to.u32(crc32c::crc32c(&compressed));
            file.extend(compressed);
        }
    }
    let directory_at = file.len();
    let mut to = Writer(&mut file);
    to.u64(1);
    to.u64(1);
    to.u32(count);
    to.0.extend(directory);
    envelope::close(MAGIC, &mut file, directory_at);
    file
}

fn chunk<'a>(pieces: &mut &'a [u8]) -> Option<(&'a [u8], [&'a [u8]; 2])> {
    let mut next = || {
        let (len, rest) = pieces.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        *pieces = rest;
        Some(piece)
    };
    Some((next()?, [next()?, next()?]))
}
