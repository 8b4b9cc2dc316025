//! Reads a hash table of Berkeley DB, as far as rpm uses it: the pairs of every page, whatever its bucket.
//! Numbers are in the byte order of the machine that wrote it. Source: the on-disk structures in db_page.h of
//! Berkeley DB 5.3.

use super::header::MOST_BYTES;
use super::source::{Fault, Reader, Source};

const MAGIC: u32 = 0x0006_1561;
const PAGE_HEAD: usize = 26;
/// Kinds of pages: a bucket with unsorted or sorted keys; a part of a long value.
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
/// Kinds of items: the bytes follow; they are elsewhere.
const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;

const DAMAGED: Fault = Fault::Damaged("a page of its hash table can't be read");

/// Calls `each` for the value of every pair except that of the key 0, which contains their number.
pub(super) fn headers(source: &dyn Source, each: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
    let mut table = Table::open(source)?;
    for number in 1..=table.last_page {
        let page = table.page(number)?;
        if !matches!(page[25], HASH | HASH_UNSORTED) {
            continue;
        }
        let items = table.items(&page).ok_or(DAMAGED)?;
        for pair in items.chunks_exact(2) {
            let is_counter = pair[0].first() == Some(&ON_PAGE) && pair[0].get(1..) == Some(&[0; 4]);
            if !is_counter {
                let value = table.value(pair[1])?;
                each(&value);
            }
        }
    }
    Ok(())
}

struct Table<'a> {
    file: Reader<'a>,
    order: Order,
    page_size: usize,
    last_page: u32,
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(word),
            Self::Big => u32::from_be_bytes(word),
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<usize> {
        let half = *bytes.get(at..)?.first_chunk()?;
        Some(usize::from(match self {
            Self::Little => u16::from_le_bytes(half),
            Self::Big => u16::from_be_bytes(half),
        }))
    }
}

impl<'a> Table<'a> {
    fn open(source: &'a dyn Source) -> Result<Self, Fault> {
        let mut file = Reader::new(source)?;
        let mut head = [0; 72];
        file.read(0, &mut head)?;
        let mut orders = [Order::Little, Order::Big].into_iter();
        let order = orders
            .find(|order| order.u32(&head, 12) == Some(MAGIC))
            .ok_or(Fault::Damaged("it is not a Berkeley DB hash table"))?;
        // The byte after the page size names the cipher.
        if head[24] != 0 {
            return Err(Fault::Damaged("it is encrypted"));
        }
        let page_size = order
            .u32(&head, 20)
            .filter(|size| (512..=65_536).contains(size) && size.is_power_of_two());
        let page_size = page_size.ok_or(Fault::Damaged("its page size is zero"))? as usize;
        let last_page = order.u32(&head, 32).ok_or(DAMAGED)?;
        Ok(Self { file, order, page_size, last_page })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, Fault> {
        let mut page = vec![0; self.page_size];
        self.file.read(u64::from(number) * self.page_size as u64, &mut page)?;
        Ok(page)
    }

    /// The items of a page: alternating keys and values. They fill the page from its end.
    fn items<'p>(&self, page: &'p [u8]) -> Option<Vec<&'p [u8]>> {
        let count = self.order.u16(page, 20)?;
        let mut end = page.len();
        let mut items = Vec::with_capacity(count.min(page.len() / 2));
        for index in 0..count {
            let start = self.order.u16(page, PAGE_HEAD + 2 * index)?;
            items.push(page.get(start..end)?);
            end = start;
        }
        Some(items)
    }

    /// A value, of which the end may be omitted: see [`MOST_BYTES`].
    fn value(&mut self, item: &[u8]) -> Result<Vec<u8>, Fault> {
        match item.first() {
            Some(&ON_PAGE) => Ok(item[1..].to_vec()),
            Some(&OFF_PAGE) => {
                let first = self.order.u32(item, 4).ok_or(DAMAGED)?;
                let length = self.order.u32(item, 8).ok_or(DAMAGED)? as usize;
                self.long_value(first, length)
            }
            _ => Err(Fault::Damaged("its hash table contains data that rpm does not write")),
        }
    }

    fn long_value(&mut self, first: u32, length: usize) -> Result<Vec<u8>, Fault> {
        let wanted = length.min(MOST_BYTES);
        let mut value = Vec::new();
        let mut next = first;
        while value.len() < wanted {
            let page = self.page(next)?;
            let size = self.order.u16(&page, 22).ok_or(DAMAGED)?;
            let bytes = page.get(PAGE_HEAD..PAGE_HEAD + size).ok_or(DAMAGED)?;
            if page[25] != OVERFLOW || bytes.is_empty() {
                return Err(DAMAGED);
            }
            value.extend(bytes);
            next = self.order.u32(&page, 16).ok_or(DAMAGED)?;
        }
        value.truncate(length);
        Ok(value)
    }
}
