//! A sign of life in the state directory, by which the next mppd knows that this one ended without
//! stopping, and when: requests that were under way then never got their decision.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use mppd_engine::RequestKey;
use tokio::time::Instant;

use super::key::{self, Run, new_key};
use super::store::{Ending, Store, StoreError, next};
use super::time::microseconds;

/// What the records say of a request that was under way when mppd ended.
pub const INTERRUPTED: &str = "mppd ended before this request was decided";

/// How often the sign is given.
const GIVEN_EVERY: Duration = Duration::from_secs(5);

/// How much longer than its deadline a request may have been under way, at most: the end-exception
/// chain comes after the deadline, and signs of life are as far apart as the slowest write.
const SLACK: Duration = Duration::from_mins(1);

/// What a sign begins with. Those of older releases are nothing but a key, and the keys of their
/// requests don't tell which run made them.
const MARK: &str = "run ";

/// How many rows are looked at in one step, so that live ones do not wait long.
const LOOKED_AT_ONCE: usize = 1_000;

/// This run of the server. Every request of it has a higher key.
static RUN: LazyLock<RequestKey> = LazyLock::new(new_key);

/// Notes that the server runs, before its first request.
pub(super) fn begin_run() {
    LazyLock::force(&RUN);
}

/// The sign of one tracker.
#[derive(Debug)]
pub(super) struct Alive {
    path: PathBuf,
    file: File,
    given: Instant,
}

impl Alive {
    /// Gives the first sign: a file that names this run.
    pub(super) fn begin(directory: &Path, records: &str) -> io::Result<Self> {
        let path = directory.join(format!("{}{}", prefix(records), new_key()));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(our_sign().as_bytes())?;
        // It must tell of this run although power is lost.
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(Alive { path, file, given: Instant::now() })
    }

    /// Gives another sign when it is time for one.
    pub(super) fn attend(&mut self) -> io::Result<()> {
        if self.given.elapsed() < GIVEN_EVERY {
            return Ok(());
        }
        self.given = Instant::now();
        self.file.set_modified(SystemTime::now())
    }

    /// When the next sign is due.
    pub(super) fn due(&self) -> Instant {
        self.given + GIVEN_EVERY
    }

    /// Takes the sign away: nothing was under way at the end.
    pub(super) fn end(self) -> io::Result<()> {
        remove(&self.path)
    }
}

fn our_sign() -> String {
    format!("{MARK}{}", *RUN)
}

