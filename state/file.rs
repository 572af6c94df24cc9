//! The file of the embedded store: a table of records, and an inbox through which other processes
//! change what a running server has in memory.

#[cfg(test)]
mod power;

use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, params,
};

use crate::backend::Stored;
use crate::table::{Changes, Millis, timestamp};

/// How long a process waits for another one that writes.
const BUSY: Duration = Duration::from_secs(5);

/// How much of the file is kept in memory, so that neighbours of what changes need not be read.
const CACHE_KIB: i64 = 32 << 10;

/// `user_version` of the file.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS state (
        key BLOB NOT NULL PRIMARY KEY,
        until INTEGER NOT NULL,
        octets BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS inbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL,
        until INTEGER,
        octets BLOB
    );";

const PUT: &str = "INSERT INTO state (key, until, octets) VALUES (?, ?, ?) \
    ON CONFLICT DO UPDATE SET until = excluded.until, octets = excluded.octets";
const REMOVE: &str = "DELETE FROM state WHERE key = ?";

/// The file's name in the state directory.
const NAME: &str = "state.sqlite";

/// Where the file is in a state directory.
pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It can't be made.
    #[error("can't make {}: {source}", path.display())]
    Make { path: PathBuf, source: io::Error },
    /// SQLite says so.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A later mppd made it.
    #[error("the file is of version {0}, which is later than this mppd")]
    Version(i64),
}

