//! HTTPS from a host to the platform, through ordered proxies.
