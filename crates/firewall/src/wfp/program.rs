//! How WFP identifies local programs: by executable and by the identities in a socket's access token.

use std::collections::BTreeMap;
use std::fmt;

use xshield_policy::{Bound, Direction, Owner};

/// The path of an executable as `FwpmGetAppIdFromFileName0` returns it: an NT device path in lower case, such
/// as `\device\harddiskvolume2\windows\system32\svchost.exe`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(String);

/// The security identifier of a user or of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(String);

/// The text does not identify a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Not a device path.
    #[error("{0:?} is not the NT device path of an executable: expected \\device\\…")]
    NotADevicePath(String),
    /// Not a security identifier.
    #[error("{0:?} is not a security identifier: expected S-1-… with numbers")]
    NotASid(String),
}

impl AppId {
    /// The bytes that a condition compares: UTF-16, little-endian, with a zero at the end.
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        self.0.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    }

    /// The path in such bytes.
    ///
    /// # Errors
    /// [`ProgramError::NotADevicePath`].
    pub fn from_blob(bytes: &[u8]) -> Result<Self, ProgramError> {
        let units: Vec<u16> = bytes
            .chunks(2)
            .map(|unit| u16::from_le_bytes([unit[0], *unit.get(1).unwrap_or(&0)]))
            .collect();
        let text = String::from_utf16_lossy(units.strip_suffix(&[0]).unwrap_or(&units));
        let path = Self::try_from(text.clone())?;
        if path.blob() == bytes { Ok(path) } else { Err(ProgramError::NotADevicePath(text)) }
    }
}

impl TryFrom<String> for AppId {
    type Error = ProgramError;

    fn try_from(text: String) -> Result<Self, ProgramError> {
        let is_path = text.starts_with("\\device\\") && !text.ends_with('\\');
        if is_path && text.len() <= 131_072 && !text.contains('\0') {
            Ok(Self(text))
        } else {
            Err(ProgramError::NotADevicePath(text))
        }
    }
}

impl TryFrom<String> for Sid {
    type Error = ProgramError;

    fn try_from(text: String) -> Result<Self, ProgramError> {
        let numbers = text.strip_prefix("S-1-").map(|rest| rest.split('-').collect::<Vec<_>>());
        let is_number = |number: &&str| number.parse::<u64>().is_ok();
        match numbers {
            Some(numbers) if numbers.len() <= 16 && numbers.iter().all(is_number) => Ok(Self(text)),
            _ => Err(ProgramError::NotASid(text)),
        }
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sid {
    /// The descriptor that admits tokens with this identity and no others.
    #[must_use]
    pub fn descriptor(&self) -> String {
        format!("O:SYG:SYD:(A;;CCRC;;;{self})")
    }

    /// The identities that a descriptor admits; `None` if it contains more than a list of them.
    #[must_use]
    pub fn admitted(descriptor: &str) -> Option<Vec<Self>> {
        let (_, entries) = descriptor.split_once("D:")?;
        let mut admitted = Vec::new();
        for entry in entries.strip_prefix('(')?.strip_suffix(')')?.split(")(") {
            let sid =
                entry.strip_prefix("A;;CCRC;;;").or_else(|| entry.strip_prefix("A;;CC;;;"))?;
            admitted.push(Self::try_from(sid.to_owned()).ok()?);
        }
        Some(admitted)
    }
}

/// How a program is identified; with both, both must match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalProgram {
    /// By its executable.
    App(AppId),
    /// By a user or service.
    Identity(Sid),
    /// A service of a shared executable, such as one of svchost.exe.
    Both(AppId, Sid),
}

impl LocalProgram {
    /// The executable, if it is used.
    #[must_use]
    pub fn app(&self) -> Option<&AppId> {
        match self {
            Self::App(app) | Self::Both(app, _) => Some(app),
            Self::Identity(_) => None,
        }
    }

