//! What plugins want of a container that is being created.

use super::keyed::{merge, merge_map};
use super::owners::Owners;
use super::resources;
use crate::api::{
    Container, ContainerAdjustment, Field, Hooks, KeyValue, LinuxContainer, LinuxContainerAdjustment,
    LinuxRdt,
};
use crate::error::Error;

/// The adjustments of the plugins asked so far.
#[derive(Clone, Debug)]
pub(crate) struct Adjusting {
    /// As later plugins see it.
    pub(crate) container: Container,
    pub(crate) adjust: ContainerAdjustment,
}

impl Adjusting {
    pub(crate) fn new(container: Container) -> Self {
        Self { container, adjust: ContainerAdjustment::default() }
    }

    /// Takes the wishes of one plugin.
    pub(crate) fn take(
        &mut self,
        owners: &mut Owners,
        plugin: &str,
        wanted: ContainerAdjustment,
    ) -> Result<(), Error> {
        let id = self.container.id.clone();
        let who = (id.as_str(), plugin);
        let (seen, adjust) = (&mut self.container, &mut self.adjust);
        merge_map(owners, who, Field::Annotations, wanted.annotations, &mut adjust.annotations)?
            .show_map(&mut seen.annotations);
        merge(owners, who, Field::Mounts, wanted.mounts, &mut adjust.mounts)?.show(&mut seen.mounts);
        env(seen, merge(owners, who, Field::Env, wanted.env, &mut adjust.env)?);
        args(owners, who, wanted.args, adjust, seen)?;
        if let Some(wanted) = wanted.hooks.filter(|hooks| *hooks != Hooks::default()) {
            owners.share(&id, Field::OciHooks, plugin);
            add_hooks(seen.hooks.get_or_insert_default(), &wanted);
            add_hooks(adjust.hooks.get_or_insert_default(), &wanted);
        }
        for limit in wanted.rlimits {
            owners.claim(&id, &(Field::Rlimits, Some(limit.r#type.clone())), plugin)?;
            seen.rlimits.retain(|known| known.r#type != limit.r#type);
            seen.rlimits.push(limit.clone());
            adjust.rlimits.push(limit);
        }
        for device in wanted.cdi_devices {
            owners.claim(&id, &(Field::CdiDevices, Some(device.name.clone())), plugin)?;
            adjust.cdi_devices.push(device);
        }
        match wanted.linux {
            Some(wanted) => {
                let (seen, adjust) =
                    (seen.linux.get_or_insert_default(), adjust.linux.get_or_insert_default());
                linux(owners, who, wanted, adjust, seen)
            }
            None => Ok(()),
        }
    }
}

fn env(seen: &mut Container, wanted: super::keyed::Wanted<KeyValue>) {
    seen.env.retain(|entry| {
        let key = entry.split_once('=').map_or(entry.as_str(), |(key, _)| key);
        !wanted.touched.contains(key)
    });
    seen.env.extend(wanted.added.iter().map(|variable| format!("{}={}", variable.key, variable.value)));
}

/// A first argument that is empty takes the arguments from the plugin that set them.
fn args(
    owners: &mut Owners,
    (id, plugin): (&str, &str),
    mut wanted: Vec<String>,
    adjust: &mut ContainerAdjustment,
    seen: &mut Container,
) -> Result<(), Error> {
    let claim = (Field::Args, None);
    if wanted.first().is_some_and(String::is_empty) {
        wanted.remove(0);
        owners.clear(id, &claim, plugin);
    }
    if wanted.is_empty() {
        return Ok(());
    }
    owners.claim(id, &claim, plugin)?;
    seen.args.clone_from(&wanted);
    adjust.args = wanted;
    Ok(())
}

fn add_hooks(to: &mut Hooks, wanted: &Hooks) {
    to.prestart.extend(wanted.prestart.iter().cloned());
    to.create_runtime.extend(wanted.create_runtime.iter().cloned());
    to.create_container.extend(wanted.create_container.iter().cloned());
    to.start_container.extend(wanted.start_container.iter().cloned());
    to.poststart.extend(wanted.poststart.iter().cloned());
    to.poststop.extend(wanted.poststop.iter().cloned());
}

fn linux(
    owners: &mut Owners,
    who: (&str, &str),
    wanted: LinuxContainerAdjustment,
    adjust: &mut LinuxContainerAdjustment,
    seen: &mut LinuxContainer,
) -> Result<(), Error> {
    let (id, plugin) = who;
    merge(owners, who, Field::Devices, wanted.devices, &mut adjust.devices)?.show(&mut seen.devices);
    merge(owners, who, Field::Namespace, wanted.namespaces, &mut adjust.namespaces)?
        .show(&mut seen.namespaces);
    merge_map(owners, who, Field::Sysctl, wanted.sysctl, &mut adjust.sysctl)?.show_map(&mut seen.sysctl);
    merge_map(owners, who, Field::LinuxNetDevices, wanted.net_devices, &mut adjust.net_devices)?
        .show_map(&mut seen.net_devices);
    if let Some(wanted) = &wanted.resources {
        owners.claim_all(id, &resources::claims(wanted), plugin)?;
        resources::overlay(wanted, adjust.resources.get_or_insert_default());
        resources::overlay(wanted, seen.resources.get_or_insert_default());
    }
    if !wanted.cgroups_path.is_empty() {
        owners.claim(id, &(Field::CgroupsPath, None), plugin)?;
        seen.cgroups_path.clone_from(&wanted.cgroups_path);
        adjust.cgroups_path = wanted.cgroups_path;
    }
    macro_rules! single {
        ($($field:ident: $claim:ident),*) => {
            $( if wanted.$field.is_some() {
                owners.claim(id, &(Field::$claim, None), plugin)?;
                seen.$field.clone_from(&wanted.$field);
                adjust.$field = wanted.$field;
            } )*
        };
    }
    single!(oom_score_adj: OomScoreAdj, io_priority: IoPriority, seccomp_policy: SeccompPolicy, scheduler: LinuxSched);
    if wanted.memory_policy.is_some() {
        owners.claim(id, &(Field::MemoryPolicy, None), plugin)?;
        adjust.memory_policy = wanted.memory_policy;
    }
    match wanted.rdt {
        Some(wanted) => rdt(owners, who, &wanted, adjust, seen),
        None => Ok(()),
    }
}

fn rdt(
    owners: &mut Owners,
    (id, plugin): (&str, &str),
    wanted: &LinuxRdt,
    adjust: &mut LinuxContainerAdjustment,
    seen: &mut LinuxContainer,
) -> Result<(), Error> {
    let fields = [
        (Field::RdtClosId, wanted.clos_id.is_some()),
        (Field::RdtSchemata, wanted.schemata.is_some()),
        (Field::RdtEnableMonitoring, wanted.enable_monitoring.is_some()),
    ];
    if wanted.remove {
        fields.iter().for_each(|(field, _)| owners.clear(id, &(*field, None), plugin));
        adjust.rdt = Some(LinuxRdt { remove: true, ..LinuxRdt::default() });
        seen.rdt = None;
    }
    for (field, _) in fields.iter().filter(|(_, set)| *set) {
        owners.claim(id, &(*field, None), plugin)?;
    }
    if fields.iter().any(|(_, set)| *set) {
        for target in [adjust.rdt.get_or_insert_default(), seen.rdt.get_or_insert_default()] {
            macro_rules! set {
                ($($field:ident),*) => { $( if wanted.$field.is_some() { target.$field.clone_from(&wanted.$field); } )* };
            }
            set!(clos_id, schemata, enable_monitoring);
        }
    }
    Ok(())
}
