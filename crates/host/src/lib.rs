//! Facts of this host: identity, OS, listening ports, processes, DNS answers, kernel log, spool.
