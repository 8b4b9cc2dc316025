//! Who may do what with a file: a security descriptor in the security descriptor definition language
//! (SDDL), as far as it tells whether others can read or change the file.
//!
//! Denying entries are not counted: an identity that one entry allows something and another denies it is
//! reported all the same.

/// The owner and the access list of a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccess {
    owner: Option<String>,
    dacl: Dacl,
}

/// The discretionary access list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Dacl {
    /// There is none: everybody may do everything.
    Absent,
    Entries(Vec<Allowed>),
}

/// What an entry allows on the object itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    rights: u32,
    identity: String,
}

/// What an identity can do with a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ability {
    /// See its content, or allow itself to.
    Read,
    /// Change its content or its access list, or delete it.
    Change,
    /// Of a directory: put another file or directory in the place of one in it.
    Replace,
}

/// Why a descriptor could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the security descriptor has {what} at {rest:?}")]
pub struct SddlError {
    what: &'static str,
    rest: String,
}

/// The service that installs Windows: `NT SERVICE\TrustedInstaller`.
pub const TRUSTED_INSTALLER: &str =
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/// Everybody.
pub const EVERYONE: &str = "S-1-1-0";

/// SYSTEM, Administrators and the built-in administrator, in both notations.
const ADMINISTRATIVE: [&str; 6] = ["SY", "S-1-5-18", "BA", "S-1-5-32-544", "LA", TRUSTED_INSTALLER];
/// CREATOR OWNER, which is in nobody's token, and OWNER RIGHTS, who is judged as the owner.
const OWNER_ITSELF: [&str; 4] = ["CO", "S-1-3-0", "OW", "S-1-3-4"];

const READ_DATA: u32 = 0x1;
const WRITE_DATA: u32 = 0x2;
const APPEND_DATA: u32 = 0x4;
const WRITE_EXTENDED_ATTRIBUTES: u32 = 0x10;
const DELETE_CHILD: u32 = 0x40;
const WRITE_ATTRIBUTES: u32 = 0x100;
const DELETE: u32 = 0x1_0000;
const WRITE_DAC: u32 = 0x4_0000;
const WRITE_OWNER: u32 = 0x8_0000;
const GENERIC_ALL: u32 = 0x1000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const GENERIC_READ: u32 = 0x8000_0000;

/// What the letters of a rights field stand for.
const RIGHTS: [(&str, u32); 23] = [
    ("GA", GENERIC_ALL),
    ("GX", 0x2000_0000),
    ("GW", GENERIC_WRITE),
    ("GR", GENERIC_READ),
    ("RC", 0x2_0000),
    ("SD", DELETE),
    ("WD", WRITE_DAC),
    ("WO", WRITE_OWNER),
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("FA", 0x1f_01ff),
    ("FR", 0x12_0089),
    ("FW", 0x12_0116),
    ("FX", 0x12_00a0),
    ("AS", 0x100_0000),
    ("MA", 0x200_0000),
];

impl Ability {
    /// Any of these rights gives it.
    fn rights(self) -> u32 {
        let take_over = WRITE_DAC | WRITE_OWNER | GENERIC_ALL;
        match self {
            Self::Read => take_over | READ_DATA | GENERIC_READ,
            Self::Change => {
                let content = WRITE_DATA | APPEND_DATA | DELETE_CHILD | DELETE | GENERIC_WRITE;
                // A reparse point, which leads elsewhere, is set with the right to write attributes.
                take_over | content | WRITE_ATTRIBUTES | WRITE_EXTENDED_ATTRIBUTES
            }
            Self::Replace => take_over | DELETE_CHILD | DELETE,
        }
    }
}

impl FileAccess {
    /// Reads the owner and the discretionary list of a descriptor.
    ///
    /// # Errors
    /// When it is not SDDL, or has entries of a type that is not known.
    pub fn parse(sddl: &str) -> Result<Self, SddlError> {
        let mut reader = Reader { rest: sddl };
        let owner = reader.identity_after("O:")?;
        reader.identity_after("G:")?;
        let dacl = if reader.take("D:") { reader.dacl()? } else { Dacl::Absent };
        if !reader.rest.is_empty() && !reader.rest.starts_with("S:") {
            return Err(reader.wrong("unexpected text"));
        }
        Ok(Self { owner, dacl })
    }

    /// The owner, unless it is an administrator or one of `trusted`. A descriptor that doesn't say is
    /// everybody's.
    #[must_use]
    pub fn foreign_owner(&self, trusted: &[String]) -> Option<&str> {
        let owner = self.owner.as_deref().unwrap_or(EVERYONE);
        (!is_trusted(owner, trusted)).then_some(owner)
    }

