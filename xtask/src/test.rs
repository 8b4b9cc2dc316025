//! All tests.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::packages::{self, Missing};
use crate::{dist, docs, run, tools, windows};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// Arguments for the test runner, e.g. the name of a test.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl TestArgs {
    /// These arguments for the test runner.
    pub(crate) fn of(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|&argument| argument.to_owned()).collect() }
    }
}

/// Builds the binaries that the lab runs, then runs every test of the workspace except those whose programs
/// are not available here; these are listed.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    use tools::{KERNEL_TESTS, LAB, PACKAGING, PROBER, SIGNING, TESTS, WINDOWS, WINE};
    let needed = [LAB, KERNEL_TESTS, TESTS, PROBER, PACKAGING, SIGNING, WINDOWS, WINE].concat();
    let missing = packages::ensure_for_tests(&needed)?;
    let skipped = skipped(&missing, &test_names()?);
    let told = told(&missing, &skipped);
    told.iter().for_each(|line| println!("{line}"));
    run::succeed(&mut run::cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    if missing.iter().all(|missing| !PACKAGING.contains(&missing.tool)) {
        dist::pack_debug()?;
    }
    let for_windows = [WINDOWS, WINE].concat();
    if missing.iter().all(|missing| !for_windows.contains(&missing.tool)) {
        windows::build_for_labs()?;
    }
    let runner: &[&str] = if has_nextest() {
        &["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]
    } else {
        println!("cargo-nextest is not installed; using cargo test, which is slower");
        &["test", "--workspace", "--locked", "--no-fail-fast"]
    };
    let mut command = run::cargo(runner);
    // Administration programs (ip, nft) are not in every user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.args(arguments(&args.arguments, &skipped));
    let result = run::succeed(&mut command);
    // Repeated at the end, where it is noticed.
    told.iter().for_each(|line| println!("{line}"));
    result
}

/// Test files that need no host, platform or kernel: those of the pure crates, and of the pure parts of
/// others.
const PURE: &[&str] = &[
    "config",
    "decisions",
    "documents",
    "forwarded",
    "graces",
    "impact",
    "incremental",
    "peers",
    "plan",
    "properties",
    "replay",
    "stances",
    "state",
    "wire",
];

/// Unit tests of every crate, and the test files of [`PURE`].
pub(crate) fn quick() -> Result<()> {
    let runner: &[&str] = if has_nextest() { &["nextest", "run"] } else { &["test"] };
    let mut command = run::cargo(runner);
    command.args(["--workspace", "--locked", "--lib", "--bins"]);
    command.args(PURE.iter().flat_map(|name| ["--test", name]));
    run::succeed(&mut command)
}

/// The arguments of the runner, with the skipped tests in a form that both runners accept.
fn arguments(given: &[String], skipped: &BTreeSet<String>) -> Vec<String> {
    let mut arguments = given.to_vec();
    if !skipped.is_empty() && !arguments.iter().any(|argument| argument == "--") {
        arguments.push("--".to_owned());
    }
    arguments.extend(skipped.iter().flat_map(|name| ["--skip".to_owned(), name.clone()]));
    arguments
}

/// The names among `tests` of those that need a missing program.
fn skipped(missing: &[Missing], tests: &BTreeSet<String>) -> BTreeSet<String> {
    let beginnings = || missing.iter().flat_map(|missing| missing.tool.tests);
    let is_skipped = |name: &&String| beginnings().any(|start| name.starts_with(start));
    tests.iter().filter(is_skipped).cloned().collect()
}

/// Lines that name the skipped tests and the reasons, if any.
fn told(missing: &[Missing], skipped: &BTreeSet<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for Missing { tool, why } in missing {
        let of_it = |name: &&String| tool.tests.iter().any(|start| name.starts_with(start));
        let names: Vec<&str> = skipped.iter().filter(of_it).map(String::as_str).collect();
        lines.push(format!("{why}; skipped: {}", names.join(", ")));
    }
    if !skipped.is_empty() {
        lines.push(format!("{} tests are skipped in total", skipped.len()));
    }
    lines
}

/// The names of all tests of the workspace.
fn test_names() -> Result<BTreeSet<String>> {
    let mut files = Vec::new();
    for directory in ["crates", "xtask"] {
        docs::find(&run::root().join(directory), "rs", &mut files)?;
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        names.extend(tests_in(&text));
    }
    Ok(names)
}

/// The names of functions marked as tests.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let marked = text.split("#[test]").skip(1).chain(text.split("#[tokio::test]").skip(1));
    marked.filter_map(|after| {
        let name = after.split_once("fn ")?.1;
        Some(name.split(['(', '<']).next()?.to_owned())
    })
}

fn has_nextest() -> bool {
    let mut version = run::cargo(&["nextest", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{KERNEL_TESTS, PACKAGING, PROBER, SIGNING, TESTS, WINDOWS, WINE};

    fn names(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn missing(program: &str) -> Missing {
        let tools = [TESTS, PACKAGING].concat();
        let tool = tools.into_iter().find(|tool| tool.program == program).unwrap();
        Missing { tool, why: format!("{program} is not installed") }
    }

    #[test]
    fn every_tool_names_existing_tests() {
        let there = test_names().unwrap();
        for tool in [TESTS, KERNEL_TESTS, PROBER, PACKAGING, SIGNING, WINDOWS, WINE].concat() {
            assert!(!tool.tests.is_empty(), "{}", tool.program);
            for start in tool.tests {
                let found = there.iter().any(|name| name.starts_with(start));
                assert!(found, "{}: there is no test {start}", tool.program);
            }
        }
    }

    #[test]
    fn tests_with_missing_programs_are_skipped_named_and_counted() {
        let there = names(&[
            "dpkg_installs_upgrades_and_removes_spark",
            "rpm_installs_upgrades_and_removes_spark",
            "published_ports_and_containers_obey_the_policy",
            "a_policy_becomes_dropped_packets",
        ]);
        let missing = [missing("dockerd"), missing("rpmbuild")];
        let skipped = skipped(&missing, &there);
        assert_eq!(
            told(&missing, &skipped),
            [
                "dockerd is not installed; skipped: published_ports_and_containers_obey_the_policy",
                "rpmbuild is not installed; skipped: dpkg_installs_upgrades_and_removes_spark, \
             rpm_installs_upgrades_and_removes_spark",
                "3 tests are skipped in total",
            ]
        );
        let given = ["-p".to_owned(), "xshield-lab".to_owned()];
        let all = arguments(&given, &skipped).join(" ");
        assert!(all.starts_with("-p xshield-lab -- --skip dpkg_installs"), "{all}");
        assert_eq!(all.matches("--skip").count(), 3);
        assert_eq!(arguments(&given, &names(&[])), given);
        assert_eq!(arguments(&["--".to_owned()], &names(&["a"])), ["--", "--skip", "a"]);
    }
}