/// Removes a sign, which another tracker of the same database may have done.
fn remove(sign: &Path) -> io::Result<()> {
    match fs::remove_file(sign) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn prefix(records: &str) -> String {
    format!("alive-{records}-")
}

/// What runs of the server left open that ended without stopping.
#[derive(Debug)]
pub(super) struct Interruption {
    signs: Vec<PathBuf>,
    /// Which runs these are. Another server of the same name may write to the same database.
    runs: HashSet<Run>,
    /// Before this, a run of an older release was alive: whatever is open is taken for its own.
    older: RequestKey,
    range: Range<RequestKey>,
    closed: u64,
}

impl Interruption {
    /// Looks for signs of life of earlier runs; `deadline` is that of their requests.
    pub(super) fn find(
        directory: &Path,
        records: &str,
        deadline: Duration,
    ) -> io::Result<Option<Self>> {
        let (prefix, ours) = (prefix(records), our_sign());
        let (mut signs, mut runs, mut older) = (Vec::new(), HashSet::new(), RequestKey([0; 16]));
        let mut last = None::<SystemTime>;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_sign = name.strip_prefix(&prefix).is_some_and(|id| key::parse(id).is_some());
            // A tracker that a reload has replaced is still alive.
            if !is_sign {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            if text == ours {
                continue;
            }
            let modified = fs::metadata(&path)?.modified()?;
            // One that was torn by a loss of power tells no run; its requests stay as they are.
            match text.strip_prefix(MARK) {
                Some(run) => runs.extend(key::parse(run).map(key::run)),
                None if key::parse(&text).is_some() => {
                    older = older.max(key::floor(microseconds(modified + GIVEN_EVERY * 2)));
                }
                None => {}
            }
            last = Some(last.map_or(modified, |last| last.min(modified)));
            signs.push(path);
        }
        Ok(last.map(|last| {
            let begin = last.checked_sub(deadline + SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
            let range = key::floor(microseconds(begin))..*RUN;
            Interruption { signs, runs, older, range, closed: 0 }
        }))
    }

    /// Closes a few of the requests; whether there may be more.
    pub(super) async fn step(
        &mut self,
        store: &mut dyn Store,
        node: &str,
    ) -> Result<bool, StoreError> {
        let found = store.undecided(node, self.range.clone(), LOOKED_AT_ONCE).await?;
        let is_theirs = |key: &RequestKey| *key < self.older || self.runs.contains(&key::run(*key));
        let keys: Vec<RequestKey> = found.keys.into_iter().filter(is_theirs).collect();
        self.closed += close(store, &keys).await?;
        let Some(last) = found.last else { return Ok(false) };
        self.range.start = next(last);
        Ok(true)
    }

    /// Forgets them, once they are closed or are to stay as they are; how many were closed.
    pub(super) fn end(self) -> io::Result<u64> {
        self.signs.iter().try_for_each(|sign| remove(sign))?;
        Ok(self.closed)
    }
}

/// Closes requests that never got their decision; how many there were.
pub(super) async fn close(store: &mut dyn Store, keys: &[RequestKey]) -> Result<u64, StoreError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let ending = Ending { at: microseconds(SystemTime::now()), error_text: INTERRUPTED.to_owned() };
    store.close(keys, &ending).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn find(directory: &Path) -> Option<Interruption> {
        Interruption::find(directory, "requests", DEADLINE).unwrap()
    }

    #[tokio::test]
    async fn a_sign_of_this_run_is_no_interruption() {
        let directory = tempfile::tempdir().unwrap();
        let alive = Alive::begin(directory.path(), "requests").unwrap();
        assert!(find(directory.path()).is_none());
        alive.end().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_sign_of_another_run_tells_which_requests_may_be_open() {
        let directory = tempfile::tempdir().unwrap();
        let sign = directory.path().join(format!("alive-requests-{}", new_key()));
        fs::write(&sign, format!("{MARK}{}", new_key())).unwrap();
        fs::write(directory.path().join(format!("alive-other-{}", new_key())), "x").unwrap();
        let interruption = find(directory.path()).unwrap();
        let back = key::floor(microseconds(SystemTime::now() - DEADLINE - SLACK * 2));
        assert!(interruption.range.start > back && interruption.range.start < new_key());
        assert_eq!(interruption.range.end, *RUN);
        interruption.end().unwrap();
        assert!(!sign.exists() && find(directory.path()).is_none());
    }
    #[tokio::test]
    async fn what_a_run_of_an_older_release_left_open_came_before_its_last_sign() {
        let directory = tempfile::tempdir().unwrap();
        let sign = directory.path().join(format!("alive-requests-{}", new_key()));
        fs::write(&sign, new_key().to_string()).unwrap();
        let interruption = find(directory.path()).unwrap();
        let after =
            |seconds| key::floor(microseconds(SystemTime::now() + Duration::from_secs(seconds)));
        assert!(interruption.runs.is_empty());
        assert!(interruption.older > new_key() && interruption.older < after(60));
        for torn in ["", "run ", "run 01a206fa-d76d", "01a206fa-d76d"] {
            fs::write(&sign, torn).unwrap();
            let interruption = find(directory.path()).unwrap();
            assert!(interruption.runs.is_empty() && interruption.older.0 == [0; 16], "{torn}");
        }
    }
}
