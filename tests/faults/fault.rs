//! The faults: how each is done, and how it is undone.

use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use super::proxy::Behaviour;
use super::site::Site;
use crate::harness::records::block_on;

/// What can happen to the database, or to the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DatabaseFault {
    Cut,
    Slow,
    Stalled,
    AnswersLost,
    Corrupted,
    Stopped,
    Killed,
    Frozen,
    ReadOnly,
    LoginsRefused,
    TableGone,
    ConnectionsKilled,
    TableLocked,
    DiskFull,
}

impl DatabaseFault {
    pub(super) const ALL: [Self; 14] = [
        Self::Cut,
        Self::Slow,
        Self::Stalled,
        Self::AnswersLost,
        Self::Corrupted,
        Self::Stopped,
        Self::Killed,
        Self::Frozen,
        Self::ReadOnly,
        Self::LoginsRefused,
        Self::TableGone,
        Self::ConnectionsKilled,
        Self::TableLocked,
        Self::DiskFull,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Cut => "its connections are cut",
            Self::Slow => "it is slow",
            Self::Stalled => "it is silent for a while",
            Self::AnswersLost => "its answers are lost",
            Self::Corrupted => "what it is sent and says is corrupted",
            Self::Stopped => "it is stopped",
            Self::Killed => "it is killed",
            Self::Frozen => "it is frozen",
            Self::ReadOnly => "it is read-only",
            Self::LoginsRefused => "it refuses the login",
            Self::TableGone => "its table is gone",
            Self::ConnectionsKilled => "it kills connections",
            Self::TableLocked => "its table is locked",
            Self::DiskFull => "its disk is full",
        }
    }

    pub(super) fn inject(self, site: &mut Site, random: &mut Rng) {
        match self {
            Self::Cut => site.proxy.behave(Behaviour::Cut),
            Self::Slow => {
                let delay = Duration::from_millis(random.u64(5..200));
                site.proxy.behave(Behaviour::Delay(delay));
            }
            Self::Stalled => site.proxy.behave(Behaviour::Stall),
            Self::AnswersLost => site.proxy.behave(Behaviour::LoseAnswers),
            Self::Corrupted => site.proxy.behave(Behaviour::Corrupt),
            Self::Stopped => block_on(site.database.stop()),
            Self::Killed => site.database.kill(),
            Self::Frozen => site.database_signal(Signal::SIGSTOP),
            Self::ReadOnly => site.in_database("SET GLOBAL read_only = 1"),
            Self::LoginsRefused => {
                site.in_database("ALTER USER mppd@'%' ACCOUNT LOCK");
                block_on(site.database.hang_up());
            }
            Self::TableGone => {
                site.in_database("RENAME TABLE mppd.track_policy_request TO mppd.elsewhere");
            }
            Self::ConnectionsKilled => block_on(site.database.hang_up()),
            Self::TableLocked => {
                let time = Duration::from_millis(random.u64(500..3_000));
                site.lock = Some(site.database.locked("mppd.track_policy_request", time));
            }
            Self::DiskFull => site.database.disk().fill(),
        }
    }

    pub(super) fn mend(self, site: &mut Site) {
        match self {
            Self::Cut | Self::Slow | Self::Stalled | Self::AnswersLost | Self::Corrupted => {
                site.proxy.behave(Behaviour::Pass);
            }
            Self::Stopped | Self::Killed => block_on(site.database.restart()),
            Self::Frozen => site.database_signal(Signal::SIGCONT),
            Self::ReadOnly => site.in_database("SET GLOBAL read_only = 0"),
            Self::LoginsRefused => site.in_database("ALTER USER mppd@'%' ACCOUNT UNLOCK"),
            // mppd may have made the table anew, and written rows into it.
            Self::TableGone => bring_back(site),
            Self::ConnectionsKilled => {}
            Self::TableLocked => site.lock.take().unwrap().join().unwrap(),
            Self::DiskFull => {
                site.database.disk().empty();
                // Left to itself, it looks for room once a minute.
                site.database.kill();
                block_on(site.database.restart());
            }
        }
    }
}

/// What can happen to mppd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ServerFault {
    Killed,
    KilledTwice,
    Stopped,
    Reloaded,
    DiskFull,
}

impl ServerFault {
    pub(super) const ALL: [Self; 5] =
        [Self::Killed, Self::KilledTwice, Self::Stopped, Self::Reloaded, Self::DiskFull];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Killed => "mppd is killed",
            Self::KilledTwice => "mppd is killed twice",
            Self::Stopped => "mppd is stopped and started",
            Self::Reloaded => "mppd is reloaded again and again",
            Self::DiskFull => "mppd's disk is full",
        }
    }

    /// Whether requests can go unanswered, since mppd is not there.
    pub(super) fn ends_mppd(self) -> bool {
        matches!(self, Self::Killed | Self::KilledTwice | Self::Stopped)
    }

    pub(super) fn inject(self, site: &mut Site, random: &mut Rng) {
        let mut wait = || crate::harness::pause(Duration::from_millis(random.u64(0..300)));
        match self {
            Self::Killed => {
                site.kill_mppd();
                wait();
                site.start_mppd();
            }
            Self::KilledTwice => {
                site.kill_mppd();
                site.start_mppd();
                wait();
                site.kill_mppd();
                site.start_mppd();
            }
            Self::Stopped => {
                assert!(site.daemon().terminate().success());
                site.start_mppd();
            }
            Self::Reloaded => {
                for _ in 0..10 {
                    site.daemon().hangup();
                    wait();
                }
            }
            Self::DiskFull => site.fill_disk(),
        }
    }

    pub(super) fn mend(self, site: &mut Site) {
        if self == Self::DiskFull {
            site.empty_disk();
        }
    }
}

fn bring_back(site: &Site) {
    let tables = "SELECT TABLE_NAME FROM information_schema.TABLES \
                  WHERE TABLE_SCHEMA = 'mppd' AND TABLE_NAME = 'track_policy_request'";
    let tables: Vec<String> = block_on(site.database.ask(tables));
    if tables.is_empty() {
        site.in_database("RENAME TABLE mppd.elsewhere TO mppd.track_policy_request");
        return;
    }
    // A row that was being written when the table went may be in both; the later one is complete.
    site.in_database(
        "INSERT IGNORE INTO mppd.track_policy_request SELECT * FROM mppd.elsewhere; \
         DROP TABLE mppd.elsewhere",
    );
}