    /// The identity, if it is used.
    #[must_use]
    pub fn identity(&self) -> Option<&Sid> {
        match self {
            Self::Identity(sid) | Self::Both(_, sid) => Some(sid),
            Self::App(_) => None,
        }
    }
}

/// How the owners of a bound ruleset are identified on this host. A missing owner can't be identified; its
/// rules are omitted and reported.
pub type Programs = BTreeMap<Owner, LocalProgram>;

impl LocalProgram {
    /// The program that an owner says it is; `None` for owners of other systems and malformed ones.
    #[must_use]
    pub fn of(owner: &Owner) -> Option<Self> {
        let Owner::Windows { executable, identity } = owner else { return None };
        let app = executable.clone().map(AppId::try_from).transpose().ok()?;
        let sid = identity.clone().map(Sid::try_from).transpose().ok()?;
        match (app, sid) {
            (Some(app), Some(sid)) => Some(Self::Both(app, sid)),
            (Some(app), None) => Some(Self::App(app)),
            (None, Some(sid)) => Some(Self::Identity(sid)),
            (None, None) => None,
        }
    }

    /// The owner that says all of it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::Windows {
            executable: self.app().map(ToString::to_string),
            identity: self.identity().map(ToString::to_string),
        }
    }
}

/// The programs that the rules of a bound ruleset name.
#[must_use]
pub fn programs_of(bound: &Bound) -> Programs {
    let stances = Direction::BOTH.into_iter().flat_map(|at| bound.direction(at).stances());
    let rules = stances.flat_map(|stance| stance.blocks.iter().chain(&stance.allows));
    let owners = rules.filter_map(|rule| rule.owner.as_ref());
    owners.filter_map(|owner| Some((owner.clone(), LocalProgram::of(owner)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_identities() {
        let path = r"\device\harddiskvolume2\windows\system32\svchost.exe".to_owned();
        let app = AppId::try_from(path.clone()).unwrap();
        assert_eq!(AppId::from_blob(&app.blob()), Ok(app.clone()));
        assert!(AppId::from_blob(&app.blob()[..5]).is_err());
        let beyond = AppId::try_from("\\device\\mup\\server\\ab\u{1f980}.exe".to_owned()).unwrap();
        assert_eq!(AppId::from_blob(&beyond.blob()), Ok(beyond));
        for wrong in ["", r"C:\Windows\x.exe", r"\device\x\", "\\device\\a\0b"] {
            assert!(AppId::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        for wrong in ["", "S-1-", "S-1-5-x", "S-2-5", "BA"] {
            assert!(Sid::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn owners_identify_programs() {
        let app = AppId::try_from(r"\device\x\a.exe".to_owned()).unwrap();
        let sid = Sid::try_from("S-1-5-18".to_owned()).unwrap();
        for program in [
            LocalProgram::App(app.clone()),
            LocalProgram::Identity(sid.clone()),
            LocalProgram::Both(app, sid),
        ] {
            assert_eq!(LocalProgram::of(&program.owner()), Some(program));
        }
        let windows = |executable: Option<&str>, identity: Option<&str>| Owner::Windows {
            executable: executable.map(str::to_owned),
            identity: identity.map(str::to_owned),
        };
        for owner in [
            Owner::Uid(0),
            Owner::Cgroup("a".to_owned()),
            windows(None, None),
            windows(Some(r"C:\a.exe"), None),
            windows(None, Some("administrator")),
            // One that can't be asked for must not leave the other alone: that would be more programs.
            windows(Some(r"\device\x\a.exe"), Some("administrator")),
        ] {
            assert_eq!(LocalProgram::of(&owner), None, "{owner:?}");
        }
    }

    #[test]
    fn only_allow_lists_of_identities_are_parsed() {
        let sid = Sid::try_from("S-1-5-80-1-2".to_owned()).unwrap();
        assert_eq!(Sid::admitted(&sid.descriptor()), Some(vec![sid.clone()]));
        let two = "O:LSD:(A;;CC;;;S-1-5-80-1-2)(A;;CC;;;S-1-5-18)";
        assert_eq!(Sid::admitted(two).map(|list| list.len()), Some(2));
        for more in ["D:(D;;CC;;;S-1-5-18)(A;;CC;;;S-1-5-80-1-2)", "D:(A;;CC;;;BA)", "O:SY", "D:"] {
            assert_eq!(Sid::admitted(more), None, "{more}");
        }
    }
}