    /// An identity with this ability that is neither an administrator nor one of `trusted`.
    #[must_use]
    pub fn who_else_can(&self, ability: Ability, trusted: &[String]) -> Option<&str> {
        let entries = match &self.dacl {
            Dacl::Absent => return Some(EVERYONE),
            Dacl::Entries(entries) => entries,
        };
        let can = |entry: &&Allowed| entry.rights & ability.rights() != 0;
        let is_other =
            |identity: &&str| !OWNER_ITSELF.contains(identity) && !is_trusted(identity, trusted);
        entries.iter().filter(can).map(|entry| entry.identity.as_str()).find(is_other)
    }
}

fn is_trusted(identity: &str, trusted: &[String]) -> bool {
    ADMINISTRATIVE.contains(&identity) || trusted.iter().any(|known| known == identity)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> SddlError {
        SddlError { what, rest: self.rest.chars().take(40).collect() }
    }

    fn take(&mut self, mark: &str) -> bool {
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The identity after a mark; `None` without the mark.
    fn identity_after(&mut self, mark: &str) -> Result<Option<String>, SddlError> {
        if !self.take(mark) {
            return Ok(None);
        }
        let length = match self.rest.strip_prefix("S-") {
            Some(number) => {
                let is_part = |c: char| c.is_ascii_digit() || c == '-';
                2 + number.find(|c| !is_part(c)).unwrap_or(number.len())
            }
            None => 2,
        };
        let (identity, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.wrong("no identity"))?;
        if !is_identity(identity) {
            return Err(self.wrong("no identity"));
        }
        self.rest = rest;
        Ok(Some(identity.to_owned()))
    }

    fn dacl(&mut self) -> Result<Dacl, SddlError> {
        let flags = self.rest.find(['(', ':']).map_or(self.rest.len(), |end| {
            // The mark of the next part is a letter and a colon.
            if self.rest[end..].starts_with(':') { end.saturating_sub(1) } else { end }
        });
        let (flags, rest) = self.rest.split_at(flags);
        self.rest = rest;
        if flags.contains("NO_ACCESS_CONTROL") {
            return Ok(Dacl::Absent);
        }
        let mut entries = Vec::new();
        while self.rest.starts_with('(') {
            let entry = self.entry()?;
            entries.extend(self.allowed(entry)?);
        }
        Ok(Dacl::Entries(entries))
    }

    /// What stands between the parentheses of the next entry; a condition has parentheses of its own.
    fn entry(&mut self) -> Result<&'a str, SddlError> {
        let (mut depth, mut is_quoted) = (0_usize, false);
        for (at, character) in self.rest.char_indices() {
            match character {
                '"' => is_quoted = !is_quoted,
                '(' if !is_quoted => depth += 1,
                ')' if !is_quoted => {
                    depth -= 1;
                    if depth == 0 {
                        let entry = &self.rest[1..at];
                        self.rest = &self.rest[at + 1..];
                        return Ok(entry);
                    }
                }
                _ => {}
            }
        }
        Err(self.wrong("an entry without an end"))
    }

    fn allowed(&self, entry: &str) -> Result<Option<Allowed>, SddlError> {
        let wrong = |what| SddlError { what, rest: entry.chars().take(80).collect() };
        let mut fields = entry.splitn(7, ';');
        let mut field = || fields.next().ok_or_else(|| wrong("an entry with too few fields"));
        let (kind, flags, rights) = (field()?, field()?, field()?);
        let (_object, _inherited, identity) = (field()?, field()?, field()?);
        match kind {
            // With a condition or for a part of an object: counted as if it held everywhere.
            "A" | "OA" | "XA" | "ZA" => {}
            "D" | "OD" | "XD" | "ZD" => return Ok(None),
            _ => return Err(wrong("an entry of an unknown type")),
        }
        let rights = mask(rights).ok_or_else(|| wrong("unknown rights"))?;
        if !is_identity(identity) {
            return Err(wrong("no identity"));
        }
        let only_inherited = pairs(flags).is_some_and(|mut flags| flags.any(|flag| flag == "IO"));
        Ok((!only_inherited).then(|| Allowed { rights, identity: identity.to_owned() }))
    }
}

fn is_identity(text: &str) -> bool {
    let letters = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    letters || text.strip_prefix("S-1-").is_some_and(|rest| !rest.is_empty())
}

/// A text of letters in pairs.
fn pairs(text: &str) -> Option<impl Iterator<Item = &str>> {
    let is_paired = text.is_ascii() && text.len().is_multiple_of(2);
    is_paired.then(|| (0..text.len()).step_by(2).map(|at| &text[at..at + 2]))
}

