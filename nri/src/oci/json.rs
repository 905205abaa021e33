//! Reading and writing nested JSON without much ado. What has an unexpected type counts as missing.

use serde_json::{Map, Value};

pub(super) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    list(value).filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn uint32(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// The object at `path`, made if it is missing.
pub(super) fn object<'a>(root: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = root;
    for key in path {
        if !at[*key].is_object() {
            as_object(at).insert((*key).to_owned(), Value::Object(Map::new()));
        }
        at = &mut at[*key];
    }
    as_object(at)
}

/// The list at `path`, made if it is missing.
pub(super) fn array<'a>(root: &'a mut Value, path: &[&str], key: &str) -> &'a mut Vec<Value> {
    let slot = object(root, path).entry(key).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("it was just made one"),
    }
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was just made one"),
    }
}
