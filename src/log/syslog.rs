//! The system's logger: one datagram a line to `/dev/log`, in the form of RFC 3164 that every
//! syslogd and journald reads there.

use std::io;
use std::os::unix::net::UnixDatagram;

/// Where the system's logger listens.
const PATH: &str = "/dev/log";

/// Facility mail (RFC 3164, section 4.1.1).
const FACILITY: u8 = 2;

/// A connection to the system's logger, made when it is needed and again when it was lost.
#[derive(Default)]
pub(super) struct Socket(Option<UnixDatagram>);

impl Socket {
    /// Whether the system's logger can be reached now.
    pub(super) fn try_to_connect(&mut self) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(PATH)?;
        self.0 = Some(socket);
        Ok(())
    }

    /// Sends each line as a datagram.
    pub(super) fn send_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).try_for_each(|line| {
            // The logger may have been restarted since the last line.
            self.send(line).or_else(|_| {
                self.0 = None;
                self.send(line)
            })
        })
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.0 {
            return socket.send(line).map(drop);
        }
        self.try_to_connect()?;
        self.send(line)
    }
}

/// What a line begins with: `<PRI>mppd[PID]: `. The logger adds the time and the host.
pub(super) fn head(level: slog::Level) -> String {
    let severity = match level {
        slog::Level::Critical => 2,
        slog::Level::Error => 3,
        slog::Level::Warning => 4,
        slog::Level::Info => 6,
        slog::Level::Debug | slog::Level::Trace => 7,
    };
    format!("<{}>mppd[{}]: ", FACILITY * 8 + severity, std::process::id())
}
