//! Who this program is to the platform.

use xshield_enforce::{Program, ProgramKind};

/// The agent, of this version.
#[must_use]
pub fn this_program() -> Program {
    Program { kind: ProgramKind::Agent, version: env!("CARGO_PKG_VERSION").to_owned() }
}
