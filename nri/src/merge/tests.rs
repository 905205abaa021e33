use super::{Adjusting, Owners, Updating};
use crate::api::{
    Container, ContainerAdjustment, ContainerUpdate, Field, Hook, Hooks, HugepageLimit, KeyValue,
    LinuxContainerAdjustment, LinuxContainerUpdate, LinuxCpu, LinuxMemory, LinuxNamespace, LinuxRdt,
    LinuxResources, Mount, OptionalInt64, OptionalString, OptionalUInt64, PosixRlimit,
};
use crate::error::Error;

const ID: &str = "c";

fn linux(linux: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() }
}

fn env(entries: &[(&str, &str)]) -> ContainerAdjustment {
    let env =
        entries.iter().map(|(key, value)| KeyValue { key: (*key).to_owned(), value: (*value).to_owned() });
    ContainerAdjustment { env: env.collect(), ..ContainerAdjustment::default() }
}

fn memory(limit: i64) -> LinuxResources {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value: limit }), ..LinuxMemory::default() };
    LinuxResources { memory: Some(memory), ..LinuxResources::default() }
}

/// The wishes of the plugins a, b, … over a container with one variable and one mount.
fn merge(wishes: &[ContainerAdjustment]) -> Result<(Adjusting, Owners), Error> {
    let container = Container {
        id: ID.to_owned(),
        env: vec!["GIVEN=x".to_owned()],
        args: vec!["given".to_owned()],
        mounts: vec![Mount { destination: "/given".to_owned(), ..Mount::default() }],
        annotations: [("given".to_owned(), "x".to_owned())].into(),
        ..Container::default()
    };
    let (mut adjusting, mut owners) = (Adjusting::new(container), Owners::default());
    for (wish, plugin) in wishes.iter().zip(["a", "b", "c"]) {
        adjusting.take(&mut owners, plugin, wish.clone())?;
    }
    Ok((adjusting, owners))
}

/// The field over which the two are in conflict, if they are.
fn conflict(first: ContainerAdjustment, second: ContainerAdjustment) -> Option<String> {
    match merge(&[first, second]) {
        Ok(_) => None,
        Err(Error::Conflict { plugin, other, field, container_id }) => {
            assert_eq!((plugin.as_str(), other.as_str(), container_id.as_str()), ("b", "a", ID));
            Some(field)
        }
        Err(other) => panic!("no conflict: {other}"),
    }
}

#[test]
fn two_that_set_the_same_are_in_conflict() {
    let check = |wish: ContainerAdjustment, field: &str| {
        assert_eq!(conflict(wish.clone(), wish).as_deref(), Some(field));
    };
    check(env(&[("A", "1")]), "Env A");
    let annotations = [("k".to_owned(), "v".to_owned())].into();
    check(ContainerAdjustment { annotations, ..ContainerAdjustment::default() }, "Annotations k");
    let mounts = vec![Mount { destination: "/m".to_owned(), ..Mount::default() }];
    check(ContainerAdjustment { mounts, ..ContainerAdjustment::default() }, "Mounts /m");
    check(ContainerAdjustment { args: vec!["x".to_owned()], ..ContainerAdjustment::default() }, "Args");
    let rlimits = vec![PosixRlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 1, soft: 1 }];
    check(ContainerAdjustment { rlimits, ..ContainerAdjustment::default() }, "Rlimits RLIMIT_NOFILE");
    check(linux(LinuxContainerAdjustment { resources: Some(memory(1)), ..Default::default() }), "MemLimit");
    let namespaces = vec![LinuxNamespace { r#type: "-ipc".to_owned(), path: String::new() }];
    check(linux(LinuxContainerAdjustment { namespaces, ..Default::default() }), "Namespace ipc");
    check(
        linux(LinuxContainerAdjustment { cgroups_path: "/x".to_owned(), ..Default::default() }),
        "CgroupsPath",
    );
    let rdt = LinuxRdt { clos_id: Some(OptionalString { value: "x".to_owned() }), ..LinuxRdt::default() };
    check(linux(LinuxContainerAdjustment { rdt: Some(rdt), ..Default::default() }), "RdtClosID");
    let pages = LinuxResources {
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 1 }],
        ..LinuxResources::default()
    };
    check(
        linux(LinuxContainerAdjustment { resources: Some(pages), ..Default::default() }),
        "HugepageLimits 2MB",
    );
}

#[test]
fn different_entries_are_no_conflict_and_later_ones_see_earlier_ones() {
    let (adjusting, owners) = merge(&[env(&[("A", "1"), ("GIVEN", "y")]), env(&[("B", "2")])]).unwrap();
    assert_eq!(adjusting.container.env, ["A=1", "GIVEN=y", "B=2"]);
    assert_eq!(adjusting.adjust.env.len(), 3);
    assert_eq!(owners.of(ID, Field::Env, Some("A")), Some("a"));
    assert_eq!(owners.of(ID, Field::Env, Some("B")), Some("b"));
    assert_eq!(owners.of("other", Field::Env, Some("B")), None);
}

