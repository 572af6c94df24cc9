//! What the faults happen to: an mppd with its state directory on a small disk of its own, and a
//! MariaDB behind a proxy.

use std::collections::HashMap;
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::load::REFUSED;
use super::proxy::Proxy;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::records::block_on;
use crate::harness::small_disk::SmallDisk;

/// Enough for a spool, or a binary log, of some hundred thousand rows.
const DISK: &str = "64m";

/// A row as far as the faults are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) state: String,
    pub(super) decision: String,
    pub(super) error: String,
}

impl Record {
    pub(super) fn is_processed(&self) -> bool {
        self.state == "processed"
    }
}

/// The whole of it.
pub(super) struct Site {
    daemon: Option<Daemon>,
    pub(super) proxy: Proxy,
    pub(super) database: MariaDb,
    /// Who holds a lock on the table for a while.
    pub(super) lock: Option<JoinHandle<()>>,
    disk: SmallDisk,
}

impl Site {
    pub(super) fn start(durability: &str) -> Self {
        let database = block_on(MariaDb::start_with_tls_and_log_on_small_disk(DISK));
        let proxy = Proxy::before(database.port());
        let settings = Settings {
            common: format!("<tracking><durability>{durability}</durability></tracking>"),
            policy_server: "<request_deadline>20s</request_deadline>".into(),
            tracking: true,
            group: connection(&database, &proxy),
            ..Settings::wbl(&format!(
                "<black><recipient>{REFUSED}</recipient></black><on_black>REJECT no</on_black>"
            ))
        };
        let mut daemon = Daemon::start(settings);
        assert!(daemon.terminate().success());
        let disk = SmallDisk::mount(&daemon.state_directory(), DISK);
        Site { daemon: Some(daemon.again()), proxy, database, lock: None, disk }
    }

    pub(super) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    pub(super) fn kill_mppd(&mut self) {
        self.daemon().kill9();
    }

    /// Starts mppd again on what it left; it is killed if it runs.
    pub(super) fn start_mppd(&mut self) {
        self.daemon = self.daemon.take().map(Daemon::again);
    }

    pub(super) fn fill_disk(&self) {
        self.disk.fill();
    }

    pub(super) fn empty_disk(&self) {
        self.disk.empty();
    }

    pub(super) fn database_signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.database.pid()).unwrap()), signal).unwrap();
    }

    pub(super) fn in_database(&self, sql: &str) {
        block_on(self.database.execute(sql));
    }

    /// All rows, by instance; a request with several has them all.
    pub(super) fn records(&self) -> HashMap<String, Vec<Record>> {
        let sql = "SELECT instance, state, COALESCE(decision, ''), COALESCE(error_text, '') \
                   FROM mppd.track_policy_request";
        let rows: Vec<(String, String, String, String)> = block_on(self.database.ask(sql));
        let mut records: HashMap<String, Vec<Record>> = HashMap::new();
        for (instance, state, decision, error) in rows {
            records.entry(instance).or_default().push(Record { state, decision, error });
        }
        records
    }

    /// Forgets the rows of rounds that are over, also in the binary log.
    pub(super) fn clear(&self) {
        self.in_database("DELETE FROM mppd.track_policy_request");
        let forget =
            if MariaDb::is_mariadb() { "RESET MASTER" } else { "RESET BINARY LOGS AND GTIDS" };
        self.in_database(forget);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Before its disk goes.
        drop(self.daemon.take());
    }
}

/// Encrypted, so that what is corrupted on the way is seen; and impatient, so that the rounds are
/// short.
fn connection(database: &MariaDb, proxy: &Proxy) -> String {
    let ours = format!("<port>{}</port>", database.port());
    let proxied = format!(
        "<port>{}</port><tls><ca_file>{}</ca_file></tls>\
         <connect_timeout>1s</connect_timeout><write_timeout>1s</write_timeout>",
        proxy.port(),
        crate::harness::mariadb::tls_file("ca.pem").display()
    );
    database.element().replace(&ours, &proxied)
}
