//! Finds the BPF objects that `cargo xtask build` made and hands their folder to `include_bytes!`.

use std::env;
use std::path::PathBuf;

/// One object for each [[bin]] of probes-ebpf.
const OBJECTS: [&str; 12] = [
    "copy",
    "sched",
    "syscalls",
    "sock",
    "waitqueue",
    "tcp",
    "handshake",
    "surgeon",
    "block",
    "uring",
    "runqueue",
    "page_cache",
];

fn main() {
    println!("cargo::rerun-if-env-changed=PROBES_EBPF_DIR");
    let dir = match env::var_os("PROBES_EBPF_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
            .join("../target/ebpf/bpfel-unknown-none/release"),
    };
    for object in OBJECTS {
        let path = dir.join(object);
        println!("cargo::rerun-if-changed={}", path.display());
        if !path.is_file() {
            println!(
                "cargo::error=could not find the BPF object {}: it is built first by `cargo xtask build`",
                path.display()
            );
        }
    }
    let dir = dir.canonicalize().unwrap_or(dir);
    println!("cargo::rustc-env=PROBES_EBPF_OBJECTS={}", dir.display());
}
