//! The types of a map whose value begins with a lock, as the kernel wants them told before it lends the lock
//! to programs (include/uapi/linux/btf.h). What follows the lock in the value it need not know.

/// Type numbers in what [`locked_value`] makes.
pub const KEY_TYPE: u32 = 1;
pub const VALUE_TYPE: u32 = 3;
const LOCK_TYPE: u32 = 2;

const KIND_INT: u32 = 1;
const KIND_STRUCT: u32 = 4;
const HEADER_LEN: u32 = 24;

/// BTF with `u32`, `struct bpf_spin_lock { u32 val; }` and `struct locked { struct bpf_spin_lock lock; … }`
/// of this size.
pub fn locked_value(size: u32) -> Vec<u8> {
    let mut strings = vec![0];
    let mut name = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.bytes().chain([0]));
        at
    };
    let types = [
        [name("u32"), KIND_INT << 24, 4].as_slice(),
        &[32],
        &[name("bpf_spin_lock"), KIND_STRUCT << 24 | 1, 4],
        &[name("val"), KEY_TYPE, 0],
        &[name("locked"), KIND_STRUCT << 24 | 1, size],
        &[name("lock"), LOCK_TYPE, 0],
    ]
    .concat();
    let types_len = 4 * types.len() as u32;
    let header = [
        // Magic, version 1, no flags.
        0xeb9f | 1 << 16,
        HEADER_LEN,
        0,
        types_len,
        types_len,
        strings.len() as u32,
    ];
    let words = header.into_iter().chain(types);
    words.flat_map(u32::to_ne_bytes).chain(strings).collect()
}
