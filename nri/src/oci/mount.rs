//! Mounts of a spec.

use serde_json::{Value, json};

use super::Wishes;
use super::json::{array, object};
use crate::api::{Field, Mount};
use crate::error::Error;

/// An option of NRI's own: give the source the container's SELinux label.
const RELABEL: &str = "relabel";

pub(super) fn adjust(spec: &mut Value, wishes: &Wishes<'_>, wanted: &[Mount]) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let labelled = spec["linux"]["mountLabel"].as_str().is_some_and(|label| !label.is_empty());
    for mount in wanted {
        let destination = &mount.destination;
        let (destination, removal) = match destination.strip_prefix(crate::merge::REMOVAL) {
            Some(destination) => (destination, true),
            None => (destination.as_str(), false),
        };
        let refuse = |reason: &str| {
            Err(wishes.refuse(Field::Mounts, Some(destination), &format!("mounts[{destination:?}]"), reason))
        };
        array(spec, &[], "mounts").retain(|known| known["destination"].as_str() != Some(destination));
        if removal {
            continue;
        }
        if !destination.starts_with('/') {
            return refuse("the destination is not an absolute path");
        }
        if labelled && mount.options.iter().any(|option| option == RELABEL) {
            return refuse(
                "volumes of plugins are not relabelled: leave the option `relabel` out, and label the source",
            );
        }
        let options: Vec<&String> = mount.options.iter().filter(|option| *option != RELABEL).collect();
        propagate(spec, &options);
        array(spec, &[], "mounts").push(json!({
            "destination": destination, "type": mount.r#type, "source": mount.source, "options": options,
        }));
    }
    // What is mounted below another mount comes after it.
    array(spec, &[], "mounts").sort_by_key(|mount| {
        let destination = mount["destination"].as_str().unwrap_or_default();
        destination.split('/').filter(|part| !part.is_empty()).count()
    });
    Ok(())
}

/// The root passes on what mounts in it are to pass on.
fn propagate(spec: &mut Value, options: &[&String]) {
    let has = |name: &str| options.iter().any(|option| *option == name);
    let root = spec["linux"]["rootfsPropagation"].as_str().unwrap_or_default();
    let wanted = match root {
        _ if has("rshared") || has("shared") => "rshared",
        "rshared" | "shared" | "rslave" | "slave" => return,
        _ if has("rslave") || has("slave") => "rslave",
        _ => return,
    };
    object(spec, &["linux"]).insert("rootfsPropagation".to_owned(), json!(wanted));
}
