//! Parses an rpm header: counts, an index of tags, a store of values, all big-endian.
//! <https://rpm-software-management.github.io/rpm/manual/format_header.html>

use xshield_wire::telemetry::SoftwarePackage;

use super::source::{Fault, be32};

/// The most bytes of a header that are read. The wanted tags come first in the store, file lists of megabytes
/// after them.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// `RPMTAG_NAME`, `…_VERSION`, `…_RELEASE`, `…_EPOCH`, `…_ARCH`.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;
/// `RPM_INT32_TYPE`, `RPM_STRING_TYPE`.
const INT32: u32 = 4;
const STRING: u32 = 6;
const ENTRY_BYTES: usize = 16;
/// The limit of `rpm` itself.
const MOST_ENTRIES: u32 = 0x0000_ffff;

/// The package of a header, whose end may be omitted. `None` for imported keys, which are stored as packages.
///
/// # Errors
/// When it is not a header or lacks a field that every package has.
pub fn package(blob: &[u8]) -> Result<Option<SoftwarePackage>, Fault> {
    let header = Header::new(blob).ok_or(Fault::Damaged("a package's header is cut off"))?;
    let text = |tag| header.text(tag).filter(|text| !text.is_empty());
    let nameless = Fault::Damaged("a package has no name, version or release");
    let Some(((name, version), release)) = text(NAME).zip(text(VERSION)).zip(text(RELEASE)) else {
        return Err(nameless);
    };
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let epoch = header.number(EPOCH).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Ok(Some(SoftwarePackage {
        name,
        version: format!("{epoch}{version}-{release}"),
        architecture: text(ARCHITECTURE).unwrap_or_default(),
        manager: "rpm".to_owned(),
    }))
}

struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(blob: &'a [u8]) -> Option<Self> {
        let entries = be32(blob, 0).filter(|count| *count <= MOST_ENTRIES)?;
        let rest = blob.get(8..)?;
        let (index, store) = rest.split_at_checked(usize::try_from(entries).ok()? * ENTRY_BYTES)?;
        Some(Self { index, store })
    }

    fn value(&self, tag: u32, kind: u32) -> Option<&'a [u8]> {
        let mut entries = self.index.chunks_exact(ENTRY_BYTES);
        let entry = entries.find(|entry| be32(entry, 0) == Some(tag))?;
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        if be32(entry, 4)? == kind { self.store.get(offset..) } else { None }
    }

    fn text(&self, tag: u32) -> Option<String> {
        let value = self.value(tag, STRING)?;
        let end = value.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        be32(self.value(tag, INT32)?, 0)
    }
}