fn mask(text: &str) -> Option<u32> {
    if let Some(number) = text.strip_prefix("0x") {
        return u32::from_str_radix(number, 16).ok();
    }
    pairs(text)?.try_fold(0, |mask, pair| {
        let (_, right) = RIGHTS.iter().find(|(name, _)| *name == pair)?;
        Some(mask | right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The defaults of a Windows Server 2019, and what administrators make of them.
    #[test]
    fn access_rights_are_computed() {
        const PRIVATE: &str = "O:BAG:SYD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
        const PROGRAM_DATA: &str = "O:SYG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)\
            (A;OICIIOID;GA;;;CO)(A;OICIID;0x1200a9;;;BU)(A;CIID;DCLCRPCR;;;BU)";
        const ROOT: &str = "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464\
            G:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464\
            D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CIIO;DC;;;BU)\
            (A;OICIIO;GA;;;CO)";
        use Ability::{Change, Read, Replace};
        let me = ["S-1-5-21-1-2-3-1001".to_owned()];
        #[rustfmt::skip]
        let table = [
            (PRIVATE, Change, None),
            (PRIVATE, Read, None),
            (PROGRAM_DATA, Change, Some("BU")),
            (PROGRAM_DATA, Replace, None),
            (PROGRAM_DATA, Read, Some("BU")),
            (ROOT, Replace, None),
            (ROOT, Change, Some("BU")),
            // Nobody is allowed anything.
            ("O:BAG:SYD:", Change, None),
            ("O:BAD:P", Read, None),
            // No list: everybody is allowed everything.
            ("O:BAG:SYD:NO_ACCESS_CONTROL", Change, Some(EVERYONE)),
            ("O:BAG:SY", Read, Some(EVERYONE)),
            ("O:BAG:SYD:(A;;GRGX;;;WD)", Read, Some("WD")),
            ("O:BAG:SYD:(A;;GRGX;;;WD)", Change, None),
            ("O:BAG:SYD:(A;;WD;;;AU)", Read, Some("AU")),
            ("O:BAG:SYD:(A;;SD;;;AU)", Replace, Some("AU")),
            // A denial does not make good what is allowed.
            ("O:BAG:SYD:(D;;FA;;;WD)(A;;FW;;;AU)", Change, Some("AU")),
            ("O:BAG:SYD:(A;;FA;;;S-1-5-21-1-2-3-1001)", Change, None),
            ("O:BAG:SYD:(A;;FA;;;S-1-5-21-1-2-3-1002)", Change, Some("S-1-5-21-1-2-3-1002")),
            ("O:BAG:SYD:(A;;FA;;;OW)(A;;FA;;;CO)", Change, None),
            ("O:BAG:SYD:(XA;;FA;;;AU;(@User.Title == \"a) (\"))S:(ML;;NW;;;LW)", Change, Some("AU")),
        ];
        for (sddl, ability, expected) in table {
            let access = FileAccess::parse(sddl).unwrap();
            assert_eq!(access.who_else_can(ability, &me), expected, "{ability:?}: {sddl}");
        }
    }

    #[test]
    fn owners_are_parsed() {
        let me = ["S-1-5-21-1-2-3-1001".to_owned()];
        for (owner, expected) in [
            ("O:BA", None),
            ("O:SY", None),
            ("O:LA", None),
            ("O:S-1-5-32-544", None),
            ("O:S-1-5-21-1-2-3-1001", None),
            ("O:S-1-5-21-1-2-3-1002", Some("S-1-5-21-1-2-3-1002")),
            ("O:BU", Some("BU")),
            ("", Some(EVERYONE)),
        ] {
            let access = FileAccess::parse(&format!("{owner}G:SYD:P(A;;FA;;;SY)")).unwrap();
            assert_eq!(access.foreign_owner(&me), expected, "{owner}");
        }
    }

    #[test]
    fn unknown_descriptors_are_refused() {
        for sddl in [
            "O:",
            "O:B",
            "O:äx",
            "O:BAx",
            "D:(A;;FA;;;SY",
            "D:(A;;FA;;)",
            "D:(A;;ZZ;;;SY)",
            "D:(A;;F;;;SY)",
            "D:(A;;0xg;;;SY)",
            "D:(A;;FA;;;)",
            "D:(Q;;FA;;;SY)",
            "D:(A;;FA;;;SY)x",
        ] {
            assert!(FileAccess::parse(sddl).is_err(), "{sddl}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(sddl in "\\PC*|([OGDS]:)?([A-Z]{2}|[(;)\"PAI0x-]|S-1-5){0,30}") {
            let _ = FileAccess::parse(&sddl);
        }
    }
}
