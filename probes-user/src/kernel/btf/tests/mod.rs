//! The reader against the stored types of every kernel of the matrix, against hand-made and against damaged
//! bytes. No root and no virtual machine needed.

mod damage;
mod handmade;
mod host;
mod known;
mod matrix;

use std::path::Path;
use std::sync::OnceLock;

use super::Btf;

/// In the order of every five-part row.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.2"];

/// The unpacked BTF of one kernel; unpacked once per test process.
fn bytes(kernel: usize) -> &'static [u8] {
    static UNPACKED: [OnceLock<Vec<u8>>; 5] = [const { OnceLock::new() }; 5];
    UNPACKED[kernel].get_or_init(|| {
        let name = format!("../tests/data/btf/btf-{}.btf.xz", KERNELS[kernel]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut bytes = Vec::new();
        lzma_rs::xz_decompress(&mut packed.as_slice(), &mut bytes)
            .expect("the fixture is an xz file");
        bytes
    })
}

fn btf(kernel: usize) -> Btf {
    Btf::from_bytes(bytes(kernel).to_vec()).expect("the fixture is BTF")
}
