//! One TOML file to settings, each with its line, so that every complaint can name it.

use std::path::Path;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::define::Definition;
use crate::error::Error;
use crate::nearest::nearest;
use crate::options::{SECTIONS, definitions};

/// A value and the line of its key, from 1.
pub(crate) struct FileSetting {
    pub(crate) definition: &'static Definition,
    pub(crate) value: Value,
    pub(crate) line: usize,
}

/// Parses and checks `text`, which was read from `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<FileSetting>, Error> {
    let syntax = |error: toml::de::Error| Error::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    let mut settings = Vec::new();
    for (name, value) in table.get_ref() {
        let line = line_of(text, name.span().start);
        let section = SECTIONS.iter().any(|(section, _)| *section == name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if section => {
                for (inner_name, inner_value) in inner {
                    let key = format!("{}.{}", name.get_ref(), inner_name.get_ref());
                    let line = line_of(text, inner_name.span().start);
                    settings.push(setting(path, &key, line, inner_value.get_ref())?);
                }
            }
            other => settings.push(setting(path, name.get_ref(), line, other)?),
        }
    }
    Ok(settings)
}

fn setting(path: &Path, key: &str, line: usize, value: &DeValue<'_>) -> Result<FileSetting, Error> {
    let bad =
        |reason: String| Error::BadFileValue { path: path.to_owned(), line, key: key.to_owned(), reason };
    let definition = find(key).ok_or_else(|| Error::UnknownKey {
        path: path.to_owned(),
        line,
        key: key.to_owned(),
        nearest: nearest_key(key),
    })?;
    let deserializer = toml::de::ValueDeserializer::from(toml::Spanned::new(0..0, value.clone()));
    let value = Value::deserialize(deserializer).map_err(|error| bad(error.message().to_owned()))?;
    (definition.check)(&value).map_err(bad)?;
    Ok(FileSetting { definition, value, line })
}

pub(crate) fn find(key: &str) -> Option<&'static Definition> {
    definitions().iter().find(|definition| definition.key == key)
}

/// The known option or section nearest to `key`.
pub(crate) fn nearest_key(key: &str) -> Option<String> {
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    nearest(key, definitions().iter().map(|definition| definition.key).chain(sections)).map(str::to_owned)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
