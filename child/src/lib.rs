//! Programs that the daemon starts, and the limit of open files that they get.
//!
//! Owns: the daemon's own limit of open files ([`open_files`]); starting a program with the limit that the daemon was
//! given ([`Command`]), and seeing it end ([`Child`]).
//! Must never know: which programs, and what they say.
//!
//! Every program of the daemon is started here: containers, hooks and plugins inherit their limits through them.
//!
//! Not by the standard library's `Command`: it can change a limit between fork and exec only, and a fork copies the
//! daemon's page tables, which costs more than the rest of the start. Here the child borrows the daemon's memory until
//! it executes the program, as in posix_spawn(3), which knows no limits.

mod command;
pub mod open_files;
mod process;
mod sys;

pub use command::{Command, Stdio};
pub use process::{Child, Output};

#[cfg(test)]
mod tests;
