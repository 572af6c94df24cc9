//! What the system says of this process.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

/// What the system says of this process; what it does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ProcessReading {
    /// Processor time that it took, in seconds.
    pub(super) cpu: Option<f64>,
    /// Octets of memory that it has.
    pub(super) resident: Option<u64>,
    /// Octets of memory that it could address.
    pub(super) virtual_memory: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Descriptors that are open.
    pub(super) descriptors: Option<usize>,
    /// Descriptors that may be open.
    pub(super) most_descriptors: Option<u64>,
}

impl ProcessReading {
    /// Asks the system.
    pub(super) fn take() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        ProcessReading {
            cpu: usage.map(|usage| seconds(usage.user_time()) + seconds(usage.system_time())),
            resident: field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024),
            virtual_memory: field(&status, "VmSize:").map(|kilobytes| kilobytes * 1024),
            threads: field(&status, "Threads:"),
            // One of them is the one by which they are counted.
            descriptors: descriptors.map(|count| count.saturating_sub(1)),
            most_descriptors: limit.map(|(soft, _)| soft),
        }
    }
}

/// The number in the line of a field of `proc_pid_status(5)`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of processor time below 2^53")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let reading = ProcessReading::take();
        assert!(reading.cpu.is_some_and(|seconds| seconds > 0.0));
        assert!(reading.resident.is_some_and(|octets| octets > 1 << 20));
        assert!(reading.virtual_memory >= reading.resident);
        assert!(reading.threads.is_some_and(|threads| threads >= 1));
        assert!(reading.descriptors.is_some_and(|count| count >= 3));
        assert!(reading.most_descriptors.is_some());
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert_eq!(field("VmRSSx: 1 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
        assert_eq!(field("", "VmRSS:"), None);
    }
}
