//! `linkspan config default` and `linkspan config show`: TOML that can be read back.

use std::fmt::Write;

use toml::Value;

use crate::define::Definition;
use crate::load::Loaded;
use crate::options::{SECTIONS, definitions};
use crate::place::Place;

/// The commented sample: every option with its documentation and default, all commented out.
pub fn sample(place: &Place) -> String {
    let mut out = String::from(
        "# Configuration of linkspan. Values shown are the defaults.\n\
         # Drop-ins: *.toml in config.d beside this file, in lexical order; then LINKSPAN_* and flags.\n",
    );
    print(&mut out, |out, definition| {
        for line in definition.doc {
            let _ = writeln!(out, "#{line}");
        }
        let _ = writeln!(out, "# {} = {}\n", name(definition), (definition.default)(place));
    });
    out
}

/// The merged configuration, each value with its origin behind it.
pub fn show(loaded: &Loaded) -> String {
    let mut out = String::new();
    print(&mut out, |out, definition| {
        let value = &loaded.values[definition.key];
        let _ =
            writeln!(out, "{} = {}  # {}", name(definition), inline(value), loaded.origins[definition.key]);
    });
    out
}

fn print(out: &mut String, mut option: impl FnMut(&mut String, &Definition)) {
    in_section("").for_each(|definition| option(out, definition));
    for (section, doc) in SECTIONS {
        let doc = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "\n[{section}]  # {doc}");
        in_section(section).for_each(|definition| option(out, definition));
    }
}

fn name(definition: &Definition) -> &str {
    definition.key.rsplit('.').next().unwrap_or(definition.key)
}

fn in_section(section: &str) -> impl Iterator<Item = &'static Definition> {
    definitions().iter().filter(move |definition| match definition.key.split_once('.') {
        Some((found, _)) => found == section,
        None => section.is_empty(),
    })
}

/// A table on one line: `Value`'s own form of it is already the inline one.
fn inline(value: &Value) -> String {
    value.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests;
