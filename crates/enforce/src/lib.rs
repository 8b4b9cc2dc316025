//! The enforcement cycle: check in, fetch, verify, resolve, apply, confirm, read back, report.
