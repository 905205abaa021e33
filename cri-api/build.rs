//! Compiles `proto/` with protox (no protoc on the machine) and tonic.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(["runtime.proto", "image.proto"])?;

    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let files = compiler.file_descriptor_set();

    let mut rpcs = String::from("&[\n");
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let (service, name, streaming) = (service.name(), method.name(), method.server_streaming());
                writeln!(
                    rpcs,
                    "    Rpc {{ service: {service:?}, name: {name:?}, streaming: {streaming} }},"
                )?;
            }
        }
    }
    rpcs.push(']');
    fs::write(out.join("rpcs.rs"), rpcs)?;

    tonic_prost_build::configure()
        .build_transport(false)
        // Sorted, so that equal messages have equal bytes and text.
        .btree_map(".")
        // Written by hand: credentials never reach a log.
        .skip_debug(["runtime.v1.AuthConfig"])
        .compile_fds(files)?;
    Ok(())
}
