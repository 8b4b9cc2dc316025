//! The platform under attack: whatever one host, connection or viewer does, others are served and memory
//! stays bounded. Each flood runs against a separate release build of the platform, while a bystander checks
//! in and signs in.

mod burst;
mod bystander;
mod client;
mod crowds;
mod enrol;
mod fixture;
mod flapping;
mod recovered;
mod simulated_host;
mod validate;

use std::path::Path;

use anyhow::Result;

use self::bystander::{beside, p99, registered};
use self::fixture::{Disk, Fixture};
use super::Effort;
use crate::figure::Figure;

/// One flood; all of them if not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Thousands of hosts register into one segment that allows itself.
    Enrol,
    /// Viewers simulate large policies, several at a time, and do not wait for the response.
    Validate,
    /// A host that has another address at each check-in.
    Flapping,
    /// Large bodies without a session.
    Bodies,
    /// Connections that read no response.
    SilentReaders,
    /// One host's reports of 100,000 items.
    Burst,
    /// Unknown identities under another host's name.
    Identities,
    /// Guessed passwords.
    Passwords,
    /// A full disk, counters at their limits, a damaged record, a kill: afterwards everything works again.
    Recovered,
}

/// A flood: an attack on a platform for some time.
struct Flood {
    part: Part,
    name: &'static str,
    prepare: fn(&Fixture, Effort) -> Result<Attack>,
}

/// The attack, started after the bystander.
type Attack = Box<dyn FnOnce(&Fixture) -> Result<()>>;

const FLOODS: &[Flood] = &[
    Flood { part: Part::Validate, name: "validate", prepare: validate::prepare },
    Flood { part: Part::Flapping, name: "flapping", prepare: flapping::prepare },
    Flood { part: Part::Bodies, name: "bodies", prepare: crowds::bodies },
    Flood { part: Part::SilentReaders, name: "silent readers", prepare: crowds::silent_readers },
    Flood { part: Part::Burst, name: "burst", prepare: burst::prepare },
    Flood { part: Part::Identities, name: "identities", prepare: crowds::identities },
    Flood { part: Part::Passwords, name: "passwords", prepare: crowds::passwords },
];

/// The worst values of all floods.
#[derive(Debug, Default)]
struct Worst {
    check_in: f64,
    sign_in: f64,
    memory: f64,
    growth: f64,
}

/// `program`: the platform.
pub(super) fn run(program: &Path, effort: Effort, part: Option<Part>) -> Result<()> {
    let is_wanted = |one| part.is_none_or(|part| part == one);
    if is_wanted(Part::Enrol) {
        enrol::run(program, effort)?;
    }
    let mut worst = Worst::default();
    let floods = FLOODS.iter().filter(|flood| is_wanted(flood.part));
    let mut any = false;
    for flood in floods {
        any = true;
        worst.take(&under(flood, program, effort)?);
    }
    if any {
        Figure::new("hostile.checkin_p99_ms", worst.check_in, "ms").print();
        Figure::new("hostile.sign_in_p99_ms", worst.sign_in, "ms").print();
        Figure::new("hostile.rss_mib", worst.memory, "MiB").print();
        Figure::new("hostile.db_growth_mib", worst.growth, "MiB").print();
    }
    if is_wanted(Part::Recovered) {
        recovered::run(program)?;
    }
    Ok(())
}

impl Worst {
    fn take(&mut self, other: &Self) {
        self.check_in = self.check_in.max(other.check_in);
        self.sign_in = self.sign_in.max(other.sign_in);
        self.memory = self.memory.max(other.memory);
        self.growth = self.growth.max(other.growth);
    }
}

/// Runs one flood, with output on standard error.
fn under(flood: &Flood, program: &Path, effort: Effort) -> Result<Worst> {
    let fixture = Fixture::begin(program, Disk::Machine)?;
    let attack = (flood.prepare)(&fixture, effort)?;
    let host = registered(&fixture)?;
    let before = fixture.database_mib()?;
    let ((), served) = beside(&fixture, host, || attack(&fixture))?;
    let name = flood.name;
    let (asked, refused) = (served.check_ins.len() + served.sign_ins.len(), &served.refused);
    let seen = Worst {
        check_in: p99(served.check_ins),
        sign_in: p99(served.sign_ins),
        memory: fixture.peak_mib()?,
        growth: fixture.database_mib()? - before,
    };
    eprintln!(
        "{name}: check-in {:.0} ms, sign-in {:.0} ms, {:.0} MiB of memory, database + {:.1} MiB",
        seen.check_in, seen.sign_in, seen.memory, seen.growth
    );
    if let Some(first) = refused.first() {
        eprintln!("{name}: the bystander was refused {} of {asked} times: {first}", refused.len());
    }
    // A bystander that is not served at all was not served in time.
    let all_served = refused.is_empty();
    let served = |time: f64| if all_served { time } else { f64::INFINITY };
    Ok(Worst { check_in: served(seen.check_in), sign_in: served(seen.sign_in), ..seen })
}
