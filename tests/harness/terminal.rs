//! A terminal, and somebody who sits in front of it: reads what is shown and types.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::eventually;

/// What the key of this name sends.
pub(crate) const CTRL_C: &str = "\u{3}";

/// A program at a terminal of its own; it is killed when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of the screen was read, in octets.
    read: usize,
}

impl Terminal {
    /// The beginning of a command that is to be started here: `setsid` gives it the terminal, so
    /// that Ctrl-C reaches it.
    pub(crate) fn command(program: &str) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program);
        command
    }

    /// Starts a command that was begun by [`Terminal::command`].
    pub(crate) fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let copy = || slave.try_clone().unwrap();
        command.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap();
        // Only the child has that end of the terminal now.
        drop((command, slave));
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut shown, lines) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        // It ends with an error when nobody has the other end any more.
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(length @ 1..) = shown.read(&mut octets) {
                lines.lock().unwrap().extend_from_slice(&octets[..length]);
            }
        });
        Terminal { child, keyboard, screen, read: 0 }
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that was shown so far.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Whether this was shown behind all that was read before; reads up to its end.
    pub(crate) fn shows(&mut self, text: &str) -> bool {
        let screen = self.screen.lock().unwrap();
        let unread = &screen[self.read..];
        let at = unread.windows(text.len()).position(|window| window == text.as_bytes());
        self.read += at.map_or(0, |at| at + text.len());
        at.is_some()
    }

    /// Reads until this is shown.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let shown = eventually(|| self.shows(text).then_some(()));
        assert!(shown.is_some(), "the terminal does not show {text:?}: {}", self.screen());
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let status = eventually(|| self.child.try_wait().unwrap());
        status.unwrap_or_else(|| panic!("it does not end: {}", self.screen())).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The group is that of the session; it is gone if the program has ended.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
