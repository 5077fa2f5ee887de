//! Random records, damaged at random.

use super::*;

fn any_record() -> impl Strategy<Value = Owned> {
    (any::<u64>(), any::<u8>(), vec(any::<u8>(), 0..100)).prop_map(
        |(received_unix_nano, form, body)| Owned {
            received_unix_nano,
            form,
            body,
        },
    )
}

/// Something that happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let bytes = || vec(prop_oneof![Just(0), any::<u8>()], 1..80);
        let at = any::<Index>;
        prop_oneof![
            (at(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
            (at(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            (at(), 1..200usize).prop_map(|(at, len)| Damage::Remove(at, len)),
            (at(), 1..200usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        ]
    }

    fn apply(&self, file: &mut Vec<u8>) {
        let part = |at: &Index, len: usize| {
            let start = at.index(file.len() + 1);
            start..file.len().min(start + len)
        };
        match self {
            Damage::Overwrite(at, bytes) => {
                let part = part(at, bytes.len());
                let len = part.len();
                file[part].copy_from_slice(&bytes[..len]);
            }
            Damage::Insert(at, bytes) => {
                let start = part(at, 0).start;
                file.splice(start..start, bytes.iter().copied());
            }
            Damage::Remove(at, len) => drop(file.drain(part(at, *len))),
            Damage::Repeat(at, len) => file.extend_from_within(part(at, *len)),
        }
    }
}

/// A piece of a file that a program, or somebody with intentions, wrote.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        0..3u32,
        prop_oneof![
            0..200usize,
            Just(MAX_BODY),
            Just(MAX_BODY + 1),
            Just(u32::MAX as usize)
        ],
        any::<u32>(),
    )
        .prop_map(|(salt, body_len, body_crc)| {
            RecordHeader {
                salt,
                body_len,
                body_crc,
                received_unix_nano: 1,
                form: 2,
            }
            .bytes()
            .to_vec()
        });
    let record = (0..3u32, any_record()).prop_map(|(salt, record)| {
        let header = FileHeader { salt }.of_record(&record.record(), crc32c::crc32c(&record.body));
        [&header[..], &record.body].concat()
    });
    let file = (0..3u32).prop_map(|salt| FileHeader { salt }.bytes().to_vec());
    prop_oneof![header, record, file, vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn any_records_are_found(records in vec(any_record(), 0..20)) {
        let (found, replayed) = replayed(&log_of(&records));
        prop_assert_eq!(found, records);
        prop_assert_eq!(replayed.dropped, []);
    }

    #[test]
    fn damage_makes_up_no_record_and_hides_none_before_it(
        records in vec(any_record(), 0..10),
        damage in vec(Damage::any(), 1..4),
    ) {
        let whole = log_of(&records);
        let mut bytes = whole.clone();
        for damage in damage {
            damage.apply(&mut bytes);
        }
        let same = whole.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        let before = places(&records).iter().filter(|place| place.end <= same).count();
        let (found, _) = replayed(&bytes);
        prop_assert!(found.iter().all(|record| records.contains(record)));
        prop_assert!(found.starts_with(&records[..before]));
    }

    #[test]
    fn no_bytes_make_a_replay_fail(bytes in vec(any::<u8>(), 0..2000)) {
        replayed(&bytes);
    }

    #[test]
    fn no_pieces_of_logs_make_a_replay_fail(pieces in vec(any_piece(), 0..20)) {
        replayed(&pieces.concat());
    }
}
