//! Reads rpm's own database, `Packages.db`: slots with the position of each header. Numbers are
//! little-endian. Source: lib/backend/ndb/rpmpkg.c of rpm 4.14 and later.

use super::header::MOST_BYTES;
use super::source::{Fault, Reader, Source, le32};

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
const PAGE_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 16;
/// The unit of positions of blobs.
const BLOCK_BYTES: u64 = 16;
/// The file's own header occupies the first two slots.
const FIRST_SLOT: usize = 2;

/// Calls `each` for every header.
pub(super) fn headers(source: &dyn Source, each: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
    let mut file = Reader::new(source)?;
    let mut head = [0; 32];
    file.read(0, &mut head)?;
    if !head.starts_with(MAGIC) || le32(&head, 4) != Some(0) {
        return Err(Fault::Damaged("it does not start like an rpm database"));
    }
    let slot_pages = le32(&head, 12).map_or(0, u64::from);
    if slot_pages * PAGE_BYTES > file.size() {
        return Err(Fault::Damaged("it is cut off"));
    }
    let mut page = vec![0; PAGE_BYTES as usize];
    for number in 0..slot_pages {
        file.read(number * PAGE_BYTES, &mut page)?;
        let skipped = if number == 0 { FIRST_SLOT } else { 0 };
        for slot in page.chunks_exact(SLOT_BYTES).skip(skipped) {
            if !slot.starts_with(SLOT) {
                return Err(Fault::Damaged("a slot can't be read"));
            }
            let (package, block) = (le32(slot, 4), le32(slot, 8));
            // An empty slot.
            if package == Some(0) || block == Some(0) {
                continue;
            }
            let blob = blob(&mut file, block.map_or(0, u64::from) * BLOCK_BYTES, package)?;
            each(&blob);
        }
    }
    Ok(())
}

/// The header at `at`, of which the end may be omitted: see [`MOST_BYTES`].
fn blob(file: &mut Reader<'_>, at: u64, package: Option<u32>) -> Result<Vec<u8>, Fault> {
    let mut head = [0; 16];
    file.read(at, &mut head)?;
    let length = le32(&head, 12).map_or(0, |length| length as usize);
    if !head.starts_with(BLOB) || le32(&head, 4) != package {
        return Err(Fault::Damaged("a slot does not lead to a package"));
    }
    let left = file.size().saturating_sub(at + 16);
    let size = length.min(MOST_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut blob = vec![0; size];
    file.read(at + 16, &mut blob)?;
    Ok(blob)
}
