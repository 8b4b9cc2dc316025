//! Installed software, as installers register it for being removed.

use std::collections::BTreeSet;

use xshield_wire::telemetry::SoftwarePackage;

/// What the registry says about an installation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installed {
    /// For people; without it an installation is not shown to them.
    pub name: Option<String>,
    /// In the maker's form.
    pub version: Option<String>,
    /// Not 0: a part of another, or of Windows.
    pub system_component: Option<u32>,
    /// Of updates, what they are updates of.
    pub parent: Option<String>,
    /// Of updates, what kind of update.
    pub release_type: Option<String>,
}

/// For which processors a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// x86.
    ThirtyTwo,
    /// x86-64.
    SixtyFour,
}

/// Who installed it.
const MANAGER: &str = "windows";
/// The longest text that is taken from an installation.
const LONGEST: usize = 300;
/// Kinds of updates.
const UPDATES: [&str; 4] = ["Security Update", "Update", "Update Rollup", "Hotfix"];

/// The packages that Windows shows as installed, updates left out.
#[must_use]
pub fn packages(
    installed: impl IntoIterator<Item = (Bits, Installed)>,
) -> BTreeSet<SoftwarePackage> {
    installed.into_iter().filter_map(|(bits, installed)| package(bits, installed)).collect()
}

fn package(bits: Bits, installed: Installed) -> Option<SoftwarePackage> {
    let is_part = installed.system_component.is_some_and(|value| value != 0);
    let is_update = installed.parent.is_some_and(|parent| !parent.is_empty())
        || installed.release_type.is_some_and(|kind| UPDATES.contains(&kind.as_str()));
    if is_part || is_update {
        return None;
    }
    let tidy = |text: Option<String>| -> String {
        let text = text.unwrap_or_default();
        let shown = text.trim().chars().filter(|letter| !letter.is_control());
        shown.take(LONGEST).collect()
    };
    let name = tidy(installed.name);
    let architecture = match bits {
        Bits::ThirtyTwo => "x86",
        Bits::SixtyFour => "x86_64",
    };
    (!name.is_empty()).then(|| SoftwarePackage {
        name,
        version: tidy(installed.version),
        architecture: architecture.to_owned(),
        manager: MANAGER.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_programs_match_windows() {
        let plain = || Installed {
            name: Some(" 7-Zip 23.01\u{7} ".to_owned()),
            version: Some("23.01".to_owned()),
            ..Installed::default()
        };
        let text = |text: &str| Some(text.to_owned());
        for (installed, expected) in [
            (plain(), Some(("7-Zip 23.01", "23.01"))),
            (Installed { version: None, ..plain() }, Some(("7-Zip 23.01", ""))),
            (Installed { system_component: Some(0), ..plain() }, Some(("7-Zip 23.01", "23.01"))),
            (Installed { system_component: Some(1), ..plain() }, None),
            (Installed { name: None, ..plain() }, None),
            (Installed { name: text(" "), ..plain() }, None),
            (Installed { parent: text("OperatingSystem"), ..plain() }, None),
            (Installed { parent: text(""), ..plain() }, Some(("7-Zip 23.01", "23.01"))),
            (Installed { release_type: text("Hotfix"), ..plain() }, None),
            (
                Installed { name: text(&"x".repeat(400)), ..plain() },
                Some((&"x".repeat(300), "23.01")),
            ),
        ] {
            let found = packages([(Bits::SixtyFour, installed.clone())]);
            let found = found.first().map(|found| (found.name.as_str(), found.version.as_str()));
            assert_eq!(found, expected, "{installed:?}");
        }
        let both = packages([(Bits::SixtyFour, plain()), (Bits::ThirtyTwo, plain())]);
        let kinds: Vec<&str> = both.iter().map(|package| package.architecture.as_str()).collect();
        assert_eq!(kinds, ["x86", "x86_64"]);
    }
}
