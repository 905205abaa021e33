//! The end of an exec whose client has left: hung up first, as a terminal that goes does it, killed with its whole tree
//! later.

use std::time::{Duration, Instant};

use super::Pod;
use super::exec::{Exec, Phase};
use crate::poll::Key;
use crate::tree::Tree;

/// For an exec whose daemon died, and which nobody will ask for: long enough for an editor to save its file and for a
/// shell to pass the hang-up on to its jobs.
const GRACE: Duration = Duration::from_secs(10);

/// An exec that was hung up, or will be as soon as its process runs.
pub(super) struct HangUp {
    /// Those that were found when it was done. None before that, and when they are about to be killed.
    pub(super) tree: Option<Tree>,
    pub(super) kill_at: Instant,
}

impl Pod {
    /// One that is unknown has ended.
    pub(super) fn hang_up_named(&mut self, exec_id: &str, grace: Duration) {
        let named = self.execs.iter().find(|(_, exec)| exec.exec_id == exec_id && exec.is_active());
        if let Some((key, _)) = named {
            self.hang_up(*key, grace);
        }
    }

    /// Those that must not outlive the connection that asked for them.
    pub(super) fn hang_up_execs_of(&mut self, connection: Key) {
        let is_left = |exec: &Exec| {
            exec.ends_with_caller && exec.caller.is_some_and(|caller| caller.connection == connection)
        };
        let left: Vec<Key> =
            self.execs.iter().filter(|(_, exec)| is_left(exec)).map(|(key, _)| *key).collect();
        for key in left {
            self.hang_up(key, GRACE);
        }
    }

    fn hang_up(&mut self, key: Key, grace: Duration) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let now = Instant::now();
        let kill_at = now.checked_add(grace).unwrap_or(now);
        match &mut exec.hang_up {
            Some(hang_up) => hang_up.kill_at = hang_up.kill_at.min(kill_at),
            None => {
                exec.hang_up = Some(HangUp { tree: None, kill_at });
                exec.hang_up_as_due();
            }
        }
    }
}

impl Exec {
    /// Sends the signals, if it is to be hung up and there is a process already.
    pub(super) fn hang_up_as_due(&mut self) {
        if self.hang_up.is_none() || self.killing.is_some() || !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        let Some(mut tree) = self.tree() else { return };
        tree.hang_up();
        if let Some(hang_up) = &mut self.hang_up {
            hang_up.tree = Some(tree);
        }
    }

    /// Whether others of its tree live on after the process itself.
    pub(super) fn has_left_others(&mut self) -> bool {
        let tree = self.hang_up.as_mut().and_then(|hang_up| hang_up.tree.as_mut());
        self.killing.is_none() && tree.is_some_and(|tree| !tree.is_dead())
    }
}
