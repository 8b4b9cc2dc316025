//! A queue on disk for undelivered records, limited in size and protected by checksums.
//!
//! There is one file per record. Its name contains an increasing sequence number, the number of items in it,
//! so that even a damaged record can be counted, and its order. Records dropped because of the size limit or
//! damage are counted in a separate file before they are deleted: after a kill in between they are counted
//! twice rather than never.

mod order;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, Access, FileError};

pub use order::DeliveryOrder;

const SUFFIX: &str = "record";
const LOSSES: &str = "losses";
/// The most damaged records kept for inspection.
const DAMAGED_KEPT: usize = 4;
/// The most damaged records reported individually.
const DAMAGE_TOLD: usize = 32;

/// Identifies a record; a later record has a greater id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(u64);

/// What was dropped since the losses were last settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Records.
    pub records: u64,
    /// The items in them, as given to [`Spool::append`], e.g. flows.
    pub items: u64,
}

/// A record that was skipped because its file is damaged. It is also counted in [`Losses`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The items in it, as given to [`Spool::append`].
    pub items: u64,
    /// How the damage was detected, and where the file is kept.
    pub text: String,
}

/// Why the spool could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory can't be created or read.
    #[error("could not open the spool in {path}; check its permissions and the disk")]
    Open {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
    /// A single record exceeds the size limit. It was counted as lost.
    #[error("a record of {size} bytes exceeds the spool's limit of {bound} bytes; raise the limit")]
    TooLarge {
        /// The record's size.
        size: u64,
        /// The limit.
        bound: u64,
    },
    /// A file of the spool could not be written or read.
    #[error("could not use the spool")]
    File(#[from] FileError),
    /// A delivered record can't be deleted; it will be delivered again.
    #[error("could not delete the record {path}; it will be delivered again")]
    Delete {
        /// The record's file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    items: u64,
    bytes: u64,
    order: DeliveryOrder,
}

/// The queue. Only one process may use it at a time, see [`crate::lock`].
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    bound: u64,
    entries: BTreeMap<RecordId, Entry>,
    losses: Losses,
    /// The next record's id. It never decreases while the program runs: an id that was acknowledged twice
    /// must not belong to a later record.
    next: u64,
    damage: Vec<Damage>,
}

impl Spool {
    /// Opens the spool in `directory`, which is created if it is missing. `bound` limits the total bytes of
    /// all records.
    ///
    /// # Errors
    /// When the directory can't be created or read, or the count of losses can't be written.
    pub fn open(directory: &Path, bound: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Open { path: directory.to_owned(), source };
        files::private_directory(directory).map_err(failed)?;
        let entries = scan(directory).map_err(failed)?;
        let mut spool = Self {
            directory: directory.to_owned(),
            bound,
            next: entries.last_key_value().map_or(1, |(last, _)| last.0.saturating_add(1)),
            entries,
            losses: Losses::default(),
            damage: Vec::new(),
        };
        match files::read_state(&spool.directory.join(LOSSES)) {
            Ok(losses) => spool.losses = losses.unwrap_or_default(),
            // The number in it is lost, but at least one record must be reported as missing.
            Err(FileError::Damaged { .. }) => spool.lose(1, 1)?,
            Err(error) => return Err(error.into()),
        }
        spool.make_room(0)?;
        Ok(spool)
    }

    /// Adds a record with `items` items; `order` determines when it is delivered. If the limit is reached, the
    /// oldest records are deleted and counted as lost.
    ///
    /// # Errors
    /// When it can't be written or exceeds the limit. It is then counted as lost.
    pub fn append(
        &mut self,
        record: &[u8],
        items: u64,
        order: DeliveryOrder,
    ) -> Result<RecordId, SpoolError> {
        self.store(record, items, order).inspect_err(|_| {
            // The disk may be too full to save the count: it stays in memory, and is saved with the next one.
            let _ = self.lose(1, items);
        })
    }

    fn store(
        &mut self,
        record: &[u8],
        items: u64,
        order: DeliveryOrder,
    ) -> Result<RecordId, SpoolError> {
        let content = files::seal(record);
        let size = content.len() as u64;
        if size > self.bound {
            return Err(SpoolError::TooLarge { size, bound: self.bound });
        }
        self.make_room(size)?;
        let id = RecordId(self.next);
        let entry = Entry { items, bytes: size, order };
        files::write(&self.path(id, entry), &content, Access::Private)?;
        self.next = self.next.saturating_add(1);
        self.entries.insert(id, entry);
        Ok(id)
    }

    /// The waiting records in order of delivery: smallest first, each sequence in its order.
    #[must_use]
    pub fn pending(&self) -> Vec<RecordId> {
        order::order(&self.entries)
    }

    /// The items in a waiting record, as given to [`Spool::append`]; 0 if it does not wait.
    #[must_use]
    pub fn items(&self, id: RecordId) -> u64 {
        self.entries.get(&id).map_or(0, |entry| entry.items)
    }

    /// The number of waiting records.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// The record's bytes; `None` if it is not in the spool, or is damaged: it is then moved aside, counted
    /// as lost and returned by [`Spool::take_damage`].
    ///
    /// # Errors
    /// When reading fails for a temporary reason.
    pub fn read(&mut self, id: RecordId) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some(&entry) = self.entries.get(&id) else { return Ok(None) };
        let path = self.path(id, entry);
        let reason = match files::read(&path) {
            Ok(None) => "it is gone".to_owned(),
            Ok(Some(content)) => match files::unseal(&content) {
                Ok(record) => return Ok(Some(record.to_vec())),
                Err(reason) => reason.to_owned(),
            },
            Err(FileError::Read { source, .. }) if is_damage(&path, &source) => source.to_string(),
            Err(error) => return Err(error.into()),
        };
        self.lose(1, entry.items)?;
        let text = files::set_aside(&path, reason).to_string();
        self.entries.remove(&id);
        if self.damage.len() < DAMAGE_TOLD {
            self.damage.push(Damage { items: entry.items, text });
        }
        self.forget_old_damage();
        Ok(None)
    }

    /// The records found damaged since the last call; if there were many, the first ones.
    #[must_use]
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    /// Deletes a record that the platform has acknowledged; repeating it has no effect.
    ///
    /// # Errors
    /// When the file can't be deleted.
    pub fn acknowledge(&mut self, id: RecordId) -> Result<(), SpoolError> {
        let Some(&entry) = self.entries.get(&id) else { return Ok(()) };
        self.delete(id, entry)
    }

    /// The losses that are not settled yet.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Subtracts losses that have been reported. Losses counted since then stay.
    ///
    /// # Errors
    /// When the count can't be written; it is then reported again.
    pub fn settle(&mut self, reported: Losses) -> Result<(), SpoolError> {
        if reported == Losses::default() {
            return Ok(());
        }
        let left = Losses {
            records: self.losses.records.saturating_sub(reported.records),
            items: self.losses.items.saturating_sub(reported.items),
        };
        files::write_state(&self.directory.join(LOSSES), &left)?;
        self.losses = left;
        Ok(())
    }

    fn make_room(&mut self, wanted: u64) -> Result<(), SpoolError> {
        let mut used: u64 = self.entries.values().map(|entry| entry.bytes).sum();
        while used.saturating_add(wanted) > self.bound {
            let Some((&oldest, &entry)) = self.entries.first_key_value() else { break };
            let before = self.losses;
            let counted = self.lose(1, entry.items);
            if let Err(error) = self.delete(oldest, entry) {
                self.losses = before;
                return Err(error);
            }
            if counted.is_err() {
                // On a full disk there is room for the count now.
                let _ = self.lose(0, 0);
            }
            used -= entry.bytes;
        }
        Ok(())
    }

    fn lose(&mut self, records: u64, items: u64) -> Result<(), SpoolError> {
        self.losses.records = self.losses.records.saturating_add(records);
        self.losses.items = self.losses.items.saturating_add(items);
        Ok(files::write_state(&self.directory.join(LOSSES), &self.losses)?)
    }

    fn delete(&mut self, id: RecordId, entry: Entry) -> Result<(), SpoolError> {
        let path = self.path(id, entry);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::Delete { path, source })
            }
            _ => {
                self.entries.remove(&id);
                Ok(())
            }
        }
    }

    fn path(&self, id: RecordId, entry: Entry) -> PathBuf {
        let mark = entry.order.mark();
        self.directory.join(format!("{:016x}-{}{mark}.{SUFFIX}", id.0, entry.items))
    }

    fn forget_old_damage(&self) {
        let Ok(listing) = fs::read_dir(&self.directory) else { return };
        let mut damaged: Vec<PathBuf> = listing
            .filter_map(|item| Some(item.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|suffix| suffix == "damaged"))
            .collect();
        damaged.sort_unstable();
        let surplus = damaged.len().saturating_sub(DAMAGED_KEPT);
        for path in &damaged[..surplus] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether reading fails permanently: because of the disk, the file system, or a different kind of file.
fn is_damage(path: &Path, error: &io::Error) -> bool {
    let of_disk = error.raw_os_error().is_some_and(|number| DISK_ERRORS.contains(&number));
    // Opening a directory as a file fails with "access denied" on Windows.
    of_disk || path.is_dir()
}

/// Numbers of errno(3) on Linux: the disk can't read it, the file system is damaged (EIO, EBADMSG,
/// EUCLEAN).
#[cfg(unix)]
const DISK_ERRORS: &[i32] = &[5, 74, 117];
/// The same on Windows: ERROR_CRC, ERROR_IO_DEVICE, ERROR_FILE_CORRUPT, ERROR_DISK_CORRUPT.
#[cfg(windows)]
const DISK_ERRORS: &[i32] = &[23, 1117, 1392, 1393];

/// The records in the directory. Files that a killed run left incomplete were never records and are deleted.
fn scan(directory: &Path) -> io::Result<BTreeMap<RecordId, Entry>> {
    let mut entries = BTreeMap::new();
    for item in fs::read_dir(directory)? {
        let item = item?;
        let name = item.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".new") {
            fs::remove_file(item.path())?;
        } else if let Some((id, items, order)) = parse_name(name) {
            entries.insert(id, Entry { items, bytes: item.metadata()?.len(), order });
        }
    }
    Ok(entries)
}

