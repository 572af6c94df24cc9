//! What a database says of an address, in the forms of MaxMind (GeoIP2, GeoLite2), of DB-IP, which
//! are the same, and of IPinfo.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// What is known of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) country: Option<&'a str>,
    pub(super) continent: Option<&'a str>,
    pub(super) registered_country: Option<&'a str>,
    pub(super) as_number: Option<u32>,
    pub(super) organization: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// What this one knows, and what else the other does.
    pub(super) fn or(self, other: Origin<'a>) -> Self {
        Origin {
            country: self.country.or(other.country),
            continent: self.continent.or(other.continent),
            registered_country: self.registered_country.or(other.registered_country),
            as_number: self.as_number.or(other.as_number),
            organization: self.organization.or(other.organization),
        }
    }

    /// Whether nothing is known that could be on a list.
    pub(super) fn is_empty(&self) -> bool {
        self.country.is_none() && self.continent.is_none() && self.as_number.is_none()
    }
}

impl<'a> From<Record<'a>> for Origin<'a> {
    fn from(record: Record<'a>) -> Self {
        let named = record.asn.and_then(|name| name.strip_prefix("AS")?.parse().ok());
        Origin {
            country: record.country.and_then(|place| place.code).or(record.country_code),
            continent: record.continent.and_then(|place| place.code).or(record.continent_code),
            registered_country: record.registered_country.and_then(|place| place.code),
            as_number: record.autonomous_system_number.map(|number| number.0).or(named),
            organization: record.autonomous_system_organization.or(record.as_name),
        }
    }
}

/// A record as it stands in the file; all else in it is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    country: Option<Place<'a>>,
    #[serde(borrow)]
    continent: Option<Place<'a>>,
    #[serde(borrow)]
    registered_country: Option<Place<'a>>,
    autonomous_system_number: Option<Number>,
    autonomous_system_organization: Option<&'a str>,
    country_code: Option<&'a str>,
    continent_code: Option<&'a str>,
    asn: Option<&'a str>,
    as_name: Option<&'a str>,
}

/// A country or continent: a map with its code or, at IPinfo, its name, which is not used.
#[derive(Debug)]
struct Place<'a> {
    code: Option<&'a str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Place<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceVisitor)
    }
}

struct PlaceVisitor;

impl<'de> Visitor<'de> for PlaceVisitor {
    type Value = Place<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a place")
    }

    fn visit_borrowed_str<E>(self, _: &'de str) -> Result<Place<'de>, E> {
        Ok(Place { code: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Place<'de>, A::Error> {
        let mut code = None;
        while let Some(name) = map.next_key::<&str>()? {
            match name {
                // Of a country and of a continent.
                "iso_code" | "code" => code = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Place { code })
    }
}

/// A number, in whichever width the file has it.
#[derive(Debug)]
struct Number(u32);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of an autonomous system")
    }

    fn visit_u16<E>(self, number: u16) -> Result<Number, E> {
        Ok(Number(number.into()))
    }

    fn visit_u32<E>(self, number: u32) -> Result<Number, E> {
        Ok(Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Number, E> {
        u32::try_from(number).map(Number).map_err(E::custom)
    }
}
