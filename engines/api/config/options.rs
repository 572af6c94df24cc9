//! Options that document themselves: one declaration gives the struct, its reading from the
//! configuration, and the reference text.

use serde::de::DeserializeOwned;

/// One option, as the reference shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionDoc {
    /// Its name: a child element, or an attribute.
    pub name: &'static str,
    /// The kind of value, in words.
    pub value: &'static str,
    /// What it is unless given; `None` if it must be given, empty if nothing.
    pub default: Option<String>,
    /// What it is for.
    pub meaning: &'static str,
    /// The options inside, for one that is an element of its own.
    pub nested: Vec<OptionDoc>,
}

/// A set of options: what [`options!`](crate::options) declares.
pub trait Options: DeserializeOwned {
    /// The reference of the options, in the order declared.
    fn docs() -> Vec<OptionDoc>;
}

/// A type that an option can have.
pub trait OptionValue: DeserializeOwned {
    /// The kind of value, in words: "a number".
    const TYPE: &'static str;

    /// A default value as the reference shows it; empty for nothing.
    fn show(&self) -> String;

    /// The options inside, for a type that is an element of its own.
    #[must_use]
    fn nested() -> Vec<OptionDoc> {
        Vec::new()
    }
}

macro_rules! shown_as_written {
    ($($type:ty: $words:literal),+ $(,)?) => {
        $(impl OptionValue for $type {
            const TYPE: &'static str = $words;

            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

shown_as_written! {
    bool: "true or false",
    u16: "a number",
    u32: "a number",
    u64: "a number",
    usize: "a number",
    String: "text",
}

impl OptionValue for std::path::PathBuf {
    const TYPE: &'static str = "a file name";

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    const TYPE: &'static str = T::TYPE;

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }

    fn nested() -> Vec<OptionDoc> {
        T::nested()
    }
}

impl<T: OptionValue> OptionValue for Vec<T> {
    const TYPE: &'static str = T::TYPE;

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(", ")
    }

    fn nested() -> Vec<OptionDoc> {
        T::nested()
    }
}

/// Declares a struct of options.
///
/// Each field is an attribute or a child element of its own name, or of the name given in
/// brackets; `["$text"]` is the text of the element itself. A field without a default must be
/// given. A struct declared with `: Default` has a default for every field, and is one itself. The
/// doc comments are the reference.
///
/// ```
/// use mppd_engine::{options, Options, config::Period};
///
/// options! {
///     /// Options of a lookup.
///     pub struct LookupOptions {
///         /// Host to ask.
///         host: String,
///         /// How long to wait.
///         patience: Period = Period::seconds(5),
///         /// How the answer is filed.
///         ["type"] kind: Option<String> = None,
///     }
/// }
///
/// let docs = LookupOptions::docs();
/// assert_eq!(docs[0].default, None);
/// assert_eq!(docs[1].default.as_deref(), Some("5s"));
/// assert_eq!(docs[2].name, "type");
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$outer:meta])*
        $visibility:vis struct $name:ident: Default {
            $(
                $(#[doc = $doc:literal])+
                $([$rename:literal])? $field:ident: $type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $crate::options! {
            $(#[$outer])*
            $visibility struct $name {
                $($(#[doc = $doc])+ $([$rename])? $field: $type = $default,)*
            }
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }
    };

    (
        $(#[$outer:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $([$rename:literal])? $field:ident: $type:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
            where
                D: $crate::serde::Deserializer<'de>,
            {
                const FIELDS: &[&str] = &[$($crate::options!(@name $field $($rename)?)),*];
                struct Visitor;
                impl<'de> $crate::serde::de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        f.write_str("an element with options")
                    }

                    fn visit_map<A>(self, mut map: A) -> ::core::result::Result<$name, A::Error>
                    where
                        A: $crate::serde::de::MapAccess<'de>,
                    {
                        $(let mut $field: ::core::option::Option<$type> = None;)*
                        while let Some(name) = map.next_key::<String>()? {
                            match name.as_str() {
                                $($crate::options!(@name $field $($rename)?) => {
                                    $field = Some(map.next_value()?);
                                })*
                                other => {
                                    return Err($crate::serde::de::Error::unknown_field(
                                        other, FIELDS,
                                    ));
                                }
                            }
                        }
                        Ok($name {
                            $($field: $crate::options!(
                                @value $field, $crate::options!(@name $field $($rename)?)
                                $(, $default)?
                            ),)*
                        })
                    }
                }
                deserializer.deserialize_struct(stringify!($name), FIELDS, Visitor)
            }
        }

        impl $crate::config::Options for $name {
            fn docs() -> ::std::vec::Vec<$crate::config::OptionDoc> {
                vec![$($crate::config::OptionDoc {
                    name: $crate::options!(@name $field $($rename)?),
                    value: <$type as $crate::config::OptionValue>::TYPE,
                    default: $crate::options!(@shown $type $(, $default)?),
                    meaning: concat!($($doc),+),
                    nested: <$type as $crate::config::OptionValue>::nested(),
                }),*]
            }
        }

        impl $crate::config::OptionValue for $name {
            const TYPE: &'static str = "an element";

            fn show(&self) -> ::std::string::String {
                ::std::string::String::new()
            }

            fn nested() -> ::std::vec::Vec<$crate::config::OptionDoc> {
                <$name as $crate::config::Options>::docs()
            }
        }
    };

    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $rename:literal) => { $rename };
    (@value $field:ident, $name:expr) => {
        $field.ok_or_else(|| $crate::serde::de::Error::missing_field($name))?
    };
    (@value $field:ident, $name:expr, $default:expr) => {
        $field.unwrap_or_else(|| $default)
    };
    (@shown $type:ty) => { None };
    (@shown $type:ty, $default:expr) => {
        Some($crate::config::OptionValue::show(&{ let value: $type = $default; value }))
    };
}
