use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::{DeviceDefault, EnvDefault, MountDefault, Ulimit};

/// `full` is how `text` is written out; `Err` is a part of the reason.
fn check<T: FromStr<Err = String> + Display + Debug>(text: &str, expected: Result<&str, &str>) {
    match (text.parse::<T>(), expected) {
        (Ok(value), Ok(full)) => assert_eq!(value.to_string(), full),
        (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
        (other, expected) => panic!("{text}: {other:?}, expected {expected:?}"),
    }
}

#[test]
fn ulimits_are_read_as_other_runtimes_write_them() {
    check::<Ulimit>("nofile=1024:4096", Ok("nofile=1024:4096"));
    check::<Ulimit>("RLIMIT_CORE=0", Ok("core=0:0"));
    check::<Ulimit>("memlock=unlimited", Ok("memlock=-1:-1"));
    check::<Ulimit>("nofile=2:1", Err("above the hard one"));
    check::<Ulimit>("files=2", Err("none of as, core"));
    check::<Ulimit>("nofile=many", Err("no number"));
    check::<Ulimit>("nofile", Err("no `=`"));
}

#[test]
fn devices_mounts_and_variables_are_written_in_one_line() {
    check::<DeviceDefault>("/dev/fuse", Ok("/dev/fuse:/dev/fuse:rwm"));
    check::<DeviceDefault>("/dev/fuse:/dev/f:r", Ok("/dev/fuse:/dev/f:r"));
    check::<DeviceDefault>("/dev/fuse:/dev/f:x", Err("some of r, w and m"));
    check::<DeviceDefault>("dev/fuse", Err("no clean absolute path"));
    check::<MountDefault>("/etc/pki:/etc/pki:ro", Ok("/etc/pki:/etc/pki:ro"));
    check::<MountDefault>("/srv:/data", Ok("/srv:/data:rw"));
    check::<MountDefault>("/srv:/", Err("`/` is no clean"));
    check::<MountDefault>("/srv:/data:rslave", Err("`ro` or `rw`"));
    check::<MountDefault>("/srv:/a/../b", Err("no clean absolute path"));
    check::<EnvDefault>("HTTP_PROXY=http://proxy:3128/?a=b", Ok("HTTP_PROXY=http://proxy:3128/?a=b"));
    check::<EnvDefault>("=x", Err("NAME=value"));
}
