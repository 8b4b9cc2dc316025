//! RPM packages, by rpmbuild.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::package::{Effort, Package, Upgrade};
use super::stage::Stage;
use crate::run;

/// A scriptlet, when our body runs, and what its argument (the number of instances of the package afterwards)
/// becomes.
const SCRIPTLETS: [(&str, &str, &str); 3] = [
    (
        "%post",
        "after-install",
        r#"if [ "$1" -gt 1 ]; then set -- upgrade; else set -- install; fi"#,
    ),
    (
        "%preun",
        "before-remove",
        r#"if [ "$1" -gt 0 ]; then set -- upgrade; else set -- remove; fi"#,
    ),
    (
        "%postun",
        "after-remove",
        r#"if [ "$1" -gt 0 ]; then set -- upgrade; else set -- remove; fi"#,
    ),
];

/// Builds `NAME-VERSION-1.x86_64.rpm`.
pub(super) fn pack(
    directory: &Path,
    package: &Package,
    version: &str,
    effort: Effort,
    stage: &Stage,
) -> Result<PathBuf> {
    let work = directory.join(format!("{}.rpmbuild", package.name));
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let specification = work.join("package.spec");
    fs::write(&specification, describe(package, version)?)?;
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--target", "x86_64-linux"]);
    build.args(["--define", &define("_topdir", &work)]);
    build.args(["--define", &define("_rpmdir", &work)]);
    build.args(["--define", &define("stage", &stage.root)]);
    // The machine's macros must not strip, compress or check files prepared elsewhere.
    build.args(["--define", "__os_install_post %{nil}", "--define", "debug_package %{nil}"]);
    build.args(["--define", "_build_id_links none"]);
    let payload = match effort {
        Effort::Fast => "w1.gzdio",
        Effort::Small => "w9.gzdio",
    };
    build.args(["--define", &format!("_binary_payload {payload}")]);
    build.args(["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]);
    run::succeed(build.arg(&specification).stdout(Stdio::null()))?;
    let name = format!("{}-{version}-1.x86_64.rpm", package.name);
    let file = directory.join(&name);
    fs::rename(work.join(name), &file)
        .with_context(|| format!("could not name {}", file.display()))?;
    fs::remove_dir_all(&work).context("could not remove rpmbuild's directory")?;
    Ok(file)
}

fn describe(package: &Package, version: &str) -> Result<String> {
    let Package { name, summary, description, .. } = package;
    let mut text = format!(
        "Name: {name}
Version: {version}
Release: 1
Summary: {summary}
License: Apache-2.0
Group: System Environment/Daemons

%description
{description}

%install
cp -a %{{stage}}/. %{{buildroot}}/

%files
%defattr(-,root,root,-)
"
    );
    for item in package.items {
        let kept = match item.upgrade {
            Upgrade::Kept => "%config(noreplace) ",
            Upgrade::Replaced => "",
        };
        writeln!(text, "{kept}%attr({:04o},root,root) {}", item.mode, item.path)?;
        // The package's own directory, which is removed with it.
        if item.path.starts_with("/usr/share/doc/")
            && let Some((directory, _)) = item.path.rsplit_once('/')
        {
            writeln!(text, "%dir %attr(0755,root,root) {directory}")?;
        }
    }
    for (scriptlet, moment, arguments) in SCRIPTLETS {
        write!(text, "\n{scriptlet}\nset -e\n{arguments}\n{}", package.script(moment)?)?;
    }
    Ok(text)
}
