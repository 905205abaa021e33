//! Which streams a client of Exec or Attach wants.

/// CRI `ExecRequest` and `AttachRequest`: `stdin`, `stdout`, `stderr`, `tty`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSet {
    pub stdin: bool,
    pub stdout: bool,
    /// Never together with `tty`: a terminal has one output.
    pub stderr: bool,
    pub tty: bool,
}
