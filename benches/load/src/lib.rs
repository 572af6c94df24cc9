//! What the load generator consists of: made-up requests, a histogram of latencies, sockets of
//! either family, and the CPU time of other processes.

pub mod cpu;
pub mod histogram;
pub mod requests;
pub mod socket;
