//! Several hosts on one machine: network namespaces, real kernels, real packets.
