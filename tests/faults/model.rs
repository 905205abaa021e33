//! What the churn asked of the daemon, what it was told, and what may be true after that. Pure.
//!
//! # What may be true
//!
//! *Answers.* A call that was answered OK has happened. One that was answered by an error, or was cut off by the daemon's death,
//! has happened wholly, in part, or not at all, with these exceptions:
//! - A create that did not happen leaves nothing: the same metadata can be created again, and so can the next attempt.
//! - A container whose start was answered by an error is gone, or is on its way out: it may have been killed (137).
//! - A start that was cut off has not harmed the container: it is as it was, or it runs, or it has ended by itself; when it
//!   began to run may be unknown in the last case, since nobody noted it.
//!
//! *Undisturbed calls.* A call that begins when the daemon serves and no blow falls until it is answered succeeds, whatever
//! happened before. Create, start and exec are excepted in a pod whose monitor was killed.
//!
//! *Listing.* What was created with OK is listed until its removal was asked for; what was removed with OK is never listed again;
//! nothing is listed that nobody asked for, and nothing twice.
//!
//! *Exit codes.* Once told, an end never changes. A container that ends by itself, whose start was answered OK and which nobody
//! asked to stop or remove, nor its pod, is Exited with its own code. If it was to be stopped its code is its own or 137.
//! One that was never started and is stopped has 137. Only if the pod's monitor was killed may the code be unknown; it is
//! honest then: 255, and a message that says that the monitor was lost with it. This holds for all containers of the pod that had
//! not ended before, and all of them are Exited: nobody would tell of their ends.
//!
//! *The kernel.* A Created or Running container has a living process, an Exited one has none. A Ready pod has its pause, its
//! monitor and, on a network of its own, an address; it is NotReady only if its stop or removal was asked for, or its monitor
//! was killed, and then its pause is dead. A pod whose stop was answered OK has neither pause, nor monitor, nor pinned
//! namespaces, nor addresses. Whatever bears an ID on the host (directories, records, groups with processes, mounts, CNI's cache
//! entries and addresses) is of something that is listed; but for the exit record of a removed container in the directory of a pod
//! that is not Ready: its monitor alone would remove it, and the directory goes with the pod. An address whose reservation bears no ID,
//! because host-local was killed between making the file and writing it, is host-local's own loss (`check.rs` gives it back).
//!
//! The daemon never finds anything without a record: all has its owner until it is gone, whatever died in between.
//!
//! All of this is asked once everything had the time to settle; only "never listed again" and "never changes" hold at any time.

use linkspan_cri_api::v1::ContainerState;

/// What became of a call. The greater of two counts for both together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    #[default]
    NotAsked,
    /// The daemon was killed before it answered.
    CutOff,
    /// Answered by an error.
    Failed,
    Done,
}

impl Told {
    pub(crate) fn asked(self) -> bool {
        self != Self::NotAsked
    }
}

/// How a container's command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    ByItself(i32),
    /// At SIGTERM, once it has its trap.
    WhenStopped(i32),
}

/// How a container ended, as the daemon says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) finished_at: i64,
    pub(crate) message: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// `None`: its creation was asked for, and not answered by an ID.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) ends: Ends,
    /// Of one that ends by itself.
    pub(crate) life_ms: u64,
    pub(crate) start: Told,
    pub(crate) stop: Told,
    pub(crate) remove: Told,
    /// The first that was told.
    pub(crate) exit: Option<Exit>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// As a container's.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) host_network: bool,
    pub(crate) stop: Told,
    pub(crate) remove: Told,
    pub(crate) monitor_killed: bool,
    pub(crate) containers: Vec<Container>,
}

impl Pod {
    /// Containers can be made and started in it.
    pub(crate) fn is_usable(&self) -> bool {
        self.id.is_some() && !self.monitor_killed && !self.is_to_end()
    }

    pub(crate) fn is_to_end(&self) -> bool {
        self.stop.asked() || self.remove.asked()
    }
}

impl Container {
    fn may_be_killed(&self, pod: &Pod) -> bool {
        self.is_to_end() || pod.is_to_end() || self.start == Told::Failed
    }

    pub(crate) fn is_to_end(&self) -> bool {
        self.stop.asked() || self.remove.asked()
    }

    fn must_be_over(&self, pod: &Pod) -> bool {
        self.stop == Told::Done || pod.stop == Told::Done || pod.monitor_killed
    }
}

/// A container as the daemon and the kernel have it.
#[derive(Clone, Debug)]
pub(crate) struct SeenContainer {
    pub(crate) state: ContainerState,
    pub(crate) started_at: i64,
    pub(crate) exit: Exit,
    /// Alive, of those in its group.
    pub(crate) processes: usize,
}

/// A pod as the daemon and the kernel have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenPod {
    pub(crate) ready: bool,
    pub(crate) has_address: bool,
    pub(crate) monitor: bool,
    /// Alive, of those in pause's group.
    pub(crate) pause: usize,
    /// Pins and addresses of its own that are there.
    pub(crate) held: Vec<String>,
}

