//! IDs: 64 lower-case hex digits. A type each, so that they cannot be swapped; cheap to clone, as each change of the table does.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const LENGTH: usize = 64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A fresh random one.
            pub(crate) fn generate() -> Self {
                Self(random_hex().into())
            }

            /// The 64 hex digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// It is ordered and hashed as its text is.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if is_id(&text) { Ok(Self(text.into())) } else { Err(format!("not an ID of {LENGTH} hex digits: {text:?}")) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.to_string()
            }
        }
    };
}

id!(
    /// A pod sandbox.
    SandboxId
);
id!(
    /// A container.
    ContainerId
);

/// Whether `text` is a whole ID.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex() -> String {
    let mut bytes = [0_u8; LENGTH / 2];
    let mut filled = 0;
    while filled < bytes.len() {
        // Fails only before the kernel's pool is ready, or when interrupted: both pass.
        if let Ok(count) =
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
        {
            filled += count;
        }
    }
    let mut text = String::with_capacity(LENGTH);
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}
