//! `etc/passwd` and `etc/group` of a root file system that we do not trust.

use std::path::Path;

use super::account::{NotAnId, id_of_text};
use crate::error::Error;
use crate::rooted::Root;

pub(super) const PASSWD: &str = "/etc/passwd";
pub(super) const GROUP: &str = "/etc/group";
/// Far above real files; an image cannot make us read without end.
const MAX_FILE_BYTES: u64 = 8 << 20;

pub(super) struct Database(Root);

pub(super) struct UserEntry {
    pub(super) name: String,
    uid: String,
    gid: String,
    pub(super) home: String,
}

pub(super) struct GroupEntry {
    pub(super) name: String,
    gid: String,
    members: String,
}

impl UserEntry {
    pub(super) fn uid(&self) -> Result<u32, NotAnId> {
        id_of_text(&self.uid)
    }

    pub(super) fn checked_uid(&self) -> Result<u32, Error> {
        self.uid().map_err(bad_entry(PASSWD, &self.name))
    }

    pub(super) fn checked_gid(&self) -> Result<u32, Error> {
        id_of_text(&self.gid).map_err(bad_entry(PASSWD, &self.name))
    }
}

impl GroupEntry {
    pub(super) fn checked_gid(&self) -> Result<u32, Error> {
        id_of_text(&self.gid).map_err(bad_entry(GROUP, &self.name))
    }
}

/// Somebody is meant who cannot be: passing the line over could only find somebody else.
fn bad_entry(file: &str, name: &str) -> impl FnOnce(NotAnId) -> Error {
    let (field, name) = (format!("the image's {file}"), name.to_owned());
    move |error| Error::bad(field, format!("of {name:?}, {error}"))
}

impl Database {
    pub(super) fn open(rootfs: &Path) -> Result<Self, Error> {
        Root::open(rootfs).map(Self)
    }

    /// The first user of which `is_it` holds; lines with too few fields are passed over.
    pub(super) fn user(&self, is_it: impl Fn(&UserEntry) -> bool) -> Result<Option<UserEntry>, Error> {
        Ok(self.read(PASSWD)?.lines().filter_map(parse_user).find(is_it))
    }

    pub(super) fn group(&self, is_it: impl Fn(&GroupEntry) -> bool) -> Result<Option<GroupEntry>, Error> {
        Ok(self.read(GROUP)?.lines().filter_map(parse_group).find(is_it))
    }

    /// Groups that list `user` as a member, in the file's order.
    pub(super) fn groups_of(&self, user: &str) -> Result<Vec<u32>, Error> {
        let text = self.read(GROUP)?;
        let groups = text.lines().filter_map(parse_group);
        groups
            .filter(|group| group.members.split(',').any(|member| member == user))
            .map(|group| group.checked_gid())
            .collect()
    }

    /// Empty if there is no such file. One that is too long is not read in part: the cut would go through a number.
    fn read(&self, path: &str) -> Result<String, Error> {
        let bytes = self.0.read(Path::new(path), MAX_FILE_BYTES)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn parse_user(line: &str) -> Option<UserEntry> {
    let mut fields = line.trim().split(':').map(str::to_owned);
    let (name, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let home = fields.nth(1).unwrap_or_default();
    Some(UserEntry { name, uid, gid, home })
}

fn parse_group(line: &str) -> Option<GroupEntry> {
    let mut fields = line.trim().split(':').map(str::to_owned);
    let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
}
