//! Sandboxes: what each of their RPCs does.
//!
//! ```text
//! run ──▶ Ready ──stop──▶ Stopped ──remove──▶ (gone)
//! ```

pub(crate) mod annotations;
mod port_forward;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod update;
pub(crate) mod validate;
