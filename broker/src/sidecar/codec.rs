//! The numbers of a sidecar: little endian, varints, zigzag deltas; and the rows of event pages.
//! Reading answers `None` where the bytes end or make no sense, and never panics.

use super::active::Row;
use crate::core::types::Position;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Reads from the front of some bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.fixed().map(u128::from_le_bytes)
    }
}

/// The difference as a small number whatever its sign; wraps, so that every pair has one.
fn delta(from: u64, to: u64) -> u64 {
    let delta = to.wrapping_sub(from).cast_signed();
    (delta << 1 ^ delta >> 63).cast_unsigned()
}

fn undelta(from: u64, delta: u64) -> u64 {
    from.wrapping_add(delta >> 1 ^ (delta & 1).wrapping_neg())
}

/// Appends a row of an event page behind `last` (all zero at the start of a page).
pub(super) fn put_row(out: &mut Vec<u8>, last: &Row, row: &Row) {
    put_varint(out, delta(last.at.entry, row.at.entry));
    put_varint(out, row.at.index.into());
    put_varint(out, delta(last.offset.wrapping_add(1), row.offset));
    put_varint(out, delta(last.time, row.time));
}

/// Reads what [`put_row`] has written.
pub(super) fn take_row(reader: &mut Reader<'_>, last: &Row) -> Option<Row> {
    Some(Row {
        at: Position {
            entry: undelta(last.at.entry, reader.varint()?),
            index: u32::try_from(reader.varint()?).ok()?,
        },
        offset: undelta(last.offset.wrapping_add(1), reader.varint()?),
        time: undelta(last.time, reader.varint()?),
    })
}

/// Appends a row of a hash page behind `last` ((0, 0) at the start of a page): rows rise.
pub(super) fn put_hash(out: &mut Vec<u8>, last: (u64, u32), row: (u64, u32)) {
    put_varint(out, row.0 - last.0);
    let base = if row.0 == last.0 { last.1 } else { 0 };
    put_varint(out, (row.1 - base).into());
}

/// Reads what [`put_hash`] has written.
pub(super) fn take_hash(reader: &mut Reader<'_>, last: (u64, u32)) -> Option<(u64, u32)> {
    let hash = last.0.checked_add(reader.varint()?)?;
    let base = if hash == last.0 { last.1 } else { 0 };
    Some((hash, base.checked_add(u32::try_from(reader.varint()?).ok()?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_rows_come_back(rows in prop::collection::vec(any::<(u64, u32, u64, u64)>(), 1..20)) {
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(entry, index, offset, time)| Row { at: Position { entry, index }, offset, time })
                .collect();
            let mut bytes = Vec::new();
            let mut last = Row::default();
            for row in &rows {
                put_row(&mut bytes, &last, row);
                last = *row;
            }
            let mut reader = Reader(&bytes);
            let mut last = Row::default();
            for row in &rows {
                last = take_row(&mut reader, &last).unwrap();
                prop_assert_eq!(last, *row);
            }
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn any_rising_hashes_come_back(mut rows in prop::collection::vec((0u64..5, any::<u32>()), 1..20)) {
            rows.sort_unstable();
            let mut bytes = Vec::new();
            let mut last = (0, 0);
            for row in &rows {
                put_hash(&mut bytes, last, *row);
                last = *row;
            }
            let mut reader = Reader(&bytes);
            let mut last = (0, 0);
            for row in &rows {
                last = take_hash(&mut reader, last).unwrap();
                prop_assert_eq!(last, *row);
            }
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader(&bytes);
            while take_row(&mut reader, &Row::default()).is_some() {}
            let mut reader = Reader(&bytes);
            while take_hash(&mut reader, (u64::MAX, u32::MAX)).is_some() {}
        }
    }
}
