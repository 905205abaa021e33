//! Who a container's process is: numbers for the names in a request, looked up inside the root file system.

mod database;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;

use database::{Database, GroupEntry, UserEntry};

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
    /// `run_as_username`; counts only without `uid`.
    pub username: Option<String>,
    /// `run_as_group`; needs one of the two above.
    pub gid: Option<i64>,
    /// `uid`, `name`, `uid:gid`, `name:group`; used if the request names nobody.
    pub image_user: String,
    pub supplemental: Vec<u32>,
    pub policy: SupplementalGroupsPolicy,
}

/// The user that `request` means in the image unpacked at `rootfs`. Reads `etc/passwd` and `etc/group` without ever
/// leaving `rootfs`; a missing file counts as empty. Blocking, short.
///
/// # Errors
/// [`Error::NoSuchName`] for a name without an entry, [`Error::BadSpec`] for numbers out of range.
pub fn resolve(rootfs: &Path, request: &UserRequest) -> Result<ResolvedUser, Error> {
    let database = Database::open(rootfs)?;
    let found = match wanted(request)? {
        Wanted::Uid(uid) => by_uid(&database, uid)?,
        Wanted::Text(text) => by_text(&database, text)?,
    };
    let gid = match request.gid {
        Some(gid) => id("run_as_group", gid)?,
        None => found.gid,
    };
    let mut gids = vec![gid];
    if request.policy == SupplementalGroupsPolicy::Merge {
        gids.extend(database.groups_of(found.member.as_deref())?);
    }
    gids.extend(&request.supplemental);
    Ok(ResolvedUser { uid: found.uid, gid, additional_gids: unique(gids), umask: None })
}

/// Home directory of `uid` as the image's passwd has it; `None` if it does not know the user.
///
/// # Errors
/// [`Error::Io`] if the file is there and cannot be read.
pub fn home(rootfs: &Path, uid: u32) -> Result<Option<String>, Error> {
    let entry = Database::open(rootfs)?.user(|user| user.uid == uid)?;
    Ok(entry.map(|user| user.home).filter(|home| !home.is_empty()))
}

enum Wanted<'a> {
    Uid(u32),
    Text(&'a str),
}

struct Found {
    uid: u32,
    gid: u32,
    /// Whose memberships in `/etc/group` count; an explicit group in `USER` leaves them out, as Docker does.
    member: Option<String>,
}

fn wanted(request: &UserRequest) -> Result<Wanted<'_>, Error> {
    if let Some(uid) = request.uid {
        return id("run_as_user", uid).map(Wanted::Uid);
    }
    match request.username.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => Ok(Wanted::Text(name)),
        None if request.gid.is_some() => {
            Err(Error::bad("run_as_group", "needs run_as_user or run_as_username beside it"))
        }
        None => Ok(Wanted::Text(&request.image_user)),
    }
}

fn by_uid(database: &Database, uid: u32) -> Result<Found, Error> {
    let entry = database.user(|user| user.uid == uid)?;
    let (gid, member) = entry.map_or((0, None), |user| (user.gid, Some(user.name)));
    Ok(Found { uid, gid, member })
}

/// Docker's rule: a name first, then a number, so that a user called "1000" is found.
fn by_text(database: &Database, text: &str) -> Result<Found, Error> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let mut found = match name {
        "" => by_uid(database, 0)?,
        name => match (database.user(|user| user.name == name)?, name.parse()) {
            (Some(UserEntry { name, uid, gid, .. }), _) => Found { uid, gid, member: Some(name) },
            (None, Ok(uid)) => by_uid(database, uid)?,
            (None, Err(_)) => return Err(no_such("user", name, "/etc/passwd")),
        },
    };
    if let Some(group) = group {
        found.gid = match (database.group(|entry| entry.name == group)?, group.parse()) {
            (Some(GroupEntry { gid, .. }), _) | (None, Ok(gid)) => gid,
            (None, Err(_)) => return Err(no_such("group", group, "/etc/group")),
        };
        found.member = None;
    }
    Ok(found)
}

fn no_such(kind: &'static str, name: &str, file: &'static str) -> Error {
    Error::NoSuchName { kind, name: name.to_owned(), file }
}

/// The kernel keeps the largest number for "no ID".
fn id(field: &str, value: i64) -> Result<u32, Error> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::bad(field, format!("{value} is not an ID"))),
    }
}

fn unique(gids: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    gids.into_iter().filter(|gid| seen.insert(*gid)).collect()
}

#[cfg(test)]
mod tests;