impl FileError {
    /// Whether what is in the file can't be read, and never will.
    pub(crate) fn is_broken(&self) -> bool {
        let FileError::Sqlite(error) = self else { return false };
        let code = error.sqlite_error_code();
        matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct StoreFile {
    connection: Connection,
    /// What `data_version` was when the inbox was last looked into.
    seen: Option<i64>,
}

/// What another process wants to be so; `None` removes.
pub(crate) struct Posted {
    pub(crate) id: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) record: Option<(Millis, Vec<u8>)>,
}

impl StoreFile {
    /// Opens the file, and makes it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        make(path).map_err(|source| FileError::Make { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Neither a process that is killed nor a machine that loses its power loses what is
        // committed. That is done a few times a second, so the disk has nothing to complain of.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > VERSION {
            return Err(FileError::Version(version));
        }
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        Ok(StoreFile { connection, seen: None })
    }

    /// Opens a file that is there to read it, and makes nothing beside it. Another process may be
    /// writing it.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, FileError> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Without a log beside it nobody writes it, and what SQLite would make there to see others
        // writing is not needed.
        let connection = if Path::new(&log).exists() {
            Connection::open_with_flags(path, flags)?
        } else {
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(immutable(path), flags)?
        };
        connection.busy_timeout(BUSY)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > VERSION {
            return Err(FileError::Version(version));
        }
        Ok(StoreFile { connection, seen: None })
    }

    /// Gives every record to `take`.
    pub(crate) fn load(&self, mut take: impl FnMut(&[u8], &[u8], Millis)) -> Result<(), FileError> {
        let mut statement = self.connection.prepare("SELECT key, octets, until FROM state")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().unwrap_or_default();
            let octets = row.get_ref(1)?.as_blob().unwrap_or_default();
            take(key, octets, row.get(2)?);
        }
        Ok(())
    }

    /// Writes changes, all or none, and takes what stands in the inbox up to an ID out of it.
    pub(crate) fn write(
        &mut self,
        changes: &[Changes],
        done: Option<i64>,
    ) -> Result<(), FileError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        {
            let mut remove = transaction.prepare_cached(REMOVE)?;
            let mut put = transaction.prepare_cached(PUT)?;
            // In their order: what came later may undo what came before.
            for changes in changes {
                for packed in &changes.removed {
                    remove.execute([packed.key()])?;
                }
                for (packed, until) in &changes.put {
                    put.execute(params![packed.key(), until, packed.octets()])?;
                }
            }
        }
        if let Some(done) = done {
            transaction.execute("DELETE FROM inbox WHERE id <= ?", [done])?;
        }
        Ok(transaction.commit()?)
    }

    /// What stands in the inbox, at most so much; nothing where no other process has written since
    /// it was last empty.
    pub(crate) fn inbox(&mut self, limit: usize) -> Result<Vec<Posted>, FileError> {
        let version: i64 =
            self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.seen == Some(version) {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, key, until, octets FROM inbox ORDER BY id LIMIT ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let posted = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            let until: Option<Millis> = row.get(2)?;
            let octets: Option<Vec<u8>> = row.get(3)?;
            Ok(Posted { id: row.get(0)?, key: row.get(1)?, record: until.zip(octets) })
        })?;
        let posted = posted.collect::<Result<Vec<Posted>, _>>()?;
        if posted.is_empty() {
            self.seen = Some(version);
        }
        Ok(posted)
    }

    /// Writes records as they are, all or none; `None` removes.
    pub(crate) fn change<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<(Millis, Vec<u8>)>)>,
    ) -> Result<(), FileError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        for (key, record) in changes {
            match record {
                Some((until, octets)) => {
                    transaction.prepare_cached(PUT)?.execute(params![key, until, octets])?
                }
                None => transaction.prepare_cached(REMOVE)?.execute([key])?,
            };
        }
        Ok(transaction.commit()?)
    }

    /// Puts changes into the inbox, all or none; the ID of the last. Without any change, something
    /// that changes nothing.
    pub(crate) fn post<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<(Millis, Vec<u8>)>)>,
    ) -> Result<i64, FileError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let sql = "INSERT INTO inbox (key, until, octets) VALUES (?, ?, ?)";
        let mut count = 0;
        for (key, record) in changes {
            let (until, octets) = record.as_ref().map(|(until, octets)| (until, octets)).unzip();
            transaction.prepare_cached(sql)?.execute(params![key, until, octets])?;
            count += 1;
        }
        if count == 0 {
            // No key is empty.
            transaction.execute(sql, params![[0u8; 0], None::<Millis>, None::<Vec<u8>>])?;
        }
        let last = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(last)
    }

    /// Whether the server has taken in what has this ID.
    pub(crate) fn is_taken(&self, id: i64) -> Result<bool, FileError> {
        let sql = "SELECT 1 FROM inbox WHERE id <= ? LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(!statement.exists([id])?)
    }

    /// A record as it will be once the inbox has been taken in.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<(Millis, Vec<u8>)>, FileError> {
        let sql = "SELECT until, octets FROM state WHERE key = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// A page of the records whose keys begin so, in the order of their keys.
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        behind: Option<&[u8]>,
        limit: usize,
        now: Millis,
    ) -> Result<Vec<Stored>, FileError> {
        let sql = "SELECT key, until, octets FROM state \
            WHERE key >= ?1 AND key > ?2 AND substr(key, 1, length(?1)) = ?1 AND until > ?3 \
            ORDER BY key LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let bound = params![prefix, behind.unwrap_or_default(), now, limit];
        let rows = statement.query_map(bound, |row| {
            Ok(Stored { key: row.get(0)?, until: timestamp(row.get(1)?), octets: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The URI of a file that does not change.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for octet in path.as_os_str().as_bytes() {
        match octet {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*octet)),
            octet if octet.is_ascii_alphanumeric() => uri.push(char::from(*octet)),
            octet => {
                // Writing to a String cannot fail.
                let _infallible = write!(uri, "%{octet:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// Makes an empty file where there is none. It belongs to whoever has the directory, so that a
/// command that root gives does not lock the server out.
fn make(path: &Path) -> io::Result<()> {
    // Who writes to whom is nobody else's business.
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        result => drop(result?),
    }
    let Some(directory) = path.parent() else { return Ok(()) };
    let owner = std::fs::metadata(directory)?;
    let ours = std::fs::metadata(path)?;
    if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) {
        // Only root may give it away, and for anybody else it is right as it is.
        let _kept = std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
    }
    Ok(())
}

/// Gives a broken file another name, with what belongs to it; that name.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let with = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".broken-{}", time.as_millis()));
    std::fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        // There may be none; and one that stayed would be taken for that of the next file.
        match std::fs::rename(with(path, suffix), with(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}
