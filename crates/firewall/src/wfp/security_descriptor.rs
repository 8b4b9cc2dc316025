//! Security descriptors and identifiers between the bytes that the filter engine keeps and text (SDDL).
//!
//! Of descriptors, what filters use: an owner, a group and a list of identities that are let in or kept
//! out. Windows' own functions would print well-known identities as two letters (`BA`); here an entry
//! always has its identity in full, so that the same bytes always are the same text.

use super::program::Sid;

/// Owner and group of what Windows itself makes; everything else is in full.
const SHORT: [(&str, &str); 2] = [("SY", "S-1-5-18"), ("LS", "S-1-5-19")];
/// Rights of filters: to match them, and to read them.
const RIGHTS: [(&str, u32); 2] = [("CC", 0x1), ("CCRC", 0x2_0001)];
/// Revision, reserved byte, flags, and four offsets.
const HEADER: usize = 20;
/// `SE_SELF_RELATIVE | SE_DACL_PRESENT`.
const CONTROL: u16 = 0x8004;
const DACL_PRESENT: u16 = 0x0004;
const ACL_HEADER: usize = 8;
const ACE_HEADER: usize = 8;
const MOST_SUB_AUTHORITIES: usize = 15;

/// A security identifier as bytes; `None` if a number in it is too big for its place.
#[must_use]
pub fn sid_bytes(sid: &Sid) -> Option<Vec<u8>> {
    sid_text_bytes(&sid.to_string())
}

/// The security identifier at the beginning of these bytes.
#[must_use]
pub fn sid(bytes: &[u8]) -> Option<Sid> {
    let [1, count, authority @ ..] = bytes else { return None };
    let count = usize::from(*count);
    let (authority, rest) = authority.split_at_checked(6)?;
    let subs = rest.get(..count.checked_mul(4)?)?;
    if count > MOST_SUB_AUTHORITIES {
        return None;
    }
    let authority = authority.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut text = format!("S-1-{authority}");
    for sub in subs.chunks_exact(4) {
        let number = u32::from_le_bytes(sub.try_into().ok()?);
        text.push('-');
        text.push_str(&number.to_string());
    }
    Sid::try_from(text).ok()
}

fn sid_text_bytes(text: &str) -> Option<Vec<u8>> {
    let mut numbers = text.strip_prefix("S-1-")?.split('-');
    let authority: u64 = numbers.next()?.parse().ok()?;
    if authority >> 48 != 0 {
        return None;
    }
    let subs: Vec<u32> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    let count = u8::try_from(subs.len()).ok()?;
    if subs.len() > MOST_SUB_AUTHORITIES {
        return None;
    }
    let mut bytes = vec![1, count];
    bytes.extend(&authority.to_be_bytes()[2..]);
    bytes.extend(subs.iter().flat_map(|sub| sub.to_le_bytes()));
    Some(bytes)
}

/// A descriptor as bytes (self-relative); `None` if the text says more than this module knows.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let rest = text.strip_prefix("O:")?;
    let (owner, rest) = rest.split_once("G:")?;
    let (group, entries) = rest.split_once("D:")?;
    let in_full = |name: &str| {
        let short = SHORT.iter().find(|(short, _)| *short == name);
        sid_text_bytes(short.map_or(name, |(_, sid)| sid))
    };
    let (owner, group) = (in_full(owner)?, in_full(group)?);
    let mut list = Vec::new();
    let mut count = 0_u16;
    for entry in entries.strip_prefix('(')?.strip_suffix(')')?.split(")(") {
        list.extend(ace(entry)?);
        count += 1;
    }
    let size = u16::try_from(ACL_HEADER + list.len()).ok()?;
    let owner_at = u32::try_from(HEADER).ok()?;
    let group_at = owner_at + u32::try_from(owner.len()).ok()?;
    let list_at = group_at + u32::try_from(group.len()).ok()?;
    let mut bytes = vec![1, 0];
    bytes.extend(CONTROL.to_le_bytes());
    for offset in [owner_at, group_at, 0, list_at] {
        bytes.extend(offset.to_le_bytes());
    }
    bytes.extend(owner);
    bytes.extend(group);
    bytes.extend([2, 0]);
    bytes.extend(size.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(list);
    Some(bytes)
}

