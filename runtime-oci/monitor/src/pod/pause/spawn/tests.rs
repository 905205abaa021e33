use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::*;

/// What DAMON or reclaim do for a moment, a pipe does for as long as it is not read.
#[test]
fn a_program_of_which_the_kernel_holds_a_page_is_sealed() {
    let fd = rustix::fs::memfd_create("pause", MemfdFlags::ALLOW_SEALING).expect("a memory file");
    let mut file = File::from(fd);
    file.write_all(linkspan_monitor::PAUSE_PROGRAM).expect("writing");
    let (_end, holder) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    splice(&file, Some(&mut 0), &holder, None, 1, SpliceFlags::empty()).expect("holding a page");

    seal(&file).expect("sealing");

    assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM));
}
