//! Who is logged in. Sessions are kept in memory, bounded, and end with the server; one whose
//! account is gone or has another password has ended as well.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::accounts::{Account, Hash, HashError, random_text};

/// Most sessions at once; the one that was used longest ago makes room.
const MOST: usize = 1_000;

/// A session is found by the digest of what its cookie says: how long the search takes tells
/// nothing about cookies.
type Key = [u8; 32];

#[derive(Debug)]
struct Session {
    account: String,
    /// The password that it was begun with.
    hash: Hash,
    csrf: String,
    began: Instant,
    used: Instant,
}

/// How long sessions hold.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// At the longest.
    pub whole: Duration,
    /// While nothing is looked at.
    pub idle: Duration,
}

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Their account.
    pub account: String,
    /// What their forms have to say.
    pub csrf: String,
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// What the cookie says.
    pub cookie: String,
}

/// The sessions.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Key, Session>>);

impl Sessions {
    /// Begins a session for somebody who has proved who they are.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn begin(&self, account: &Account, now: Instant) -> Result<Begun, HashError> {
        let (cookie, csrf) = (random_text()?, random_text()?);
        let session = Session {
            account: account.name.clone(),
            hash: account.hash.clone(),
            csrf,
            began: now,
            used: now,
        };
        let mut sessions = self.lock();
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.used)
        {
            let oldest = *oldest.0;
            sessions.remove(&oldest);
        }
        sessions.insert(key(&cookie), session);
        Ok(Begun { cookie })
    }

    /// Who has this cookie, if their session holds and their account is still as it was.
    pub fn find(
        &self,
        cookie: &str,
        accounts: &[Account],
        lengths: Lengths,
        now: Instant,
    ) -> Option<LoggedIn> {
        let key = key(cookie);
        let mut sessions = self.lock();
        let session = sessions.get_mut(&key)?;
        let holds = now.duration_since(session.began) < lengths.whole
            && now.duration_since(session.used) < lengths.idle
            && accounts
                .iter()
                .any(|account| account.name == session.account && account.hash == session.hash);
        if !holds {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(LoggedIn { account: session.account.clone(), csrf: session.csrf.clone() })
    }

    /// Ends the session of this cookie.
    pub fn end(&self, cookie: &str) {
        self.lock().remove(&key(cookie));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        // No panic can leave it half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(cookie: &str) -> Key {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::accounts::Role;

    const LENGTHS: Lengths =
        Lengths { whole: Duration::from_secs(100), idle: Duration::from_secs(10) };

    fn account(name: &str) -> Account {
        Account { name: name.to_owned(), role: Role::Viewer, hash: Hash::of(name).unwrap() }
    }

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_is_ended() {
        let (sessions, accounts, now) = (Sessions::default(), [account("a")], Instant::now());
        let Begun { cookie } = sessions.begin(&accounts[0], now).unwrap();
        let found = sessions.find(&cookie, &accounts, LENGTHS, now).unwrap();
        assert_eq!(found.account, "a");
        assert_eq!(sessions.find("other", &accounts, LENGTHS, now), None);
        sessions.end(&cookie);
        assert_eq!(sessions.find(&cookie, &accounts, LENGTHS, now), None);
    }

    #[test]
    fn a_session_ends_when_nothing_is_looked_at_and_after_its_whole_length() {
        let (sessions, accounts, now) = (Sessions::default(), [account("a")], Instant::now());
        let seconds = |count| now + Duration::from_secs(count);
        let Begun { cookie } = sessions.begin(&accounts[0], now).unwrap();
        for at in (0..100).step_by(9) {
            assert!(sessions.find(&cookie, &accounts, LENGTHS, seconds(at)).is_some(), "{at}");
        }
        assert!(sessions.find(&cookie, &accounts, LENGTHS, seconds(100)).is_none());
        let Begun { cookie } = sessions.begin(&accounts[0], now).unwrap();
        assert!(sessions.find(&cookie, &accounts, LENGTHS, seconds(10)).is_none());
        assert!(sessions.find(&cookie, &accounts, LENGTHS, now).is_none(), "it stays ended");
    }

    #[test]
    fn a_session_ends_with_the_password_and_with_the_account() {
        let (sessions, before, now) = (Sessions::default(), [account("a")], Instant::now());
        let Begun { cookie } = sessions.begin(&before[0], now).unwrap();
        let after = [Account { hash: Hash::of("another").unwrap(), ..before[0].clone() }];
        assert_eq!(sessions.find(&cookie, &after, LENGTHS, now), None);
        let Begun { cookie } = sessions.begin(&before[0], now).unwrap();
        assert_eq!(sessions.find(&cookie, &[], LENGTHS, now), None);
    }

    #[test]
    fn there_are_only_so_many_sessions_and_the_least_used_goes() {
        let (sessions, accounts, now) = (Sessions::default(), [account("a")], Instant::now());
        let first = sessions.begin(&accounts[0], now).unwrap().cookie;
        let second = sessions.begin(&accounts[0], now).unwrap().cookie;
        let later = now + Duration::from_secs(1);
        assert!(sessions.find(&first, &accounts, LENGTHS, later).is_some());
        for _ in 2..=MOST {
            sessions.begin(&accounts[0], later).unwrap();
        }
        assert_eq!(sessions.lock().len(), MOST);
        assert!(sessions.find(&first, &accounts, LENGTHS, later).is_some());
        assert!(sessions.find(&second, &accounts, LENGTHS, later).is_none());
    }
}
