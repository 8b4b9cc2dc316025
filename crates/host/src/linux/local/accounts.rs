//! The host's users: their numbers, and which of them are for people.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use xshield_policy::UserName;

use crate::linux::instance::shown;

/// The first user id of people if login.defs(5) does not set it.
const UID_MIN: u32 = 1000;
/// The user ids that systemd assigns to running services, systemd.exec(5) `DynamicUser=`.
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;
/// `nobody`, the user of services in many distributions.
const NOBODY: u32 = 65_534;

/// The content of `/etc/passwd` and `/etc/login.defs`. Directory services are not queried: a static program
/// can't load their libraries, and a rule must not depend on a server's answer.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    numbers: HashMap<String, u32>,
    names: HashMap<u32, String>,
    uid_min: u32,
}

impl Accounts {
    /// Reads the files in `directory`, the host's `/etc`.
    pub(crate) fn read(directory: &Path) -> Self {
        let text = |name: &str| {
            let bytes = fs::read(directory.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self::parse(&text("passwd"), &text("login.defs"))
    }

    /// passwd(5): `name:password:UID:…`. If a number has several names, or a name several numbers, the first
    /// counts.
    pub(super) fn parse(passwd: &str, login_defs: &str) -> Self {
        let (mut numbers, mut names) = (HashMap::new(), HashMap::new());
        for line in passwd.lines() {
            let mut words = line.split(':');
            if let (Some(name), Some(uid)) = (words.next(), words.nth(1))
                && let Ok(uid) = uid.parse()
                && !name.starts_with(['#', '+', '-'])
            {
                numbers.entry(name.to_owned()).or_insert(uid);
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        let uid_min = login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("UID_MIN")).then(|| words.next()?.parse().ok()).flatten()
        });
        Self { numbers, names, uid_min: uid_min.unwrap_or(UID_MIN) }
    }

    /// The number of a user, or why it is not known.
    pub(super) fn number(&self, user: &UserName) -> Result<u32, String> {
        let text = user.as_str();
        let number = text.parse().ok().or_else(|| self.numbers.get(text).copied());
        number.ok_or_else(|| {
            format!(
                "user {user} is not in /etc/passwd of this host; name a user of a directory service \
                 by number"
            )
        })
    }

    /// `bob (1001)`, or only the number.
    pub(super) fn shown(&self, uid: u32) -> String {
        match self.names.get(&uid) {
            Some(name) => format!("{} ({uid})", shown(name)),
            None => uid.to_string(),
        }
    }

    /// Whether people sign in as this user and can run any program; other users belong to root and services.
    pub(super) fn is_login_user(&self, uid: u32) -> bool {
        uid >= self.uid_min && !DYNAMIC.contains(&uid) && uid != NOBODY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_number_name_and_kind() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n#bob:x:7:7\n\
                      bob:x:1001:1001::/home/bob:/bin/sh\nbob:x:5:5::/:\nx:y\n+:::\n-evil:x:9:9\n";
        let accounts = Accounts::parse(passwd, "# UID_MIN 5\nUID_MIN\t\t  500\nUID_MAX 60000\n");
        let number = |name: &str| accounts.number(&name.parse().unwrap()).ok();
        let table = [("root", Some(0)), ("bob", Some(1001)), ("7", Some(7)), ("carol", None)];
        for (name, expected) in table {
            assert_eq!(number(name), expected, "{name}");
        }
        assert_eq!((accounts.shown(0).as_str(), accounts.shown(9).as_str()), ("root (0)", "9"));
        for (uid, login) in [
            (0, false),
            (499, false),
            (500, true),
            (60_001, true),
            (61_184, false),
            (65_519, false),
            (65_534, false),
            (65_535, true),
            (100_000, true),
        ] {
            assert_eq!(accounts.is_login_user(uid), login, "{uid}");
        }
        assert!(!Accounts::parse("", "").is_login_user(999));
        assert!(Accounts::parse("", "UID_MIN many").is_login_user(1000));
    }
}
