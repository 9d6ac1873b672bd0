//! The rows that an index lacks, gathered by where they belong.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ves::{StoreId, TenantId};

use crate::reach::HiddenRows;
use crate::value::Columns;

/// So many numbers of rows that an index lacks are told by place.
const NAMED: usize = 100_000;

/// Rows that an index lacks, by where they belong.
#[derive(Default)]
pub(crate) struct Hidden {
    pub(crate) count: u64,
    numbers: usize,
    /// By tenant and store as far as rows name them: how many, their numbers, and what the first is called.
    of: BTreeMap<Stream, (u64, Vec<u64>, String)>,
}

/// A stream as far as a row names it.
type Stream = (Option<TenantId>, Option<StoreId>);

impl Hidden {
    /// Takes a row of a `heap_` statement, whose key was read.
    pub(crate) fn add(&mut self, c: &mut Columns<'_>) {
        let tenant = c.optional_uuid("tenant_id").ok().flatten().map(TenantId);
        let store = c.optional_uuid("store_id").ok().flatten().map(StoreId);
        let number = c.optional_number::<u64>("number").ok().flatten();
        self.count += 1;
        let (count, numbers, first) = self.of.entry((tenant, store)).or_default();
        *count += 1;
        if let Some(number) = number.filter(|_| self.numbers < NAMED) {
            self.numbers += 1;
            numbers.push(number);
        }
        if first.is_empty() {
            *first = c.text("label").unwrap_or("a row").to_owned();
        }
    }

    pub(crate) fn places(self) -> Vec<HiddenRows> {
        let places = self
            .of
            .into_iter()
            .map(|((tenant, store), (count, mut numbers, first))| {
                numbers.sort_unstable();
                numbers.dedup();
                let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
                for number in numbers {
                    match ranges.last_mut() {
                        Some(last) if last.end() + 1 == number => *last = *last.start()..=number,
                        _ => ranges.push(number..=number),
                    }
                }
                HiddenRows {
                    tenant,
                    store,
                    numbers: ranges,
                    count,
                    first,
                }
            });
        places.collect()
    }
}
