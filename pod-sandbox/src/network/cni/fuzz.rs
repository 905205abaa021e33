//! What CNI plugins and their configuration may say.

use std::path::Path;

use serde_json::Value;

use super::conf::NetworkList;
use super::result;
use super::version::Version;

/// What a plugin prints after ADD.
///
/// # Panics
/// On a fault.
pub fn cni_result(data: &[u8]) {
    for version in Version::ALL {
        let Ok(result) = result::parse(data, version) else { continue };
        assert!(result.contains_key("cniVersion"));
        let given = result::addresses(&result);
        let listed = result.get("ips").and_then(Value::as_array).map_or(0, Vec::len);
        assert!(
            given.as_ref().is_ok_and(|ips| ips.len() <= listed) || given.is_err(),
            "{given:?} of {listed}"
        );
        for to in Version::ALL {
            let converted = result::convert(result.clone(), to);
            assert_eq!(result::version(&converted, version), Ok(to));
            assert_eq!(result::addresses(&converted), given, "a conversion to {to} has other addresses");
            assert_eq!(result::convert(converted.clone(), to), converted, "a conversion to {to} is not one");
        }
    }
}

/// A `.conflist`, or a `.conf`.
///
/// # Panics
/// On a fault.
pub fn cni_conf(data: &[u8]) {
    let source = Path::new("/nonexistent/net.conflist");
    for list in [NetworkList::from_list(data, source), NetworkList::from_single(data, source)] {
        let list = match list {
            Ok(list) => list,
            Err(reason) => {
                assert!(!reason.is_empty());
                continue;
            }
        };
        // Both become parts of paths.
        assert!(!list.name.contains(['/', '\0']) && !list.name.starts_with('.'), "{:?}", list.name);
        for plugin in &list.plugins {
            let kind = plugin.kind.as_str();
            assert!(!matches!(kind, "" | "." | "..") && !kind.contains('/'), "{kind:?}");
        }
        assert!(list.versions.is_sorted_by(|one, other| one > other), "{:?}", list.versions);
        let written = list.to_json().to_string();
        let again =
            NetworkList::from_list(written.as_bytes(), source).expect("a list is read as it was written");
        assert_eq!((&again.name, &again.plugins), (&list.name, &list.plugins));
        assert_eq!((again.disable_check, again.disable_gc), (list.disable_check, list.disable_gc));
    }
}
