//! The name and version of this program.

use xshield_enforce::{Program, ProgramKind};

/// The agent with this version.
#[must_use]
pub fn this_program() -> Program {
    Program { kind: ProgramKind::Agent, version: env!("CARGO_PKG_VERSION").to_owned() }
}
