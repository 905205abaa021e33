//! Containers: what each of their RPCs does.
//!
//! ```text
//! create ──▶ Created ──start──▶ Running ──exit──▶ Exited ──remove──▶ (gone)
//!               └────────────────stop────────────────▲
//! ```

pub(crate) mod attach;
mod cdi;
pub(crate) mod create;
pub(crate) mod exec;
mod exec_session;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod reopen;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod update;
pub(crate) mod validate;
