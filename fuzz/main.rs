//! All fuzz targets in one program, which is built and linked once: `LINKSPAN_FUZZ_TARGET` names the one to run, `list` prints
//! them all with the longest input that each is worth.
#![no_main]

mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: choose(),
    |data: &[u8]| if let Some(target) = CHOSEN.get() { (target.run)(data) }
);

fn choose() {
    let wanted = std::env::var("LINKSPAN_FUZZ_TARGET").unwrap_or_default();
    if wanted == "list" {
        TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.max_len));
        std::process::exit(0);
    }
    let Some(target) = TARGETS.iter().find(|target| target.name == wanted) else {
        eprintln!("LINKSPAN_FUZZ_TARGET={wanted:?} is none of the targets; `list` prints them");
        std::process::exit(2);
    };
    let _ = CHOSEN.set(target);
}
