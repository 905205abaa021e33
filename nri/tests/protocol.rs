//! Our `.proto` against the published one: every call, message, field, number, type, and nothing more.
//!
//! The published file is that of the Go module `github.com/containerd/nri`; `LINKSPAN_NRI` names its folder
//! (`contrib/stages/protocol` fetches it by the Go module client).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use linkspan_nri::api::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

const PACKAGE: &str = "nri.pkg.api.v1alpha1";
/// Of plugins compiled to WebAssembly alone.
const LEFT_OUT: [&str; 2] = ["HostFunctions", "LogRequest"];

#[test]
fn the_protocol_is_the_published_one() {
    let Some(module) = std::env::var_os("LINKSPAN_NRI").map(PathBuf::from) else {
        eprintln!("SKIP: LINKSPAN_NRI does not name a folder of the Go module github.com/containerd/nri");
        return;
    };
    let published = protox::compile(["api.proto"], [module.join("pkg/api")]).unwrap();
    let ours = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let (published, ours) = (facts(&published), facts(&ours));
    assert!(published.len() > 300, "the published file has {} facts only", published.len());
    let missing: Vec<_> = published.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&published).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nnot published: {surplus:#?}");
}

/// One line for each thing that the wire depends on.
fn facts(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    let file = set.file.iter().find(|file| file.package() == PACKAGE).unwrap();
    for service in file.service.iter().filter(|service| !LEFT_OUT.contains(&service.name())) {
        for method in &service.method {
            let (from, to) = (method.input_type(), method.output_type());
            facts.insert(format!("rpc {}.{}({from}) -> {to}", service.name(), method.name()));
        }
    }
    file.message_type.iter().for_each(|message| of_message("", message, &mut facts));
    file.enum_type.iter().for_each(|values| of_enum("", values, &mut facts));
    facts
}

fn of_message(outer: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    if LEFT_OUT.contains(&message.name()) {
        return;
    }
    let name = format!("{outer}.{}", message.name());
    facts.insert(format!("message {name}"));
    for field in &message.field {
        let (number, label, kind) = (field.number(), field.label(), field.r#type());
        facts.insert(format!(
            "field {name}.{} = {number} {label:?} {kind:?} {}",
            field.name(),
            field.type_name()
        ));
    }
    message.nested_type.iter().for_each(|nested| of_message(&name, nested, facts));
    message.enum_type.iter().for_each(|values| of_enum(&name, values, facts));
}

fn of_enum(outer: &str, values: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    for value in &values.value {
        facts.insert(format!("enum {outer}.{}.{} = {}", values.name(), value.name(), value.number()));
    }
}