/// What a look at a container shows, if it is what may be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    NotListed,
    NotEnded,
    EndKnown,
    EndHonestlyUnknown,
}

/// Exit code of a container whose own was lost.
const UNKNOWN: i32 = 255;
const KILLED: i32 = 137;
const HONEST: &str = "monitor was lost";

/// Whether what is seen of a container may be true; else why not.
pub(crate) fn judge(pod: &Pod, container: &Container, seen: Option<&SeenContainer>) -> Result<Fits, String> {
    let Some(seen) = seen else { return may_be_missing(pod, container).map(|()| Fits::NotListed) };
    if container.remove == Told::Done || pod.remove == Told::Done {
        return Err("it is listed, and was removed".to_owned());
    }
    match seen.state {
        ContainerState::ContainerUnknown => Err("its state is unknown".to_owned()),
        ContainerState::ContainerExited => ended(pod, container, seen),
        _ if container.must_be_over(pod) => Err(format!("it is {:?}, and cannot be any more", seen.state)),
        _ if container.exit.is_some() => Err(format!("it is {:?}, and was Exited before", seen.state)),
        _ if seen.processes == 0 => Err(format!("it is {:?} and has no process", seen.state)),
        ContainerState::ContainerCreated if container.start == Told::Done => {
            Err("it is Created, and was started".to_owned())
        }
        ContainerState::ContainerRunning if container.start == Told::NotAsked => {
            Err("it runs, and nobody started it".to_owned())
        }
        ContainerState::ContainerRunning if matches!(container.ends, Ends::ByItself(_)) => {
            Err("it still runs, and should have ended by itself".to_owned())
        }
        ContainerState::ContainerCreated | ContainerState::ContainerRunning => Ok(Fits::NotEnded),
    }
}

fn may_be_missing(pod: &Pod, container: &Container) -> Result<(), String> {
    let may_be = container.id.is_none()
        || container.remove.asked()
        || pod.remove.asked()
        || container.start == Told::Failed;
    if may_be { Ok(()) } else { Err("it is not listed".to_owned()) }
}

fn ended(pod: &Pod, container: &Container, seen: &SeenContainer) -> Result<Fits, String> {
    if seen.processes > 0 {
        return Err(format!("it is Exited, and {} processes of it are alive", seen.processes));
    }
    if let Some(before) = container.exit.as_ref().filter(|before| **before != seen.exit) {
        return Err(format!("its end was told otherwise before: {before:?}"));
    }
    if container.start == Told::Done && seen.started_at == 0 {
        return Err("it is Exited and never started, and was started".to_owned());
    }
    let (killed, started) = (container.may_be_killed(pod), container.start.asked());
    let code = seen.exit.code;
    let own = match container.ends {
        Ends::ByItself(own) => started && code == own,
        Ends::WhenStopped(own) => started && killed && code == own,
    };
    if own || (killed && code == KILLED) {
        return Ok(Fits::EndKnown);
    }
    let honest = code == UNKNOWN && seen.exit.message.contains(HONEST);
    match honest {
        true if pod.monitor_killed => Ok(Fits::EndHonestlyUnknown),
        true => Err("its end is said to be unknown, and its monitor lived".to_owned()),
        false => Err("that is not how it ended".to_owned()),
    }
}

/// Whether what is seen of a pod may be true; else why not.
pub(crate) fn judge_pod(pod: &Pod, seen: Option<&SeenPod>) -> Result<(), String> {
    let Some(seen) = seen else {
        let may_be_missing = pod.id.is_none() || pod.remove.asked();
        return if may_be_missing { Ok(()) } else { Err("it is not listed".to_owned()) };
    };
    let complaint = if pod.remove == Told::Done {
        "it is listed, and was removed"
    } else if seen.ready {
        match () {
            () if pod.stop == Told::Done => "it is Ready, and was stopped",
            () if pod.monitor_killed => "it is Ready, and its monitor was killed",
            () if seen.pause == 0 => "it is Ready, and its pause is dead",
            () if !seen.monitor => "it is Ready, and has no monitor",
            () if seen.has_address == pod.host_network => {
                "it is Ready, and its address is not as its network"
            }
            () => return Ok(()),
        }
    } else if !pod.is_to_end() && !pod.monitor_killed {
        "it is NotReady, and nothing was done to it"
    } else if seen.pause > 0 && (pod.monitor_killed || pod.stop == Told::Done) {
        "it is NotReady, and its pause is alive"
    } else if pod.stop == Told::Done && (seen.monitor || !seen.held.is_empty()) {
        return Err(format!("it was stopped, and holds: monitor {}, {:?}", seen.monitor, seen.held));
    } else {
        return Ok(());
    };
    Err(complaint.to_owned())
}

#[cfg(test)]
mod tests;
