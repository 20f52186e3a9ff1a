//! Rows sorted by address and packed: blocks of differences, and a table of the blocks.

use crate::words::u32_at;

/// Rows of a block, which share an entry of the table. A lookup decodes up to this many rows.
const BLOCK: usize = 64;

/// Packs rows that are sorted by address.
pub(super) fn pack<const N: usize>(rows: impl IntoIterator<Item = (u32, [u32; N])>) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    let mut before = (0, [0; N]);
    for (number, row) in rows.into_iter().enumerate() {
        if number % BLOCK == 0 {
            before = (row.0, [0; N]);
            table.push((row.0, u32::try_from(data.len()).unwrap_or(u32::MAX)));
        }
        write(&mut data, row.0.wrapping_sub(before.0));
        for (value, before) in row.1.into_iter().zip(before.1) {
            write(&mut data, zigzag(value.wrapping_sub(before)));
        }
        before = row;
    }
    let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
    let mut bytes = count.to_le_bytes().to_vec();
    for (address, place) in table {
        bytes.extend(address.to_le_bytes());
        bytes.extend(place.to_le_bytes());
    }
    bytes.extend(data);
    bytes
}

/// Maps small differences of either sign to small numbers.
pub(super) const fn zigzag(difference: u32) -> u32 {
    difference << 1 ^ (difference.cast_signed() >> 31).cast_unsigned()
}

pub(super) const fn unzigzag(value: u32) -> u32 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

/// LEB128.
pub(super) fn write(data: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        data.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    data.push(value.to_le_bytes()[0]);
}

pub(super) fn read(data: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// Packed rows. Inconsistent bytes count as no rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, const N: usize> {
    table: &'a [[u8; 8]],
    data: &'a [u8],
}

impl<'a, const N: usize> Rows<'a, N> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let parts = || {
            let count = usize::try_from(u32_at(bytes, 0)?).ok()?;
            let (table, data) = bytes.get(4..)?.split_at_checked(count.checked_mul(8)?)?;
            Some(Self { table: table.as_chunks().0, data })
        };
        parts().unwrap_or(Self { table: &[], data: &[] })
    }

    /// The last row at or before an address.
    pub(super) fn at(&self, address: u32) -> Option<(u32, [u32; N])> {
        let block = self.block_of(address)?;
        self.rows_of(block).take_while(|(start, _)| *start <= address).last()
    }

    /// The first row after an address.
    pub(super) fn after(&self, address: u32) -> Option<(u32, [u32; N])> {
        self.from(address.checked_add(1)?).next()
    }

    /// The rows at or after an address.
    pub(super) fn from(&self, address: u32) -> impl Iterator<Item = (u32, [u32; N])> {
        let first = self.block_of(address).unwrap_or(0);
        let rows = *self;
        let all = (first..self.table.len()).flat_map(move |block| rows.rows_of(block));
        all.skip_while(move |(start, _)| *start < address)
    }

    fn block_of(&self, address: u32) -> Option<usize> {
        let begins = |block: &[u8; 8]| u32_at(block, 0).is_some_and(|first| first <= address);
        self.table.partition_point(begins).checked_sub(1)
    }

    fn rows_of(&self, block: usize) -> impl Iterator<Item = (u32, [u32; N])> + use<'a, N> {
        let entry = self.table.get(block);
        let place = entry.and_then(|entry| usize::try_from(u32_at(entry, 4)?).ok());
        let mut data = place.and_then(|place| self.data.get(place..)).unwrap_or_default();
        let first = entry.and_then(|entry| u32_at(entry, 0)).unwrap_or_default();
        let next = self.table.get(block + 1).and_then(|entry| u32_at(entry, 4));
        let end = next.and_then(|next| usize::try_from(next).ok()?.checked_sub(place?));
        data = end.and_then(|end| data.get(..end)).unwrap_or(data);
        let mut row = (first, [0_u32; N]);
        std::iter::from_fn(move || {
            row.0 = row.0.wrapping_add(read(&mut data)?);
            for value in &mut row.1 {
                *value = value.wrapping_add(unzigzag(read(&mut data)?));
            }
            Some(row)
        })
        .take(BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_found_again(rows in proptest::collection::btree_map(any::<u32>(), any::<[u32; 2]>(), 0..300), lookups in proptest::collection::vec(any::<u32>(), 20)) {
            let bytes = pack(rows.clone());
            let packed = Rows::<2>::of(&bytes);
            let own = rows.keys().copied().take(50);
            for lookup in lookups.into_iter().chain(own).chain([0, u32::MAX]) {
                let expected = rows.range(..=lookup).next_back().map(|(address, row)| (*address, *row));
                prop_assert_eq!(packed.at(lookup), expected);
                let from: Vec<_> = packed.from(lookup).take(100).collect();
                let expected: Vec<_> = rows.range(lookup..).take(100).map(|(address, row)| (*address, *row)).collect();
                prop_assert_eq!(from, expected);
            }
        }

        #[test]
        fn hostile_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300), address in any::<u32>()) {
            let packed = Rows::<1>::of(&bytes);
            let _ = packed.at(address);
            prop_assert!(packed.from(address).count() <= BLOCK * bytes.len().max(1));
        }
    }
}
