//! Windows hosts: `ctspark.exe` under wine against the real platform, on the double of the filter engine,
//! whose verdicts decide about the hosts' real packets. `cargo xtask windows` builds what they run.

mod faults;
mod killed;
mod shop;
mod site;
mod threat;
mod trials;
mod verbs;