#[test]
fn what_is_taken_away_first_may_be_set_anew_by_that_plugin_alone() {
    let retaken = env(&[("-A", ""), ("A", "2")]);
    let (adjusting, owners) = merge(&[env(&[("A", "1")]), retaken]).unwrap();
    assert_eq!(adjusting.adjust.env, env(&[("A", "2")]).env, "the first wish is gone");
    assert_eq!(owners.of(ID, Field::Env, Some("A")), Some("b"));
    assert_eq!(conflict(env(&[("-A", "")]), env(&[("A", "2")])).as_deref(), Some("Env A"));
    let (adjusting, _) = merge(&[env(&[("A", "1")]), env(&[("-A", ""), ("-GIVEN", "")])]).unwrap();
    assert_eq!(adjusting.adjust.env, env(&[("-A", ""), ("-GIVEN", "")]).env);
    assert_eq!(adjusting.container.env, Vec::<String>::new());

    let args = |args: &[&str]| ContainerAdjustment {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ContainerAdjustment::default()
    };
    let (adjusting, _) = merge(&[args(&["x"]), args(&["", "y"])]).unwrap();
    assert_eq!(
        (adjusting.adjust.args, adjusting.container.args),
        (vec!["y".to_owned()], vec!["y".to_owned()])
    );

    let rdt = |remove: bool, clos: &str| {
        let clos_id = (!clos.is_empty()).then(|| OptionalString { value: clos.to_owned() });
        linux(LinuxContainerAdjustment {
            rdt: Some(LinuxRdt { clos_id, remove, ..Default::default() }),
            ..Default::default()
        })
    };
    let (adjusting, _) = merge(&[rdt(false, "x"), rdt(true, "y")]).unwrap();
    let merged = adjusting.adjust.linux.unwrap().rdt.unwrap();
    assert_eq!((merged.remove, merged.clos_id.unwrap().value.as_str()), (true, "y"));
}

#[test]
fn hooks_add_up() {
    let hooks = |path: &str| ContainerAdjustment {
        hooks: Some(Hooks {
            poststop: vec![Hook { path: path.to_owned(), ..Hook::default() }],
            ..Hooks::default()
        }),
        ..ContainerAdjustment::default()
    };
    let (adjusting, owners) = merge(&[hooks("/1"), hooks("/2")]).unwrap();
    assert_eq!(adjusting.adjust.hooks.unwrap().poststop.len(), 2);
    assert_eq!(owners.of(ID, Field::OciHooks, None), Some("a,b"));
}

#[test]
fn nothing_wanted_is_nothing_adjusted() {
    let (adjusting, _) =
        merge(&[ContainerAdjustment::default(), linux(LinuxContainerAdjustment::default())]).unwrap();
    assert_eq!(adjusting.adjust.linux, Some(LinuxContainerAdjustment::default()));
    assert_eq!(ContainerAdjustment { linux: None, ..adjusting.adjust }, ContainerAdjustment::default());
}

fn update(id: &str, resources: LinuxResources, ignore_failure: bool) -> ContainerUpdate {
    let linux = Some(LinuxContainerUpdate { resources: Some(resources) });
    ContainerUpdate { container_id: id.to_owned(), linux, ignore_failure }
}

fn shares(value: u64) -> LinuxResources {
    let cpu = LinuxCpu { shares: Some(OptionalUInt64 { value }), ..LinuxCpu::default() };
    LinuxResources { cpu: Some(cpu), ..LinuxResources::default() }
}

#[test]
fn updates_of_one_container_become_one_update() {
    let (mut owners, mut updating) = (Owners::default(), Updating::default());
    updating.take(&mut owners, "a", vec![update("x", memory(1), true)], Some(ID), None).unwrap();
    updating
        .take(
            &mut owners,
            "b",
            vec![update("x", shares(2), false), update("y", shares(3), false)],
            Some(ID),
            None,
        )
        .unwrap();
    let conflict = updating.take(&mut owners, "c", vec![update("x", memory(9), false)], Some(ID), None);
    assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
    updating.take(&mut owners, "c", vec![update("x", memory(9), true)], Some(ID), None).unwrap();
    let merged = updating.into_updates();
    assert_eq!(
        merged.iter().map(|merged| merged.update.container_id.as_str()).collect::<Vec<_>>(),
        ["x", "y"]
    );
    assert_eq!(merged[0].plugins, ["a", "b"]);
    assert!(!merged[0].update.ignore_failure, "one minds");
    let limits = merged[0].update.linux.clone().unwrap().resources.unwrap();
    assert_eq!((limits.memory, limits.cpu), (memory(1).memory, shares(2).cpu));
}

#[test]
fn what_is_being_created_cannot_be_updated_and_what_is_being_updated_is_its_request() {
    let (mut owners, mut updating) = (Owners::default(), Updating::default());
    let refused = updating.take(&mut owners, "a", vec![update(ID, memory(1), true)], Some(ID), None);
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    let mut request = memory(5);
    updating
        .take(&mut owners, "a", vec![update(ID, shares(7), false)], None, Some((ID, &mut request)))
        .unwrap();
    assert_eq!((request.memory, request.cpu), (memory(5).memory, shares(7).cpu));
    assert_eq!(updating.messages(), []);
}