/// One entry of a list: whom it lets in, or keeps out.
fn ace(text: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = text.split(';').collect();
    let [kind, "", rights, "", "", identity] = parts[..] else { return None };
    let kind = match kind {
        "A" => 0,
        "D" => 1,
        _ => return None,
    };
    let mask = match RIGHTS.iter().find(|(name, _)| *name == rights) {
        Some((_, mask)) => *mask,
        None => u32::from_str_radix(rights.strip_prefix("0x")?, 16).ok()?,
    };
    let identity = sid_text_bytes(identity)?;
    let size = u16::try_from(ACE_HEADER + identity.len()).ok()?;
    let mut bytes = vec![kind, 0];
    bytes.extend(size.to_le_bytes());
    bytes.extend(mask.to_le_bytes());
    bytes.extend(identity);
    Some(bytes)
}

/// What a descriptor says; `None` if it says more than this module knows, or if it is damaged.
#[must_use]
pub fn text(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let offset = |at: usize| {
        let offset = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        usize::try_from(offset).ok().filter(|offset| *offset >= HEADER)
    };
    if bytes.first() != Some(&1) || word(2)? & DACL_PRESENT == 0 {
        return None;
    }
    let identity = |at: usize| sid(bytes.get(at..)?).map(|sid| sid.to_string());
    let short = |sid: String| {
        SHORT.iter().find(|(_, full)| *full == sid).map_or(sid, |(short, _)| (*short).to_owned())
    };
    let (owner, group) = (identity(offset(4)?)?, identity(offset(8)?)?);
    let list = bytes.get(offset(16)?..)?;
    let size = usize::from(u16::from_le_bytes(list.get(2..4)?.try_into().ok()?));
    let count = u16::from_le_bytes(list.get(4..6)?.try_into().ok()?);
    let mut rest = list.get(ACL_HEADER..size)?;
    let mut said = format!("O:{}G:{}D:", short(owner), short(group));
    for _ in 0..count {
        let [kind, 0, ..] = rest else { return None };
        let kind = match kind {
            0 => "A",
            1 => "D",
            _ => return None,
        };
        let size = usize::from(u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?));
        let mask = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?);
        let rights = RIGHTS.iter().find(|(_, known)| *known == mask);
        let rights = rights.map_or_else(|| format!("{mask:#x}"), |(name, _)| (*name).to_owned());
        let who = sid(rest.get(ACE_HEADER..size)?)?;
        said.push_str(&format!("({kind};;{rights};;;{who})"));
        rest = rest.get(size..)?;
    }
    (count > 0).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `O:SYG:SYD:(A;;CCRC;;;S-1-5-80-1-2)` as `ConvertStringSecurityDescriptorToSecurityDescriptorW`
    /// lays it out, but for the order of its parts, which the offsets tell.
    const BYTES: &[u8] = &[
        1, 0, 4, 0x80, 20, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, // header
        1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, // owner
        1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, // group
        2, 0, 36, 0, 1, 0, 0, 0, // list
        0, 0, 28, 0, 1, 0, 2, 0, 1, 3, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
    ];

    #[test]
    fn bytes_match_windows() {
        let said = "O:SYG:SYD:(A;;CCRC;;;S-1-5-80-1-2)";
        assert_eq!(bytes(said).as_deref(), Some(BYTES));
        assert_eq!(text(BYTES).as_deref(), Some(said));
    }

    #[test]
    fn text_round_trips() {
        for said in [
            "O:SYG:SYD:(A;;CCRC;;;S-1-5-18)",
            "O:LSG:S-1-5-32-544D:(A;;CC;;;S-1-5-80-1-2)(D;;CCRC;;;S-1-5-32-544)",
            "O:SYG:SYD:(A;;0x1f;;;S-1-15-2-4294967295)",
        ] {
            let bytes = bytes(said).unwrap();
            assert_eq!(text(&bytes).as_deref(), Some(said));
            for cut in 0..bytes.len() {
                assert_eq!(text(&bytes[..cut]), None, "{said} cut at {cut}");
            }
        }
    }

    #[test]
    fn only_lists_of_identities_are_accepted() {
        for said in [
            "",
            "O:SYG:SY",
            "O:SYG:SYD:",
            "O:SYG:SYD:(A;OICI;CC;;;S-1-5-18)",
            "O:SYG:SYD:(A;;CC;;;BA)",
            "O:SYG:SYD:(AU;;CC;;;S-1-5-18)",
            "O:SYG:SYD:(A;;CC;;;S-1-5-4294967296)",
        ] {
            assert_eq!(bytes(said), None, "{said}");
        }
        let mut inherited = BYTES.to_vec();
        inherited[53] = 0x10;
        assert_eq!(text(&inherited), None);
    }
}
