//! How often somebody may try to log in: so many failures for each address and for each account
//! within a while, and passwords are checked few at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a failure counts.
const WHILE: Duration = Duration::from_mins(10);

/// Failures from one address.
const MOST_BY_ADDRESS: usize = 10;

/// Failures for one account, from wherever: more, because others can cause them.
const MOST_BY_ACCOUNT: usize = 50;

/// Addresses and accounts that are remembered; the one whose last failure is oldest is forgotten.
const MOST_REMEMBERED: usize = 10_000;

/// What a failure is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Address(String),
    Account(String),
}

impl Subject {
    const fn most(&self) -> usize {
        match self {
            Subject::Address(_) => MOST_BY_ADDRESS,
            Subject::Account(_) => MOST_BY_ACCOUNT,
        }
    }
}

/// Failures within a while, the oldest first.
type Failures = Vec<Instant>;

/// Counts failures to log in.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Subject, Failures>>);

impl Throttle {
    /// Whether somebody may try; else how long they have to wait.
    ///
    /// # Errors
    /// The time until they may try again.
    pub fn admit(&self, address: &str, account: &str, now: Instant) -> Result<(), Duration> {
        let mut known = self.lock();
        for subject in subjects(address, account) {
            let Some(failures) = known.get_mut(&subject) else { continue };
            failures.retain(|at| now.duration_since(*at) < WHILE);
            if failures.len() >= subject.most()
                && let Some(oldest) = failures.first()
            {
                return Err(WHILE.saturating_sub(now.duration_since(*oldest)));
            }
        }
        Ok(())
    }

    /// Somebody could not log in.
    pub fn failed(&self, address: &str, account: &str, now: Instant) {
        let mut known = self.lock();
        for subject in subjects(address, account) {
            if known.len() >= MOST_REMEMBERED
                && !known.contains_key(&subject)
                && let Some(oldest) = known.iter().min_by_key(|(_, failures)| failures.last())
            {
                let oldest = oldest.0.clone();
                known.remove(&oldest);
            }
            let most = subject.most();
            let failures = known.entry(subject).or_default();
            failures.push(now);
            if failures.len() > most {
                failures.remove(0);
            }
        }
    }

    /// Somebody could: one try of theirs does not count as a failure.
    pub fn succeeded(&self, address: &str, account: &str) {
        let mut known = self.lock();
        for subject in subjects(address, account) {
            if let Some(failures) = known.get_mut(&subject) {
                failures.pop();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Failures>> {
        // No panic can leave it half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subjects(address: &str, account: &str) -> [Subject; 2] {
    // A peer chooses the name; no more of it is kept than a name has.
    let account = account.chars().take(64).collect();
    [Subject::Address(address.to_owned()), Subject::Account(account)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_has_to_wait_and_others_have_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..MOST_BY_ADDRESS {
            assert_eq!(throttle.admit("192.0.2.1", "a", now), Ok(()));
            throttle.failed("192.0.2.1", &format!("a{number}"), now);
        }
        assert_eq!(throttle.admit("192.0.2.1", "a", now), Err(WHILE));
        assert_eq!(throttle.admit("192.0.2.2", "a", now), Ok(()));
        assert_eq!(throttle.admit("192.0.2.1", "a", now + WHILE), Ok(()));
    }

    #[test]
    fn an_account_that_is_tried_from_many_addresses_is_closed_for_a_while() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..MOST_BY_ACCOUNT {
            throttle.failed(&format!("192.0.2.{number}"), "a", now);
        }
        assert!(throttle.admit("198.51.100.1", "a", now).is_err());
        assert_eq!(throttle.admit("198.51.100.1", "b", now), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_and_names_takes_bounded_memory() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        throttle.failed("192.0.2.1", "a", now + Duration::from_secs(1));
        let mut known = throttle.lock();
        for number in 2..MOST_REMEMBERED {
            known.insert(Subject::Account(format!("b{number}")), vec![now]);
        }
        drop(known);
        assert_eq!(throttle.lock().len(), MOST_REMEMBERED);
        throttle.failed("192.0.2.2", "c", now + Duration::from_secs(2));
        let known = throttle.lock();
        assert_eq!(known.len(), MOST_REMEMBERED);
        assert!(known.contains_key(&Subject::Account("a".to_owned())));
    }
}
