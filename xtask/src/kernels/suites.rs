//! The tests that run in other kernels, and the paths of their programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// A test program of a crate.
#[derive(Debug)]
struct Suite {
    package: &'static str,
    target: &'static str,
    tests: Tests,
}

#[derive(Debug)]
enum Tests {
    All,
    /// These; each must exist.
    Only(&'static [&'static str]),
}

const SUITES: &[Suite] = &[
    Suite { package: "xshield-firewall", target: "kernel", tests: Tests::All },
    Suite { package: "xshield-firewall", target: "threat", tests: Tests::All },
    Suite { package: "xshield-host", target: "kernel", tests: Tests::All },
    // The complete paths from a policy and from a feed to dropped packets, with a platform.
    Suite {
        package: "xshield-lab",
        target: "end_to_end",
        tests: Tests::Only(&["a_policy_becomes_dropped_packets"]),
    },
    Suite {
        package: "xshield-lab",
        target: "threat",
        tests: Tests::Only(&["a_list_changed_by_others_is_repaired"]),
    },
];

/// The timeout of one test in the machine's own time.
const SECONDS: u32 = 600;

/// The test programs, and the names of the tests.
#[derive(Debug)]
pub(super) struct Built {
    /// By the name of the test's program in the other machine.
    pub programs: BTreeMap<String, PathBuf>,
    /// Suite and name, in the order in which they run.
    pub tests: Vec<(String, String)>,
}

impl Built {
    /// For `init.sh`: suite, limit in seconds, name.
    pub(super) fn list(&self) -> String {
        let line = |(suite, name): &(String, String)| format!("{suite}\t{SECONDS}\t{name}\n");
        self.tests.iter().map(line).collect()
    }
}

/// Builds the tests and the programs that the lab runs. `parts`: only tests with one of them in their names,
/// or all if there are none.
pub(super) fn build(parts: &[String]) -> Result<Built> {
    run::succeed(&mut run::cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    let mut arguments = vec!["test", "--no-run", "--locked", "--message-format=json"];
    for suite in SUITES {
        arguments.extend(["--package", suite.package, "--test", suite.target]);
    }
    let output = run::cargo(&arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the tests don't build");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let (mut programs, mut tests) = (BTreeMap::new(), Vec::new());
    for suite in SUITES {
        let name = format!("{}.{}", suite.package.trim_start_matches("xshield-"), suite.target);
        let program = messages
            .lines()
            .find_map(|line| suite.program(&serde_json::from_str(line).ok()?))
            .with_context(|| format!("cargo built no {name}"))?;
        let chosen = suite.choose(all_tests(&program)?)?;
        let wanted =
            |test: &String| parts.is_empty() || parts.iter().any(|part| test.contains(part));
        tests.extend(chosen.into_iter().filter(wanted).map(|test| (name.clone(), test)));
        programs.insert(name, program);
    }
    if tests.is_empty() {
        bail!("no test has any of {parts:?} in its name");
    }
    Ok(Built { programs, tests })
}

impl Suite {
    /// The program, if cargo's message names it.
    fn program(&self, message: &Value) -> Option<PathBuf> {
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let directory = manifest.parent()?.file_name()?.to_str()?;
        let is_it = self.package.strip_prefix("xshield-") == Some(directory)
            && message["target"]["name"] == self.target
            && message["target"]["kind"][0] == "test";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    }

    fn choose(&self, all: Vec<String>) -> Result<Vec<String>> {
        let Tests::Only(names) = self.tests else { return Ok(all) };
        match names.iter().find(|name| !all.iter().any(|test| test == *name)) {
            Some(gone) => bail!("{} has no test {gone:?} in {}", self.package, self.target),
            None => Ok(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }
}

/// Without ignored tests, which only run when named.
fn all_tests(program: &Path) -> Result<Vec<String>> {
    let list = |more: &[&str]| -> Result<Vec<String>> {
        let mut list = Command::new(program);
        let output = list.args(["--list", "--format", "terse"]).args(more).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
    };
    let ignored = list(&["--ignored"])?;
    Ok(list(&[])?.into_iter().filter(|test| !ignored.contains(test)).collect())
}
