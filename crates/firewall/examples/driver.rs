//! Applies rulesets to the firewall of its network namespace, as instructed by lines on standard input. Used
//! by measurements on lab hosts; files contain a `Bound` ruleset as JSON.
//!
//! | line | does | answers |
//! |---|---|---|
//! | `apply FILE` | puts the ruleset in force | `ok` |
//! | `change FILE` | plans, tries, keeps, reads back and compares, as a cycle does | milliseconds |
//! | `swap FILE FILE COUNT` | that many changes in a row, alternating between the two | milliseconds |

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("there is no driver for this system's firewall");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use xshield_firewall::{Firewall, plan};
    use xshield_policy::Bound;

    /// Longer than any measurement, so that no trial expires during one.
    const PROBATION: Duration = Duration::from_secs(60);

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let mut firewall = Firewall::open()?;
        for line in std::io::stdin().lines() {
            let line = line?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let answer = match words[..] {
                ["apply", file] => {
                    let plan = plan(&read(file)?, firewall.capabilities());
                    firewall.apply_now(&plan)?;
                    "ok".to_owned()
                }
                ["change", file] => {
                    let bound = read(file)?;
                    let start = Instant::now();
                    change(&mut firewall, &bound)?;
                    milliseconds(start)
                }
                ["swap", first, second, count] => {
                    let turns = [read(first)?, read(second)?];
                    let count: usize = count.parse()?;
                    let start = Instant::now();
                    for bound in turns.iter().cycle().take(count) {
                        change(&mut firewall, bound)?;
                    }
                    milliseconds(start)
                }
                _ => return Err(format!("not a command: {line:?}").into()),
            };
            println!("{answer}");
            std::io::stdout().flush()?;
        }
        Ok(())
    }

    fn read(file: &str) -> Result<Bound, Box<dyn Error>> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }

    fn change(firewall: &mut Firewall, bound: &Bound) -> Result<(), Box<dyn Error>> {
        let plan = plan(bound, firewall.capabilities());
        let trial = firewall.try_apply(&plan, PROBATION)?;
        if trial.is_unchanged() {
            return Err("the ruleset was in force already".into());
        }
        let programmed = firewall.keep(trial)?;
        match programmed.differences(&plan).first() {
            Some(difference) => Err(format!("not what was planned: {difference}").into()),
            None => Ok(()),
        }
    }

    fn milliseconds(start: Instant) -> String {
        format!("{:.3}", start.elapsed().as_secs_f64() * 1000.0)
    }
}
