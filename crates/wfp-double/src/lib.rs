//! For tests: a double of Windows' filter engine.
//!
//! Under wine, programs load `fwpuclnt.dll` of this crate (`examples/fwpuclnt`), which keeps what they add
//! in a directory and answers as Microsoft documents. What is in the directory is read on every system:
//!
//! 1. [`store`]: the objects, with the numbers, GUIDs and bytes that Windows' structures have;
//! 2. [`contract`]: which changes the engine refuses, and with which code;
//! 3. [`Directory`]: the store in a file, locks, sessions that end with their programs, the log of calls;
//! 4. [`faults`]: calls that fail, or after which the program is killed;
//! 5. [`model`]: the store as the values that plans are made of, for `wfp::eval` to judge packets.
//!
//! 6. [`security_log`]: the records of the Security log, which `wevtapi.dll` of this crate
//!    (`examples/wevtapi`) hands out in place of wine's stubs.
//!
//! It shares no code with the module that it tests, `wfp::windows`: a mistake that both made alike would
//! not be seen. Where the documentation leaves something open, it does what is worst for us.

pub mod contract;
mod directory;
pub mod faults;
pub mod model;
pub mod security_log;
pub mod store;

pub use directory::{CallLog, DIRECTORY, Directory, DirectoryError, EngineLock, LiveSession};
