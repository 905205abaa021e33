use super::*;
use crate::load::{Sources, load};

#[test]
fn the_sample_uncommented_is_the_default_configuration() {
    let place = Place::below("/nowhere");
    let text: String = sample(&place)
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains("LINKSPAN_*") => format!("{rest}\n"),
            _ if line.starts_with('[') => format!("{line}\n"),
            _ => String::new(),
        })
        .collect();
    let settings = crate::file::parse("sample".as_ref(), &text).unwrap();
    assert_eq!(settings.len(), definitions().len());
    for setting in settings {
        assert_eq!(setting.value, (setting.definition.default)(&place), "{}", setting.definition.key);
    }
}

#[test]
fn what_show_prints_can_be_read_back() {
    let sources = Sources {
        place: Place::below("/nowhere"),
        runtimes: vec![("runc".into(), "/opt/runc".into())],
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    let shown = show(&loaded);
    assert!(shown.contains("runtime]") && shown.contains("default = \"runc\"  # --runtime"), "{shown}");
    for setting in crate::file::parse("shown".as_ref(), &shown).unwrap() {
        assert_eq!(setting.value, loaded.values[setting.definition.key], "{}", setting.definition.key);
    }
}