fn parse_name(name: &str) -> Option<(RecordId, u64, DeliveryOrder)> {
    let (id, rest) = name.strip_suffix(SUFFIX)?.strip_suffix('.')?.split_once('-')?;
    let (items, mark) = match rest.split_once('-') {
        Some((items, mark)) => (items, Some(mark)),
        None => (rest, None),
    };
    let id = RecordId(u64::from_str_radix(id, 16).ok()?);
    Some((id, items.parse().ok()?, DeliveryOrder::parse(mark)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOMY: u64 = 1 << 20;
    const LANE: DeliveryOrder = DeliveryOrder::InOrder(1);

    fn contents(spool: &mut Spool) -> Vec<Vec<u8>> {
        spool.pending().into_iter().filter_map(|id| spool.read(id).unwrap()).collect()
    }

    #[test]
    fn records_are_delivered_oldest_first_and_removed_when_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        let first = spool.append(b"one", 1, LANE).unwrap();
        spool.append(b"two", 1, LANE).unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        assert_eq!(contents(&mut spool), [b"one", b"two"]);
        spool.acknowledge(first).unwrap();
        spool.acknowledge(first).unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        assert_eq!(contents(&mut spool), [b"two"]);
        assert_eq!(spool.losses(), Losses::default());
    }

    #[test]
    fn the_oldest_records_are_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let record = [7; 100];
        let sealed = files::seal(&record).len() as u64;
        let mut spool = Spool::open(dir.path(), 3 * sealed).unwrap();
        for _ in 0..5 {
            spool.append(&record, 10, LANE).unwrap();
        }
        let mut spool = Spool::open(dir.path(), 3 * sealed).unwrap();
        assert_eq!(spool.pending().len(), 3);
        let lost = Losses { records: 2, items: 20 };
        assert_eq!(spool.losses(), lost);
        spool.append(&record, 10, LANE).unwrap();
        spool.settle(lost).unwrap();
        let spool = Spool::open(dir.path(), 3 * sealed).unwrap();
        assert_eq!(spool.losses(), Losses { records: 1, items: 10 }, "lost since the report");
    }

    #[test]
    fn a_record_larger_than_the_limit_is_refused_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), 200).unwrap();
        spool.append(b"small", 1, LANE).unwrap();
        assert!(matches!(spool.append(&[0; 300], 5, LANE), Err(SpoolError::TooLarge { .. })));
        assert_eq!(spool.pending().len(), 1, "the small one stays");
        assert_eq!(spool.losses(), Losses { records: 1, items: 5 });
    }

    #[test]
    fn a_record_truncated_at_any_byte_is_counted_and_the_rest_delivered() {
        let whole = files::seal(b"torn");
        for end in 0..whole.len() {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
            spool.append(b"before", 1, LANE).unwrap();
            spool.append(b"torn", 3, LANE).unwrap();
            spool.append(b"after", 1, LANE).unwrap();
            fs::write(dir.path().join("0000000000000002-3-1.record"), &whole[..end]).unwrap();
            fs::write(dir.path().join("0000000000000004-1-1.record.new"), b"half").unwrap();
            let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
            assert_eq!(contents(&mut spool), [b"before".to_vec(), b"after".to_vec()]);
            assert_eq!(spool.losses(), Losses { records: 1, items: 3 });
            assert_eq!(contents(&mut spool).len(), 2, "counted once");
            assert_eq!(spool.losses().records, 1);
        }
    }

    #[test]
    fn damage_is_reported_once_and_never_blocks_later_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        for _ in 0..4 {
            spool.append(b"whole", 2, LANE).unwrap();
        }
        let path = |id| dir.path().join(format!("{id:016x}-2-1.record"));
        fs::write(path(1), b"overwritten").unwrap();
        fs::remove_file(path(2)).unwrap();
        fs::remove_file(path(3)).unwrap();
        fs::create_dir(path(3)).unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        fs::remove_file(path(4)).unwrap();
        fs::write(path(4), files::seal(b"whole")).unwrap();
        assert_eq!(contents(&mut spool), [b"whole"]);
        let damage = spool.take_damage();
        assert_eq!(damage.len(), 2, "one was gone before it was opened: {damage:?}");
        assert!(damage.iter().all(|damage| damage.items == 2 && damage.text.contains(".damaged")));
        assert_eq!(spool.take_damage(), []);
        assert_eq!(spool.losses(), Losses { records: 2, items: 4 });
    }

    #[test]
    fn the_order_of_delivery_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("0000000000000001-5.record"), files::seal(b"from before"))
            .unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        spool.append(&[b'x'; 500], 1, DeliveryOrder::BySize).unwrap();
        spool.append(b"small", 1, DeliveryOrder::BySize).unwrap();
        spool.append(&[b'y'; 100], 1, LANE).unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        let sizes: Vec<usize> = contents(&mut spool).iter().map(Vec::len).collect();
        assert_eq!(sizes, [5, 11, 100, 500]);
        for id in spool.pending() {
            spool.acknowledge(id).unwrap();
        }
        assert_eq!(Spool::open(dir.path(), ROOMY).unwrap().waiting(), 0);
    }

    #[test]
    fn an_acknowledged_id_is_never_reused() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        let first = spool.append(b"one", 1, LANE).unwrap();
        spool.acknowledge(first).unwrap();
        let second = spool.append(b"two", 1, LANE).unwrap();
        spool.acknowledge(first).unwrap();
        assert_eq!(spool.read(second).unwrap().as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn damage_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), ROOMY).unwrap();
        for _ in 0..10 {
            let id = spool.append(b"x", 1, LANE).unwrap();
            let path = spool.path(id, spool.entries[&id]);
            fs::write(path, b"?").unwrap();
            assert_eq!(spool.read(id).unwrap(), None);
            spool.append(b"keeps the sequence growing", 1, LANE).unwrap();
        }
        let damaged = fs::read_dir(dir.path())
            .unwrap()
            .filter(|item| {
                item.as_ref().unwrap().path().extension().is_some_and(|end| end == "damaged")
            })
            .count();
        assert_eq!((damaged, spool.losses().records), (DAMAGED_KEPT, 10));
    }

    #[test]
    fn a_damaged_loss_count_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        drop(Spool::open(dir.path(), ROOMY).unwrap());
        fs::write(dir.path().join(LOSSES), b"garbage").unwrap();
        assert_eq!(
            Spool::open(dir.path(), ROOMY).unwrap().losses(),
            Losses { records: 1, items: 1 }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// For any sequence of appending, acknowledging and reopening: delivered + waiting + lost = appended.
        #[test]
        fn every_record_is_delivered_or_counted(steps in prop::collection::vec((0_u8..6, 0_usize..400), 1..40)) {
            let dir = tempfile::tempdir().unwrap();
            let bound = 1500;
            let mut spool = Spool::open(dir.path(), bound).unwrap();
            let (mut appended, mut delivered) = (0_u64, 0_u64);
            for (step, size) in steps {
                match step {
                    0..=3 => {
                        spool.append(&vec![step; size], 2, LANE).unwrap();
                        appended += 1;
                    }
                    4 => if let Some(&oldest) = spool.pending().first() {
                        prop_assert!(spool.read(oldest).unwrap().is_some());
                        spool.acknowledge(oldest).unwrap();
                        delivered += 1;
                    },
                    _ => spool = Spool::open(dir.path(), bound).unwrap(),
                }
                let waiting = spool.pending().len() as u64;
                prop_assert_eq!(delivered + waiting + spool.losses().records, appended);
                prop_assert_eq!(spool.losses().items, 2 * spool.losses().records);
            }
        }
    }
}
