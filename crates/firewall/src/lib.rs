//! Puts a bound ruleset into the host's own firewall and reads it back.
