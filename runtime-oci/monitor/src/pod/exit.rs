//! What happens when a container's init, or pause, has ended: record first, then tell.

use std::time::{Duration, Instant};

use linkspan_monitor::crash_point;
use linkspan_monitor::protocol::{self, Event, ExitRecord, Process};

use super::create::Phase;
use super::{Pod, now_ns, output};
use crate::note::note;
use crate::poll::Key;
use crate::runtime_call::{RuntimeCall, wait_code};

/// 128 + SIGKILL: killed, or a shell whose child was.
const KILLED: i32 = 137;

/// How long an exit waits for the disk of its container's log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// An exit that nobody was told of yet.
pub(super) struct Unrecorded {
    record: ExitRecord,
    pub(super) until: Instant,
}

impl Pod {
    /// A runtime's run has ended; of a container's `create`, or an exec's.
    pub(super) fn runtime_ended(&mut self, key: Key) {
        if self.containers.contains_key(&key) {
            self.created(key);
        } else {
            self.exec_started(key);
        }
    }

    pub(super) fn with_call(&mut self, key: Key, act: impl FnOnce(&mut RuntimeCall)) {
        let container = self.containers.get_mut(&key).and_then(|container| container.call());
        let call = match container {
            Some(call) => Some(call),
            None => self.execs.get_mut(&key).and_then(|exec| exec.call()),
        };
        if let Some(call) = call {
            act(call);
        }
    }

    pub(super) fn count_oom_kills(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let count = container.oom_kills.count();
        if count > container.oom_kills_told {
            container.oom_kills_told = count;
            let container_id = container.container_id.clone();
            self.tell(Event::Oom { container_id });
        }
    }

    pub(super) fn init_ended(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let Phase::Running { process, exit } = &container.phase else { return };
        let process = *process;
        let Some(code) = wait_code(exit) else { return };
        crash_point("monitor-exit-seen");
        let at_ns = now_ns();
        let container_id = container.container_id.clone();
        self.look_for_orphans = true;
        // An exec that ended with its container is told first.
        self.finish_ended_execs(&container_id);
        self.count_oom_kills(key);
        if let Some(container) = self.containers.get_mut(&key) {
            container.terminal_peer = None;
        }
        self.drain_streams(key);
        let Some(container) = self.containers.get_mut(&key) else { return };
        let oom_killed = code == KILLED && container.oom_kills_told > 0;
        container.oom_kills = crate::oom::OomKills::default();
        container.terminal_retry = None;
        container.stdin.close();
        container.phase = Phase::Exited { process, drained: Some(Instant::now() + output::DRAIN) };
        if container.streams.iter().all(Option::is_none) {
            container.close_streams();
        }
        self.feed_stdin(key);
        let record = exit_record(container_id.clone(), process, code, at_ns, oom_killed);
        self.record_when_written(key, record);
        self.kill_execs(&container_id);
    }

    /// Who hears of an exit finds the last line in the log, if the disk takes it soon.
    fn record_when_written(&mut self, key: Key, record: ExitRecord) {
        match self.containers.get_mut(&key) {
            Some(container) if container.log.mark(&self.writer) => {
                container.unrecorded = Some(Unrecorded { record, until: Instant::now() + LAST_LINES });
            }
            _ => self.record(record),
        }
    }

    /// Of a container whose exit waits for its log.
    pub(super) fn record_exit(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        if let Some(Unrecorded { mut record, .. }) = container.unrecorded.take() {
            record.log_bytes_dropped = container.log.dropped_bytes();
            self.record(record);
        }
    }

    /// Writes the record, then tells the daemon. If it cannot be written the daemon is told all the same, now and at
    /// its next hello.
    pub(super) fn record(&mut self, record: ExitRecord) {
        crash_point("monitor-before-exit-record");
        if let Err(e) = protocol::write_exit(&self.args.pod_dir, &record) {
            note(&format!("recording the exit of {}: {e}", record.container_id));
        }
        crash_point("monitor-after-exit-record");
        self.exits.insert(record.container_id.clone(), record.clone());
        self.tell(Event::Exited(record));
        crash_point("monitor-exit-told");
    }
}

pub(super) fn exit_record(
    container_id: String,
    process: Process,
    code: i32,
    at_ns: i64,
    oom_killed: bool,
) -> ExitRecord {
    let Process { pid, start_time } = process;
    ExitRecord { container_id, pid, start_time, code, at_ns, oom_killed, log_bytes_dropped: 0 }
}
