//! The output of a machine with another kernel, line by line as written by `init.sh`.

use anyhow::{Context, Result, bail};

/// The results of all tests in one kernel.
#[derive(Debug, PartialEq)]
pub(super) struct SuiteResult {
    /// As printed by `uname -r`.
    pub kernel: String,
    pub tests: Vec<Test>,
}

/// The result of one test.
#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub suite: String,
    pub name: String,
    pub end: End,
    pub seconds: f64,
    /// Its complete output.
    pub output: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Passed,
    Failed,
    /// It was killed after the timeout.
    TimedOut,
}

impl Test {
    /// The parts it skipped, and why.
    pub(super) fn skipped(&self) -> impl Iterator<Item = &str> {
        self.told("SKIPPED: ")
    }

    /// Facts about the kernel that it printed.
    pub(super) fn facts(&self) -> impl Iterator<Item = &str> {
        self.told("KERNEL: ")
    }

    fn told(&self, prefix: &'static str) -> impl Iterator<Item = &str> {
        self.output.iter().filter_map(move |line| Some(line.split_once(prefix)?.1.trim()))
    }
}

impl SuiteResult {
    /// Parses the console output.
    ///
    /// # Errors
    /// When the machine did not get to the end of its list, or did not run the given tests: `expected` is the
    /// list of suite and name.
    pub(super) fn parse(console: &str, expected: &[(String, String)]) -> Result<Self> {
        let mut kernel = None;
        let mut tests: Vec<Test> = Vec::new();
        let mut running: Option<Test> = None;
        let mut over = false;
        for line in console.lines().map(|line| line.trim_end_matches('\r')) {
            let Some(words) = line.strip_prefix("@@ ") else {
                if let (Some(test), Some(text)) = (&mut running, line.strip_prefix("| ")) {
                    test.output.push(text.to_owned());
                }
                continue;
            };
            match (words.split(' ').collect::<Vec<_>>().as_slice(), &mut running) {
                (["kernel", version], None) => kernel = Some((*version).to_owned()),
                (["begin", suite, name], None) => running = Some(Test::begun(suite, name)),
                (["end", code, start, end], Some(_)) => {
                    let mut test = running.take().context("no test was running")?;
                    test.end = End::of(code)?;
                    test.seconds = end.parse::<f64>()? - start.parse::<f64>()?;
                    tests.push(test);
                }
                (["over"], None) => over = true,
                _ => bail!("the line {line:?} has no place here"),
            }
        }
        if let Some(test) = running {
            bail!("the kernel stopped in {} {}", test.suite, test.name);
        }
        let kernel = kernel.context("the kernel did not come up")?;
        if !over {
            bail!("the kernel {kernel} stopped after {} tests", tests.len());
        }
        let ran: Vec<_> = tests.iter().map(|test| (&test.suite, &test.name)).collect();
        if expected.is_empty() || ran != expected.iter().map(|(s, n)| (s, n)).collect::<Vec<_>>() {
            bail!("the kernel {kernel} ran {} of {} tests", ran.len(), expected.len());
        }
        if let Some(empty) = tests.iter().find(|test| test.end == End::Passed && !test.ran_one()) {
            bail!("{} {} passed without running a test", empty.suite, empty.name);
        }
        Ok(Self { kernel, tests })
    }

    pub(super) fn count(&self, end: End) -> usize {
        self.tests.iter().filter(|test| test.end == end).count()
    }
}

impl Test {
    fn begun(suite: &str, name: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            name: name.to_owned(),
            end: End::Failed,
            seconds: 0.0,
            output: Vec::new(),
        }
    }

    /// Whether Rust's test harness found the test by its name.
    fn ran_one(&self) -> bool {
        self.output.iter().any(|line| line.starts_with("test result: ok. 1 passed"))
    }
}

impl End {
    /// An exit code of the shell; 137 means killed by SIGKILL.
    fn of(code: &str) -> Result<Self> {
        Ok(match code.parse::<u8>().with_context(|| format!("{code:?} is no exit code"))? {
            0 => Self::Passed,
            137 => Self::TimedOut,
            _ => Self::Failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Booting from ROM..\r
@@ kernel 5.10.0\r
@@ begin firewall.kernel live::on\r
| test live::on ... SKIPPED: no group\r
| test result: ok. 1 passed; 0 failed\r
\r
@@ end 0 1.50 3.75\r
@@ begin firewall.kernel packets::off\r
| KERNEL: can ier-\r
| @@ over\r
@@ end 101 3.75 4.00\r
@@ begin firewall.kernel slow\r
@@ end 137 4.00 64.00\r
@@ over\r
";

    fn list(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ("firewall.kernel".to_owned(), (*name).to_owned())).collect()
    }

    fn expected() -> Vec<(String, String)> {
        list(&["live::on", "packets::off", "slow"])
    }

    fn error(console: &str) -> String {
        SuiteResult::parse(console, &expected()).unwrap_err().to_string()
    }

    #[test]
    fn each_result_has_its_outcome_time_and_message() {
        let outcome = SuiteResult::parse(GOOD, &expected()).unwrap();
        assert_eq!(outcome.kernel, "5.10.0");
        let ends: Vec<_> = outcome.tests.iter().map(|test| (test.end, test.seconds)).collect();
        assert_eq!(ends, [(End::Passed, 2.25), (End::Failed, 0.25), (End::TimedOut, 60.0)]);
        assert_eq!(outcome.tests[0].skipped().collect::<Vec<_>>(), ["no group"]);
        assert_eq!(outcome.tests[1].facts().collect::<Vec<_>>(), ["can ier-"]);
        assert_eq!(outcome.count(End::Failed), 1);
    }

    #[test]
    fn a_truncated_console_is_not_a_success() {
        let lines: Vec<&str> = GOOD.split_inclusive('\n').collect();
        for count in 0..lines.len() {
            let cut = lines[..count].concat();
            let stopped = SuiteResult::parse(&cut, &expected());
            assert!(stopped.is_err(), "{count} lines: {stopped:?}");
        }
        assert_eq!(error("Kernel panic - not syncing\r\n"), "the kernel did not come up");
        assert_eq!(error(&lines[..4].concat()), "the kernel stopped in firewall.kernel live::on");
        assert_eq!(error(&lines[..7].concat()), "the kernel 5.10.0 stopped after 1 tests");
    }

    #[test]
    fn tests_that_did_not_run_are_not_a_success() {
        let nothing = "@@ kernel 5.10.0\n@@ over\n";
        assert_eq!(error(nothing), "the kernel 5.10.0 ran 0 of 3 tests");
        assert!(SuiteResult::parse(nothing, &[]).is_err());
        assert!(SuiteResult::parse(GOOD, &list(&["live::on", "packets::off", "other"])).is_err());
        let unknown = GOOD.replace("1 passed", "0 passed");
        assert_eq!(error(&unknown), "firewall.kernel live::on passed without running a test");
    }

    #[test]
    fn markers_out_of_place_are_refused() {
        for marker in ["@@ end 0 1 2", "@@ nonsense", "@@ begin one"] {
            assert!(
                SuiteResult::parse(&format!("{marker}\n{GOOD}"), &expected()).is_err(),
                "{marker}"
            );
        }
    }
}
