//! Short names (`busybox`, `library/busybox`): aliases and search registries of `registries.conf`. Without
//! either they mean docker.io, as everywhere in Kubernetes.

use super::RegistriesConf;
use crate::{Error, Reference};

/// What `name` may stand for, best first; `name` with a registry stands for itself.
pub(super) fn candidates(conf: &RegistriesConf, name: &str) -> Result<Vec<Reference>, Error> {
    let normalised: Reference = name.parse()?;
    if !is_short(name) {
        return Ok(vec![normalised.or_latest()]);
    }
    let tail_at = name.rfind('/').map_or(0, |slash| slash + 1);
    let bare_end = name[tail_at..].find([':', '@']).map_or(name.len(), |at| tail_at + at);
    let (bare, suffix) = name.split_at(bare_end);
    if let Some(target) = conf.aliases.get(bare) {
        let aliased: Reference = format!("{target}{suffix}").parse()?;
        return Ok(vec![aliased.or_latest()]);
    }
    match conf.search.as_slice() {
        [] => Ok(vec![normalised.or_latest()]),
        several if several.len() > 1 && conf.enforcing => Err(Error::BadReference {
            reference: name.to_owned(),
            reason: format!(
                "short name with several candidates ({}), and short-name-mode in {} is enforcing",
                several.join(", "),
                conf.path.display()
            ),
        }),
        search => {
            let full = search.iter().map(|registry| format!("{registry}/{name}").parse::<Reference>());
            full.map(|reference| Ok(reference?.or_latest())).collect()
        }
    }
}

/// No registry is written in front.
fn is_short(name: &str) -> bool {
    match name.split_once('/') {
        None => true,
        Some((first, _)) => {
            first != "localhost"
                && !first.contains(['.', ':'])
                && !first.bytes().any(|b| b.is_ascii_uppercase())
        }
    }
}
