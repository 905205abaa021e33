//! The macro behind `options.rs`: from one definition per option come the checked struct, the table that
//! files, environment and flags are read by, and the commented sample.

use toml::Value;

use crate::place::Place;

/// One option, without its value.
pub struct Definition {
    /// `section.name`, or `name` for the two options outside any section.
    pub key: &'static str,
    /// The doc comment's lines.
    pub doc: &'static [&'static str],
    /// What the value looks like, for messages: `path`, `duration`, …
    pub kind: &'static str,
    /// Whether entries of a later source add to those of an earlier one (tables) instead of replacing them.
    pub(crate) merges: bool,
    pub(crate) default: fn(&Place) -> Value,
    pub(crate) check: fn(&Value) -> Result<(), String>,
    pub(crate) parse: fn(&str) -> Result<Value, String>,
}

impl Definition {
    /// The environment variable that sets this option: `LINKSPAN_GRPC_SOCKET` for `grpc.socket`.
    pub fn variable(&self) -> String {
        format!("LINKSPAN_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The long flag that sets this option, without dashes: `grpc-socket` for `grpc.socket`.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }
}

macro_rules! options {
    (
        Config { $( $(#[doc = $top_doc:literal])* $top:ident : $top_ty:ty = $top_default:expr, $top_check:expr; )* }
        $(
            $(#[doc = $section_doc:literal])*
            [$section:ident] $Section:ident {
                $( $(#[doc = $doc:literal])* $name:ident : $ty:ty = $default:expr, $check:expr; )*
            }
        )*
    ) => {
        /// The whole configuration: every value present and checked.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $( $(#[doc = $top_doc])* pub $top: $top_ty, )*
            $( $(#[doc = $section_doc])* pub $section: $Section, )*
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $doc])* pub $name: $ty, )*
            }
        )*

        static DEFINITIONS: &[$crate::define::Definition] = &[
            $( definition!(stringify!($top), [$($top_doc),*], $top_ty, $top_default, $top_check), )*
            $( $(
                definition!(
                    concat!(stringify!($section), ".", stringify!($name)),
                    [$($doc),*], $ty, $default, $check
                ),
            )* )*
        ];

        /// Sections in the order of the sample, each with its doc comment.
        pub(crate) static SECTIONS: &[(&str, &[&str])] = &[
            $( (stringify!($section), &[$($section_doc),*]), )*
        ];

        impl Config {
            /// Reads every option out of `values`, which holds a checked value for each key.
            pub(crate) fn from_values(
                values: &std::collections::BTreeMap<&'static str, toml::Value>,
            ) -> Result<Config, String> {
                Ok(Config {
                    $( $top: read(values, stringify!($top))?, )*
                    $( $section: $Section {
                        $( $name: read(values, concat!(stringify!($section), ".", stringify!($name)))?, )*
                    }, )*
                })
            }
        }
    };
}

macro_rules! definition {
    ($key:expr, [$($doc:literal),*], $ty:ty, $default:expr, $check:expr) => {
        $crate::define::Definition {
            key: $key,
            doc: &[$($doc),*],
            kind: <$ty as $crate::value::OptionValue>::KIND,
            merges: <$ty as $crate::value::OptionValue>::MERGES,
            default: |place| {
                let default: fn(&$crate::place::Place) -> $ty = $default;
                $crate::value::OptionValue::to_toml(&default(place))
            },
            check: |value| {
                let check: fn(&$ty) -> Result<(), String> = $check;
                check(&<$ty as $crate::value::OptionValue>::from_toml(value)?)
            },
            parse: |text| {
                <$ty as $crate::value::OptionValue>::from_text(text)
                    .map(|value| $crate::value::OptionValue::to_toml(&value))
            },
        }
    };
}

pub(crate) use {definition, options};
