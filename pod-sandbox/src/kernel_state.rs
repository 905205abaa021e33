//! What the kernel says of a process that does not do what is wanted: for people.

use std::fs;

/// Frames of the kernel's stack that are told.
const FRAMES: usize = 4;

/// `PID 7 (dd) waits in the kernel and cannot be killed (D): folio_wait_bit < ...`. Reads `/proc`.
pub(crate) fn words(pid: i32) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = read("status");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let (name, state) = (field("Name:"), field("State:"));
    let stack = read("stack");
    let frames: Vec<&str> = stack.lines().filter_map(frame).take(FRAMES).collect();
    let at = if frames.is_empty() { read("wchan") } else { frames.join(" < ") };
    match state.chars().next() {
        None => format!("PID {pid} is gone"),
        Some('D') => format!("PID {pid} ({name}) waits in the kernel and cannot be killed (D): {at}"),
        Some('Z') => format!("PID {pid} ({name}) is dead, and its parent has not looked (Z)"),
        Some('T') => format!("PID {pid} ({name}) is stopped (T)"),
        Some(_) => format!("PID {pid} ({name}) is {state}: {at}"),
    }
}

/// `[<0>] folio_wait_bit+0x1b/0x300`
fn frame(line: &str) -> Option<&str> {
    let symbol = line.split_once("] ")?.1;
    symbol.split('+').next().filter(|symbol| !symbol.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{frame, words};

    #[test]
    fn a_process_is_described() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(words(own).starts_with(&format!("PID {own} (")), "{}", words(own));
        assert_eq!(words(i32::MAX), format!("PID {} is gone", i32::MAX));
        assert_eq!(frame("[<0>] folio_wait_bit_common+0x1b/0x300"), Some("folio_wait_bit_common"));
    }
}
