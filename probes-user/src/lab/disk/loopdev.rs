//! A loop device that clears itself when nobody has it open any more.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;

use super::Lack;

const CONTROL: &str = "/dev/loop-control";
/// Others take devices too: between "this one is free" and taking it.
const TRIES: u32 = 64;

// include/uapi/linux/loop.h
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
// include/uapi/linux/fs.h
const BLKFLSBUF: libc::c_ulong = 0x1261;
const BLOCK: u32 = 512;

/// `struct loop_info64`
#[repr(C)]
struct Info {
    device_inode_rdevice_offset_limit: [u64; 5],
    number_and_encryption: [u32; 3],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Config>() == 304);

pub struct LoopDevice {
    number: u32,
    path: PathBuf,
    file: File,
}

impl LoopDevice {
    /// # Errors
    /// No permission, no driver, no device to be had.
    pub fn new(backing: File) -> Result<LoopDevice> {
        let control = File::options()
            .read(true)
            .write(true)
            .open(CONTROL)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Lack(format!("there is no {CONTROL}; try: modprobe loop")).into()
                }
                _ => anyhow!("could not open {CONTROL}: {error}; try as root"),
            })?;
        for _ in 0..TRIES {
            let number = ioctl(control.as_fd(), LOOP_CTL_GET_FREE, 0)
                .map_err(|errno| anyhow!("could not get a loop device: {errno}"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let file = open(&path)?;
            match configure(&file, &backing) {
                Ok(()) => {
                    return Ok(LoopDevice {
                        number: number.cast_unsigned(),
                        path,
                        file,
                    });
                }
                // Somebody was faster.
                Err(Errno::BUSY) => {}
                Err(errno) => bail!("could not set up {}: {errno}", path.display()),
            }
        }
        bail!("every loop device found free was taken by somebody else")
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub fn numbers(&self) -> (u32, u32) {
        let device = self.file.metadata().map_or(0, |meta| meta.rdev());
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    pub fn queue(&self, name: &str) -> Result<u64> {
        let text = self.queue_file(name)?;
        let value = text.trim().parse();
        value.with_context(|| format!("{name} = {text}"))
    }

    pub fn queue_file(&self, name: &str) -> Result<String> {
        let path = self.queue_path(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {path}"))
    }

    pub fn set_queue(&self, name: &str, value: u64) -> Result<()> {
        let path = self.queue_path(name);
        fs::write(&path, value.to_string()).with_context(|| format!("could not set {path}"))
    }

    fn queue_path(&self, name: &str) -> String {
        format!("/sys/block/loop{}/queue/{name}", self.number)
    }

    /// Drops the pages of the device itself.
    pub fn flush(&self) -> Result<()> {
        ioctl(self.fd(), BLKFLSBUF, 0).context("could not drop the device's pages")?;
        Ok(())
    }

    pub fn clear(&self) -> Result<()> {
        ioctl(self.fd(), LOOP_CLR_FD, 0).context("could not detach the device")?;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).open(path);
    file.map_err(|error| anyhow!("could not open {}: {error}; try as root", path.display()))
}

fn configure(device: &File, backing: &File) -> Result<(), Errno> {
    let config = Config {
        fd: backing.as_raw_fd().cast_unsigned(),
        block_size: BLOCK,
        info: Info {
            device_inode_rdevice_offset_limit: [0; 5],
            number_and_encryption: [0; 3],
            flags: LO_FLAGS_AUTOCLEAR,
            names_and_key: [0; 160],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    ioctl(
        device.as_fd(),
        LOOP_CONFIGURE,
        (&raw const config).addr() as libc::c_ulong,
    )?;
    Ok(())
}

fn ioctl(
    fd: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> Result<i32, Errno> {
    // SAFETY: the requests above take nothing, or a `loop_config` that outlives the call and is only read.
    let code = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    if code >= 0 {
        return Ok(code);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
