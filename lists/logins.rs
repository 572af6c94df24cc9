//! Names of users who have logged in. They are compared octet by octet: whether `Alice` is `alice`
//! is for the authentication service to say.

use mppd_engine::Attribute;

use crate::formats::Format;
use crate::keys::Keys;
use crate::reading::Fault;
use crate::{Found, Shown, Table};

/// Logins, each with a value.
#[derive(Debug)]
pub struct Logins<V> {
    names: Keys<V>,
}

impl<V> Default for Logins<V> {
    fn default() -> Self {
        Logins { names: Keys::default() }
    }
}

impl<V> Logins<V> {
    /// The entry for a login.
    #[must_use]
    pub fn find<'a>(&'a self, login: &'a [u8]) -> Option<Found<'a, V>> {
        let value = self.names.get(login)?;
        Some(Found { value, entry: Shown::Whole(login), specificity: 0 })
    }
}

impl<V: Copy> Table<V> for Logins<V> {
    type Entry = Box<[u8]>;

    const FORMATS: &'static [Format] = &[Format::Lines, Format::Hash];

    fn parse(text: &str, _: Attribute) -> Result<Box<[u8]>, Fault> {
        Ok(text.as_bytes().into())
    }

    fn contains(&self, entry: &Box<[u8]>) -> bool {
        self.get(entry).is_some()
    }

    fn get(&self, entry: &Box<[u8]>) -> Option<&V> {
        self.names.get(entry)
    }

    fn insert(&mut self, entry: Box<[u8]>, value: V) {
        self.names.insert(&entry, value);
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn settle(&mut self) {
        self.names.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_exactly_as_it_is_written() {
        let mut logins = Logins::default();
        let entry = Logins::<u8>::parse("Alice", Attribute::SaslUsername).unwrap();
        logins.insert(entry, 7);
        assert_eq!(logins.find(b"Alice").map(|found| *found.value), Some(7));
        assert!(logins.find(b"alice").is_none());
    }
}
