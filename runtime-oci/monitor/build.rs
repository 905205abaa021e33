//! Compiles pause for the target and leaves it in `OUT_DIR`, for the monitor to embed.
//!
//! Not a binary of the workspace: without the standard library it would force `panic = "abort"` on every profile.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=pause/pause.rs");
    println!("cargo::rerun-if-changed=build.rs");
    match compile_pause() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error=compiling pause: {message}");
            ExitCode::FAILURE
        }
    }
}

fn compile_pause() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or_else(|| format!("{name} is not set"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("pause");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "pause", "--crate-type", "bin", "--target"]);
    rustc.arg(variable("TARGET")?);
    for option in ["panic=abort", "opt-level=s", "strip=symbols", "relocation-model=static", "lto=fat"] {
        rustc.args(["-C", option]);
    }
    // One segment, no build ID, no unwind tables: what is left is one page.
    let link = ["-static", "-nostartfiles", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,norelro", "-Wl,-n"];
    for option in link {
        rustc.arg("-C").arg(format!("link-arg={option}"));
    }
    rustc.args(["-C", "force-unwind-tables=no"]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    rustc.arg("-o").arg(&output).arg("pause/pause.rs");
    let done = rustc.output().map_err(|e| format!("starting {rustc:?}: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
