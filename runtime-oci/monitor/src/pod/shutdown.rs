//! The end of the pod: everything below the monitor is killed and reaped, then the monitor ends.

use std::time::Instant;

use linkspan_monitor::protocol::{Answer, FailureKind};

use super::{Caller, Pod};
use crate::runtime_call::{Killing, failure};
use crate::tree::{self, Tree};

pub(super) struct Shutdown {
    caller: Caller,
    killing: Killing,
}

impl Shutdown {
    pub(super) fn deadline(&self) -> Instant {
        self.killing.next
    }
}

impl Pod {
    /// The caller is answered when nothing is left.
    pub(super) fn shut_down(&mut self, caller: Caller) {
        let now = Instant::now();
        // From pause's children down to what a container without a PID namespace left to us.
        self.shutdown = Some(Shutdown { caller, killing: Killing::new(Tree::below_this_process(), now) });
    }

    pub(super) fn advance_shutdown(&mut self, now: Instant) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if now < shutdown.killing.next {
            return;
        }
        let is_dead = shutdown.killing.pass(now);
        let caller = shutdown.caller;
        let has_given_up = shutdown.killing.has_given_up(now);
        self.look_for_orphans = true;
        // Exits are still recorded and told as ever; those of this moment come in the next turn.
        if is_dead && self.is_over() && !tree::has_children() {
            for key in self.containers.keys().copied().collect::<Vec<_>>() {
                self.end_clients(key);
            }
            self.reply(caller, Ok(Answer::Done));
            self.done = true;
        } else if has_given_up {
            self.shutdown = None;
            let message = "processes of the pod do not die".to_owned();
            self.reply(caller, Err(failure(FailureKind::TimedOut, message)));
        }
    }
}
