//! Lists and changes as files.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use xshield_firewall::plan::Digest;
use xshield_firewall::threat::{Counts, ListName};
use xshield_threat::codec::flat::Trailer;
use xshield_threat::codec::{CodecError, FlatReader, FlatWriter, Limits, SnapshotReader};
use xshield_threat::plan::{self, Expansion};
use xshield_threat::{Prefix, ThreatSet, codec};

/// A /31 as two hosts takes no more kernel memory than as an interval, and avoids a second look-up.
pub(crate) const EXPANSION: Expansion = Expansion { v4_from: 31, v6_from: 127 };

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Writes a plain list, an address or prefix a line, as a host keeps it. Returns its entries.
pub(crate) fn compile(text: &Path, list: &Path) -> Result<u64> {
    let text = fs::read_to_string(text)?;
    let prefixes = text.lines().map(str::parse::<Prefix>);
    let set = prefixes.collect::<std::result::Result<ThreatSet, _>>()?;
    write(set.iter().map(Ok), list)
}

/// Encodes a list for transfer. Returns its size in bytes.
pub(crate) fn pack(list: &Path, snapshot: &Path) -> Result<usize> {
    let bytes = codec::snapshot(&read(list)?);
    fs::write(snapshot, &bytes)?;
    Ok(bytes.len())
}

/// Converts a transferred list to the format of a host's disk. Returns its number of entries.
pub(crate) fn unpack(snapshot: &Path, list: &Path) -> Result<u64> {
    let mut reader = SnapshotReader::new(File::open(snapshot)?, Limits::default())?;
    write(std::iter::from_fn(|| reader.read().transpose()), list)
}

/// Encodes the change from one list to another, and saves the name of the result beside it. Returns its size
/// in bytes.
pub(crate) fn delta(old: &Path, new: &Path, delta: &Path) -> Result<usize> {
    let bytes = codec::delta(&read(old)?, &read(new)?);
    fs::write(delta, &bytes)?;
    write_name(delta, &name_of(new)?)?;
    Ok(bytes.len())
}

/// Opens a list; its content is only verified once it was read to its end.
pub(crate) fn open(list: &Path) -> Result<FlatReader<File>> {
    Ok(FlatReader::new(File::open(list)?, Limits::default())?)
}

/// The name of a list saved beside it: its digest and its number of elements.
pub(crate) fn name_of(list: &Path) -> Result<ListName> {
    let note = fs::read_to_string(beside(list))?;
    let (digest, counts): (String, Counts) = serde_json::from_str(&note)?;
    Ok(ListName { revision: 1, digest: digest.parse()?, counts })
}

/// Names a list by the digest at the end of its file and its elements.
pub(crate) fn name(trailer: Trailer, counts: &plan::Counts) -> Result<ListName> {
    let counts = Counts {
        hosts4: counts.v4_hosts.try_into()?,
        nets4: counts.v4_intervals.try_into()?,
        hosts6: counts.v6_hosts.try_into()?,
        nets6: counts.v6_intervals.try_into()?,
    };
    Ok(ListName { revision: 1, digest: Digest(trailer.digest.0), counts })
}

/// Saves the name of a list beside it.
pub(crate) fn write_name(list: &Path, name: &ListName) -> Result<()> {
    let note = serde_json::to_string(&(name.digest.to_string(), name.counts))?;
    Ok(fs::write(beside(list), note)?)
}

fn beside(list: &Path) -> PathBuf {
    let mut name = list.as_os_str().to_owned();
    name.push(".name");
    name.into()
}

fn read(list: &Path) -> Result<ThreatSet> {
    Ok(open(list)?.collect::<std::result::Result<ThreatSet, CodecError>>()?)
}

fn write(
    prefixes: impl Iterator<Item = std::result::Result<Prefix, CodecError>>,
    list: &Path,
) -> Result<u64> {
    let mut writer = FlatWriter::new(File::create(list)?);
    let mut counts = plan::Counts::default();
    for prefix in prefixes {
        let prefix = prefix?;
        writer.push(prefix)?;
        counts.add(prefix, EXPANSION);
    }
    let (file, trailer) = writer.finish()?;
    file.sync_all()?;
    write_name(list, &name(trailer, &counts)?)?;
    Ok(trailer.v4 + trailer.v6)
}
