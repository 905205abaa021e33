//! What the thread of the logs tells, and who waits for it.

use linkspan_monitor::protocol::{Answer, FailureKind};

use super::Pod;
use crate::log::Told;
use crate::poll::Key;
use crate::runtime_call::failure;

impl Pod {
    pub(super) fn hear_writer(&mut self) {
        let io = |error: std::io::Error| failure(FailureKind::Io, error.to_string());
        for told in self.writer.take() {
            match told {
                Told::Opened { key, outcome } => self.log_opened(key, outcome.map_err(io)),
                Told::Reopened { caller, outcome } => {
                    self.reply(caller, outcome.map(|()| Answer::Done).map_err(io));
                }
                Told::Discarded { caller, failure } => self.reply(caller, Err(failure)),
                Told::Written { key } => self.record_exit(key),
                Told::Room { key } => self.read_again(key),
            }
        }
    }

    fn read_again(&mut self, key: Key) {
        if let Some(container) = self.containers.get_mut(&key) {
            container.read_again();
        }
    }
}
