//! `fwpuclnt.dll` for wine: the functions of Windows' filter engine that host programs call, answered from
//! the directory that the environment variable `WFP_DOUBLE` names.
#![cfg(windows)]
#![expect(unsafe_code, reason = "takes and hands out memory as Windows' functions do")]
#![expect(unreachable_pub, reason = "what is exported is reached by its name")]
#![allow(clippy::missing_safety_doc, reason = "Microsoft documents these functions")]

mod engine;
mod hand_out;
mod listings;
mod objects;
mod sessions;
mod take_in;
