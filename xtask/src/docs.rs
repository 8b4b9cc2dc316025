//! Checks that files and tests named in the documentation exist.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

/// Every test named here is checked.
const PROPERTIES: &str = "docs/security-properties.md";
/// A text in backticks with one of these prefixes is a path of this repository.
const ROOTS: [&str; 6] = ["crates/", "docs/", "examples/", "packages/", "xtask/", ".ci/"];

/// Fails with every name that does not exist, with its location.
pub(crate) fn check() -> Result<()> {
    let root = run::root();
    let mut pages = Vec::new();
    for entry in fs::read_dir(&root)? {
        let path = entry?.path();
        pages.extend(path.extension().is_some_and(|is| is == "md").then_some(path));
    }
    for directory in ["docs", "crates", ".github"] {
        find(&root.join(directory), "md", &mut pages)?;
    }
    pages.sort();
    let (mut wrong, mut names) = (Vec::new(), 0);
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        let shown = page.strip_prefix(&root).unwrap_or(page);
        for (at, line) in text.lines().enumerate() {
            for missing in missing(&root, page, shown == Path::new(PROPERTIES), line, &mut names)? {
                wrong.push(format!("{}:{}: there is no {missing}", shown.display(), at + 1));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("docs: {} pages, {names} files and tests named, all exist", pages.len());
    Ok(())
}

fn missing(
    root: &Path,
    page: &Path,
    proves: bool,
    line: &str,
    names: &mut usize,
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = target.split('#').next().unwrap_or_default();
        if !file.is_empty() && !file.contains("://") {
            *names += 1;
            let directory = page.parent().unwrap_or(root);
            missing.extend((!directory.join(file).exists()).then(|| target.to_owned()));
        }
    }
    for word in line.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '*', '…']))
    {
        if ROOTS.iter().any(|start| word.starts_with(start)) {
            *names += 1;
            missing.extend((!root.join(word).exists()).then(|| word.to_owned()));
        } else if proves && word.contains("::") {
            *names += 1;
            missing.extend((!is_test(root, word)?).then(|| format!("test {word}")));
        }
    }
    Ok(missing)
}

/// Whether `crate::file::test` is a test in a file of that name anywhere in the crate, or in the file
/// `tests.rs` of the module of that name. A generic function counts if a macro above it generates tests.
fn is_test(root: &Path, name: &str) -> Result<bool> {
    let [package, file, test] = name.split("::").collect::<Vec<_>>()[..] else { return Ok(false) };
    let mut files = Vec::new();
    find(&root.join("crates").join(package), "rs", &mut files)?;
    let named = |path: &&PathBuf| {
        let of = path.parent().and_then(Path::file_name).filter(|_| path.ends_with("tests.rs"));
        [path.file_stem(), of].into_iter().flatten().any(|name| name == file)
    };
    for path in files.iter().filter(named) {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let function =
            text.find(&format!("fn {test}(")).or_else(|| text.find(&format!("fn {test}<")));
        let marked = |before: &str| before.contains("#[test]") || before.contains("#[tokio::test]");
        if function.is_some_and(|at| marked(&text[..at])) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds every file with this extension below a directory; none if there is no such directory.
pub(crate) fn find(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, extension, found)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}
