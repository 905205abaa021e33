//! Who a container's process is: numbers for the names in a request or an image, looked up inside the root file system.
//! What the text of a user means is decided in one place, [`UserText`], for whoever has to tell it.

mod account;
mod database;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use account::{Account, NotAnId, UserText, id};

use crate::error::Error;

use database::{Database, PASSWD};

/// The user a process runs as, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; after [`resolve`] the primary one comes first.
    pub additional_gids: Vec<u32>,
    pub umask: Option<u32>,
}

/// CRI `SupplementalGroupsPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// The image's `/etc/group` adds to the request's groups.
    #[default]
    Merge,
    /// Only what the request names.
    Strict,
}

/// CRI `LinuxContainerSecurityContext`, the part about users, and the image's `USER`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserRequest {
    /// `run_as_user`.
    pub uid: Option<i64>,
    /// `run_as_username`, with the meaning of [`UserText`]; counts only without `uid`.
    pub username: Option<String>,
    /// `run_as_group`; needs one of the two above.
    pub gid: Option<i64>,
    /// `USER`, see [`UserText`]; used if the request names nobody.
    pub image_user: String,
    pub supplemental: Vec<i64>,
    pub policy: SupplementalGroupsPolicy,
}

/// The user that `request` means in the image unpacked at `rootfs`. Reads `etc/passwd` and `etc/group` without ever
/// leaving `rootfs`; a missing file counts as empty. Blocking, short.
///
/// # Errors
/// [`Error::NoSuchName`] for a name without an entry, [`Error::BadSpec`] for numbers out of range, in the request, in
/// the image's user or in the entries that it leads to.
pub fn resolve(rootfs: &Path, request: &UserRequest) -> Result<ResolvedUser, Error> {
    let database = Database::open(rootfs)?;
    let wanted = wanted(request)?;
    let (uid, entry) = match wanted.user.unwrap_or(Account::Id(0)) {
        Account::Id(uid) => (uid, database.user(|user| user.uid() == Ok(uid))?),
        Account::Name(name) => {
            let entry = database.user(|user| user.name == name)?;
            let entry = entry.ok_or_else(|| no_such("user", name, PASSWD))?;
            (entry.checked_uid()?, Some(entry))
        }
    };
    let gid = match (wanted.group, &entry) {
        (Some(Account::Id(gid)), _) => gid,
        (Some(Account::Name(name)), _) => {
            let entry = database.group(|group| group.name == name)?;
            entry.ok_or_else(|| no_such("group", name, database::GROUP))?.checked_gid()?
        }
        (None, Some(user)) => user.checked_gid()?,
        (None, None) => 0,
    };
    let mut gids = vec![gid];
    if let (SupplementalGroupsPolicy::Merge, Some(user)) = (request.policy, &entry) {
        gids.extend(database.groups_of(&user.name)?);
    }
    for gid in &request.supplemental {
        gids.push(checked("supplemental_groups", *gid)?);
    }
    Ok(ResolvedUser { uid, gid, additional_gids: unique(gids), umask: None })
}

/// Home directory of `uid` as the image's passwd has it; `None` if it does not know the user.
///
/// # Errors
/// [`Error::Io`] if the file is there and cannot be read.
pub fn home(rootfs: &Path, uid: u32) -> Result<Option<String>, Error> {
    let entry = Database::open(rootfs)?.user(|user| user.uid() == Ok(uid))?;
    Ok(entry.map(|user| user.home).filter(|home| !home.is_empty()))
}

/// Request before image; a group of the request's replaces the one that is named beside the user.
fn wanted(request: &UserRequest) -> Result<UserText<'_>, Error> {
    let bad = |field: &'static str| move |error: NotAnId| Error::bad(field, error.to_string());
    let mut wanted = match (request.uid, request.username.as_deref().filter(|name| !name.is_empty())) {
        (Some(uid), _) => {
            UserText { user: Some(Account::Id(checked("run_as_user", uid)?)), ..UserText::default() }
        }
        (None, Some(name)) => UserText::parse(name).map_err(bad("run_as_username"))?,
        (None, None) if request.gid.is_some() => {
            return Err(Error::bad("run_as_group", "needs run_as_user or run_as_username beside it"));
        }
        (None, None) => UserText::parse(&request.image_user).map_err(bad("the image's user"))?,
    };
    if let Some(gid) = request.gid {
        wanted.group = Some(Account::Id(checked("run_as_group", gid)?));
    }
    Ok(wanted)
}

fn no_such(kind: &'static str, name: &str, file: &'static str) -> Error {
    Error::NoSuchName { kind, name: name.to_owned(), file }
}

fn checked(field: &str, value: i64) -> Result<u32, Error> {
    id(value).map_err(|error| Error::bad(field, error.to_string()))
}

fn unique(gids: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    gids.into_iter().filter(|gid| seen.insert(*gid)).collect()
}

#[cfg(test)]
mod tests;
