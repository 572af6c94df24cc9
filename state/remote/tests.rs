//! What those who ask get from a server that is slow, locked or away.

use std::future::pending;
use std::thread::spawn;

use mppd_engine::testkit::block_on;
use slog::{Discard, o};

use super::*;
use crate::backend::Step;

const TIMEOUT: Duration = Duration::from_millis(400);

/// A server of which one key is locked, and that has much to look at for a list.
struct Locked;

impl Server for Locked {
    async fn prepare(&self) -> Result<(), ServerError> {
        Ok(())
    }

    async fn read(&self, key: &[u8]) -> Result<Option<Held>, ServerError> {
        if key == b"locked" { pending().await } else { Ok(None) }
    }

    async fn exchange(
        &self,
        _: &[u8],
        _: Option<&Held>,
        _: Option<&Held>,
        _: Millis,
    ) -> Result<bool, ServerError> {
        Ok(true)
    }

    async fn list(&self, _: &Page) -> Result<Vec<Stored>, ServerError> {
        tokio::time::sleep(TIMEOUT * 2).await;
        Ok(Vec::new())
    }

    async fn tend(&self) -> Result<(), ServerError> {
        Ok(())
    }
}

fn locked() -> Remote {
    let manners = Manners { timeout: TIMEOUT, tended_every: Duration::from_hours(1) };
    Remote::start(|_| Locked, manners, &Logger::root(Discard, o!())).unwrap()
}

fn change(remote: &Remote, key: &[u8]) -> Result<(), StateError> {
    let put = |_: Option<&[u8]>| Step::Put(Vec::new(), Timestamp::MAX);
    block_on(remote.update(key.to_vec(), Timestamp::UNIX_EPOCH, Box::new(put)))
}

#[test]
fn a_key_that_is_locked_does_not_take_the_others_with_it() {
    let remote = Arc::new(locked());
    let other = remote.clone();
    let locked = spawn(move || change(&other, b"locked"));
    while !locked.is_finished() {
        change(&remote, b"free").unwrap();
    }
    let error = locked.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("too busy"), "{error}");
    change(&remote, b"free").unwrap();
}

#[test]
fn a_server_that_answers_nobody_is_away() {
    let remote = locked();
    let error = change(&remote, b"locked").unwrap_err();
    assert!(error.to_string().contains("away: no answer"), "{error}");
}

#[test]
fn a_list_may_take_longer_than_a_change() {
    let remote = locked();
    let listed = remote.list(Vec::new(), None, 10, Timestamp::UNIX_EPOCH);
    assert_eq!(block_on(listed).unwrap(), []);
}
