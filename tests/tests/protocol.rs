//! Our `.proto` against the published one: every RPC, message, field, number, type, and nothing more.
//!
//! The published file is that of the Go module `k8s.io/cri-api`; `LINKSPAN_CRI_API` names its folder
//! (`contrib/stages/protocol` fetches it by the Go module client).

use std::collections::BTreeSet;
use std::path::PathBuf;

use linkspan_cri_api::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

#[test]
fn the_protocol_is_the_published_one() {
    let Some(module) = std::env::var_os("LINKSPAN_CRI_API").map(PathBuf::from) else {
        eprintln!("SKIP: LINKSPAN_CRI_API does not name a folder of the Go module k8s.io/cri-api");
        return;
    };
    let folder = module.join("pkg/apis/runtime/v1");
    let published = protox::compile(["api.proto"], [&folder]).expect("the published file compiles");
    let ours = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our descriptors decode");
    let (published, ours) = (facts(&published), facts(&ours));
    assert!(published.len() > 500, "the published file has {} facts only", published.len());
    let missing: Vec<_> = published.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&published).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nnot published: {surplus:#?}");
}

/// One line for each thing that the wire or a generated client depends on.
fn facts(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == "runtime.v1") {
        services(file, &mut facts);
        file.message_type.iter().for_each(|message| messages("", message, &mut facts));
        file.enum_type.iter().for_each(|declared| values("", declared, &mut facts));
    }
    facts
}

fn services(file: &FileDescriptorProto, facts: &mut BTreeSet<String>) {
    for service in &file.service {
        for method in &service.method {
            facts.insert(format!(
                "rpc {}.{}({}{}) -> {}{}",
                service.name(),
                method.name(),
                if method.client_streaming() { "stream " } else { "" },
                method.input_type(),
                if method.server_streaming() { "stream " } else { "" },
                method.output_type(),
            ));
        }
    }
}

fn messages(outer: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{outer}.{}", message.name());
    facts.insert(format!("message {name}"));
    for field in &message.field {
        let oneof = match field.oneof_index {
            Some(index) if !field.proto3_optional() => message.oneof_decl[index as usize].name().to_owned(),
            _ => String::new(),
        };
        facts.insert(format!(
            "field {name}.{} = {} {:?} {:?} {} oneof `{oneof}` optional {}",
            field.name(),
            field.number(),
            Label::try_from(field.label() as i32),
            Type::try_from(field.r#type() as i32),
            field.type_name(),
            field.proto3_optional(),
        ));
    }
    for range in &message.reserved_range {
        facts.insert(format!("reserved {name} {}..{}", range.start(), range.end()));
    }
    message.nested_type.iter().for_each(|nested| messages(&name, nested, facts));
    message.enum_type.iter().for_each(|nested| values(&name, nested, facts));
}

fn values(outer: &str, declared: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    for value in &declared.value {
        facts.insert(format!("enum {outer}.{}.{} = {}", declared.name(), value.name(), value.number()));
    }
}
