//! Pause: the process that holds the pod's namespaces. It is embedded, and started from a sealed memfd, with nothing of the
//! host's and no rights: as no one, or as root of the pod's user namespace if it has one, without any capability there.

mod spawn;
mod sys;

use linkspan_monitor::crash_point;
use linkspan_monitor::protocol::{Failure, FailureKind, PAUSE, PauseCall, Process};

use super::exit::exit_record;
use super::{Pod, now_ns};
use crate::poll::{Kind, Source, Watch};
use crate::runtime_call::{failure, wait_code, watch_child};

pub(super) struct Pause {
    pub(super) process: Process,
    /// None once it has ended.
    exit: Option<Watch>,
}

impl Pause {
    pub(super) fn is_running(&self) -> bool {
        self.exit.is_some()
    }

    pub(super) fn awaits(&self, pid: i32) -> bool {
        self.is_running() && self.process.pid == pid
    }
}

impl Pod {
    pub(super) fn start_pause(&mut self, call: &PauseCall) -> Result<Process, Failure> {
        if self.pause.is_some() {
            return Err(failure(FailureKind::AlreadyExists, "pause was started before".to_owned()));
        }
        let pid = spawn::spawn(call, self.inherited_oom_score_adj.as_deref())
            .map_err(|e| failure(FailureKind::Io, format!("starting pause: {e}")))?;
        let (process, exit) = watch_child(pid, &self.poll, Source::new(Kind::PauseExit, 0))
            .map_err(|e| failure(FailureKind::Io, format!("watching pause, PID {pid}: {e}")))?;
        self.pause = Some(Pause { process, exit: Some(exit) });
        crash_point("monitor-pause-up");
        Ok(process)
    }

    pub(super) fn pause_ended(&mut self) {
        let Some(pause) = &mut self.pause else { return };
        let Some(code) = pause.exit.as_ref().and_then(wait_code) else { return };
        pause.exit = None;
        let record = exit_record(PAUSE.to_owned(), pause.process, code, now_ns(), false);
        self.look_for_orphans = true;
        self.record(record);
    }
}
