//! Which plugins must not be missing when a container is created.
//!
//! Source: nri v0.12.0, plugins/default-validator and pkg/plugin/annotations.go.

use std::collections::BTreeMap;

use linkspan_config::Nri;

/// A pod's own list.
const ANNOTATION: &str = "required-plugins.noderesource.dev";

#[derive(Clone, Debug, Default)]
pub(crate) struct Required {
    always: Vec<String>,
    /// Empty: none.
    tolerate: String,
}

impl Required {
    pub(crate) fn new(settings: &Nri) -> Self {
        Self {
            always: settings.required_plugins.clone(),
            tolerate: settings.tolerate_missing_plugins_annotation.clone(),
        }
    }

    /// By name, or by index and name.
    pub(crate) fn of(&self, annotations: &BTreeMap<String, String>, container: &str) -> Vec<String> {
        let tolerated = !self.tolerate.is_empty()
            && effective(annotations, &self.tolerate, container).is_some_and(|value| value.trim() == "true");
        if tolerated {
            return Vec::new();
        }
        let own = effective(annotations, ANNOTATION, container).map(list).unwrap_or_default();
        self.always.iter().cloned().chain(own).collect()
    }
}

/// The container's own annotation before the pod's.
fn effective<'a>(annotations: &'a BTreeMap<String, String>, key: &str, container: &str) -> Option<&'a str> {
    let keys = [format!("{key}/container.{container}"), format!("{key}/pod"), key.to_owned()];
    keys.iter().find_map(|key| annotations.get(key)).map(String::as_str)
}

/// A list of YAML or JSON with nothing but names in it.
fn list(text: &str) -> Vec<String> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let names = inner.split([',', '\n']).map(|name| {
        let name = name.trim();
        name.strip_prefix("- ").unwrap_or(name).trim().trim_matches(['"', '\''])
    });
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Required;

    fn check(annotations: &[(&str, &str)], expected: &[&str]) {
        let required = Required { always: vec!["always".to_owned()], tolerate: "tolerate".to_owned() };
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(required.of(&annotations, "main"), expected, "{annotations:?}");
    }

    #[test]
    fn a_pod_may_ask_for_more_and_be_let_off() {
        const KEY: &str = "required-plugins.noderesource.dev";
        check(&[], &["always"]);
        check(&[(KEY, "[a, \"10-b\"]")], &["always", "a", "10-b"]);
        check(&[(KEY, "- a\n- b")], &["always", "a", "b"]);
        check(&[(KEY, "[a]"), ("required-plugins.noderesource.dev/container.main", "[c]")], &["always", "c"]);
        check(
            &[(KEY, "[a]"), ("required-plugins.noderesource.dev/container.other", "[c]")],
            &["always", "a"],
        );
        check(&[("tolerate", "true")], &[]);
        check(&[("tolerate", "no")], &["always"]);
        check(&[("tolerate/container.other", "true")], &["always"]);
    }
}
