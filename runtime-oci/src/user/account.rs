//! How text names users and groups: `USER` of an image, `run_as_username`, the numbers in passwd and group. Pure.

/// The kernel keeps the largest number for "no ID": it changes nothing when it is set, so that root would stay root.
const MOST_ID: u32 = u32::MAX - 1;

/// A user or group as text names it. Digits alone are a number and nothing else, even where a name of digits is listed:
/// who judges an image by its number (the kubelet does, for `runAsNonRoot`) must be right about who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account<'a> {
    Id(u32),
    Name(&'a str),
}

/// `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid` (image-spec, config.md, "User"), both parts
/// optional as Docker has it. An absent user is root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserText<'a> {
    pub user: Option<Account<'a>>,
    pub group: Option<Account<'a>>,
}

/// A number that no process can have for its ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a user or group ID, which are the numbers from 0 to {MOST_ID}")]
pub struct NotAnId {
    text: String,
}

impl<'a> UserText<'a> {
    /// # Errors
    /// [`NotAnId`] for a number that is too large or has a sign: it is never looked up as a name instead.
    pub fn parse(text: &'a str) -> Result<Self, NotAnId> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let part = |part: &'a str| (!part.is_empty()).then(|| Account::parse(part)).transpose();
        Ok(Self { user: part(user)?, group: part(group)? })
    }
}

impl<'a> Account<'a> {
    fn parse(text: &'a str) -> Result<Self, NotAnId> {
        match is_digits(text) || text.strip_prefix(['-', '+']).is_some_and(is_digits) {
            true => id_of_text(text).map(Self::Id),
            false => Ok(Self::Name(text)),
        }
    }
}

/// An ID that a request, CRI's or another, has as a number.
///
/// # Errors
/// [`NotAnId`] for what is negative or too large.
pub fn id(value: i64) -> Result<u32, NotAnId> {
    id_of_text(&value.to_string())
}

pub(super) fn id_of_text(text: &str) -> Result<u32, NotAnId> {
    let id = is_digits(text).then(|| text.parse().ok()).flatten();
    id.filter(|id| *id <= MOST_ID).ok_or_else(|| NotAnId { text: text.to_owned() })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
