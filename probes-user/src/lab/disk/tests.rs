use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use super::*;

const SIZE: u64 = 64 << 20;

fn mounts_of_the_process() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// A disk is the thread's own: each test has one.
fn on_a_thread(script: impl FnOnce() + Send + 'static) {
    std::thread::spawn(script).join().unwrap();
}

#[test]
fn a_file_system_is_seen_by_its_thread_alone_and_gone_afterwards() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let before = mounts_of_the_process();
        on_a_thread(move || {
            let disk = Disk::new(SIZE, fs).expect("needs root, e2fsprogs and xfsprogs");
            let path = disk.file("hello");
            fs::write(&path, "hello").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().dev(), disk.stat_dev());
            assert!(!mounts_of_the_process().contains("disk"), "seen outside");
            disk.chill().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"hello");
            assert!(disk.stat().unwrap()[0] > 0, "read from the device");
            let backing = format!("/sys/block/loop{}/loop/backing_file", disk.device.number());
            let before = fs::read_to_string(&backing).unwrap();
            drop(disk);
            assert_ne!(fs::read_to_string(backing).unwrap_or_default(), before);
        });
        assert_eq!(mounts_of_the_process(), before);
    }
}

#[test]
fn two_disks_live_side_by_side() {
    on_a_thread(|| {
        let one = Disk::new(SIZE, Fs::Ext4).expect("needs root");
        let two = Disk::new(SIZE, Fs::Ext4).expect("needs root");
        assert_ne!(one.dev(), two.dev());
        fs::write(one.file("a"), "1").unwrap();
        assert!(!two.file("a").exists());
    });
}

#[test]
fn a_raw_disk_is_the_device_itself_and_full_at_its_end() {
    let disk = Disk::new(1 << 20, Fs::Raw).expect("needs root");
    assert!(disk.mountpoint().is_none());
    let mut file = fs::File::options().write(true).open(disk.file("")).unwrap();
    file.write_all(&vec![7; 1 << 20]).unwrap();
    let error = file.write_all(&[7]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    drop(file);
    disk.chill().unwrap();
    let mut back = Vec::new();
    let mut file = fs::File::open(disk.device()).unwrap();
    file.read_to_end(&mut back).unwrap();
    assert_eq!(back, vec![7; 1 << 20]);
}

#[test]
fn sizes_that_make_no_disk_are_refused_with_words() {
    for size in [0, 5, !4095] {
        let error = Disk::new(size, Fs::Raw)
            .err()
            .map(|error| error.to_string());
        let error = error.unwrap_or_else(|| panic!("{size} made a disk"));
        assert!(error.contains("disk of"), "{error}");
    }
}
