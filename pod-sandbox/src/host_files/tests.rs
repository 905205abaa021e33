use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::records::Records;
use crate::sandbox::state::State;
use crate::table::Snapshot;
use linkspan_runtime_oci::{Process, Timestamp};

fn open() -> (TempDir, Arc<Table>, HostFiles) {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Records::open(dir.path()).unwrap(), Snapshot::default());
    let files = HostFiles::new(&table);
    (dir, table, files)
}

fn sandbox(name: &str) -> SandboxRecord {
    let pause = Process { pid: 7, start_time: 9 };
    let mut record = SandboxRecord::example(State::Ready { pause });
    record.config.metadata.name = name.to_owned();
    record
}

fn access(pod: &str, path: &str) -> HostAccess {
    HostAccess::new(&sandbox(pod).config, "looking at volume", path).within(Duration::from_millis(300))
}

/// A file system that does not answer until the sender is dropped.
fn hanging() -> (mpsc::Sender<()>, impl FnOnce(&Step) -> Result<(), Error> + Send) {
    let (answers, waits) = mpsc::channel();
    let work = move |_: &Step| {
        let _ = waits.recv();
        Ok(())
    };
    (answers, work)
}

#[tokio::test]
async fn what_hangs_is_told_with_its_path_and_stage() {
    let (_dir, _table, files) = open();
    let (_answers, waits) = mpsc::channel::<()>();
    let work = move |step: &Step| {
        step.next("copying to volume", Path::new("/b"))?;
        let _ = waits.recv();
        Ok(())
    };
    let error = files.run(access("one", "/a"), work).await.unwrap_err().to_string();
    assert_eq!(error, "copying to volume /b: timed out after 300ms: the file system does not answer");
}

#[tokio::test]
async fn a_pod_has_few_places_and_others_have_theirs() {
    let (_dir, _table, files) = open();
    let mut held = Vec::new();
    for number in 0..OF_A_POD {
        let (answers, work) = hanging();
        held.push(answers);
        let access = access("one", &format!("/hung/{number}"));
        assert!(files.run(access, work).await.is_err(), "{number}");
    }
    let error = files.run(access("one", "/a"), |_| Ok(())).await.unwrap_err().to_string();
    assert!(
        error.starts_with("looking at volume /a: not begun after 300ms: 4 accesses of the pod"),
        "{error}"
    );
    assert!(error.ends_with("first looking at volume /hung/0"), "{error}");
    files.run(access("other", "/a"), |_| Ok(())).await.unwrap();
    held.pop();
    let ample = access("one", "/a").within(Duration::from_secs(20));
    files.run(ample, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_stop_of_the_pod_gives_it_up_and_nothing_is_made_any_more() {
    let (_dir, table, files) = open();
    let sandbox = sandbox("one");
    table.put(sandbox.clone()).await.unwrap();
    let ((answers, waits), (begun, beginning)) = (mpsc::channel::<()>(), oneshot::channel());
    let (told, tells) = oneshot::channel();
    let work = move |step: &Step| {
        let _ = begun.send(());
        let _ = waits.recv();
        let next = step.next("making volume", Path::new("/a"));
        let _ = told.send(next.is_err());
        next
    };
    let stop = async {
        beginning.await.unwrap();
        let state = State::NotReady { since: Timestamp(1) };
        table.put(SandboxRecord { state, ..sandbox.clone() }).await.unwrap();
    };
    let access = HostAccess::of(&sandbox, "looking at volume", "/a");
    let (error, ()) = tokio::join!(files.run(access, work), stop);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::SandboxNotReady { .. })), "{error}");
    drop(answers);
    assert!(tells.await.unwrap(), "it went on");
}
