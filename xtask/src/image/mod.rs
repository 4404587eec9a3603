//! The guest's initramfs: three archives one after another. The packages' files and the kernel's
//! modules are cached by what is in them; the programs and the job are new each time.

pub mod cpio;
pub mod packages;
pub mod tree;

use crate::job::{self, Job, Module};
use crate::kernels::{Kernel, hex_sha256, modules};
use crate::{dirs, setup, sh};
use anyhow::{Context as _, Result};
use packages::Database;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tree::Tree;

/// Bump when the base tree below changes.
const BASE_VERSION: &str = "base 2";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\nwww-data:x:33:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost guest\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";

/// What goes into a guest besides its kernel's modules.
#[derive(Debug, Clone)]
pub struct Contents {
    pub init: PathBuf,
    /// Our programs and the user's: name in the guest, file here.
    pub programs: Vec<(String, PathBuf)>,
    pub packages: Vec<String>,
}

/// The packages that every test guest gets, as far as this machine has them.
#[must_use]
pub fn default_packages() -> Vec<String> {
    let servers = setup::packages::SERVERS.iter();
    servers.map(|(_, package)| (*package).to_owned()).collect()
}

/// Writes the image for one guest.
pub fn write(mut out: &File, kernel: &Kernel, contents: &Contents, job: &Job) -> Result<()> {
    let mut parts = vec![base(&contents.packages)?];
    if let Some(dir) = &kernel.modules {
        parts.push(modules_part(&kernel.image, dir)?);
    }
    for part in parts {
        std::io::copy(&mut File::open(&part)?, &mut out)?;
    }
    job_part(contents, job)?.write(BufWriter::new(out))?;
    Ok(())
}

/// Folders, users, and the packages' files.
fn base(wanted: &[String]) -> Result<PathBuf> {
    let mut found = std::collections::BTreeMap::new();
    if !wanted.is_empty() {
        found = Database::read()?.closure(wanted);
    }
    let key = format!("{BASE_VERSION} {found:?}");
    cached("base", &key, || {
        let mut tree = skeleton();
        if !found.is_empty() {
            packages::add_files(&mut tree, found.keys())?;
            for program in setup::packages::PROGRAMS {
                tree.host(Path::new(program))?;
            }
        }
        Ok(tree)
    })
}

fn skeleton() -> Tree {
    let mut tree = Tree::default();
    for dir in [
        "proc", "sys", "dev", "run", "root", "mnt", "etc", "usr/bin", "usr/sbin",
    ] {
        tree.dir(dir, 0o755);
    }
    for dir in [
        "var/log/nginx",
        "var/lib/nginx",
        "var/www",
        "usr/lib64",
        "usr/lib",
    ] {
        tree.dir(dir, 0o755);
    }
    tree.dir("tmp", 0o1777);
    for name in ["bin", "sbin", "lib", "lib64"] {
        tree.symlink(name, format!("usr/{name}"));
    }
    tree.symlink("var/run", "/run");
    tree.symlink("var/tmp", "/tmp");
    for (name, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/nsswitch.conf", NSSWITCH),
        ("etc/hostname", "guest\n"),
    ] {
        tree.bytes(name, 0o644, text);
    }
    tree
}

/// The modules, and the list that init loads them by. The image's time is in the key because a
/// kernel of the user's is built again in the same place.
fn modules_part(image: &Path, dir: &Path) -> Result<PathBuf> {
    let built = image.metadata()?.modified()?;
    let dir = dir
        .canonicalize()
        .with_context(|| format!("could not find the modules folder {}", dir.display()))?;
    let key = format!("{} {built:?} {}", dir.display(), modules::choice());
    cached("modules", &key, || {
        let mut tree = Tree::default();
        let mut list: Vec<Module> = Vec::new();
        for packed in modules::pack(&dir)? {
            let path = Path::new(job::MODULES_DIR).join(&packed.module.file);
            tree.bytes(path, 0o644, packed.bytes);
            list.push(packed.module);
        }
        tree.bytes(job::MODULES_PATH, 0o644, serde_json::to_vec(&list)?);
        Ok(tree)
    })
}

fn job_part(contents: &Contents, job: &Job) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.program("init", &contents.init);
    // The kernel calls this one when it wants a module.
    tree.symlink("usr/sbin/modprobe", "/init");
    for (name, file) in &contents.programs {
        tree.program(Path::new("usr/bin").join(name), file);
    }
    tree.bytes(job::JOB_PATH, 0o644, serde_json::to_vec(job)?);
    Ok(tree)
}

/// One archive by what is in it; it appears whole or not at all.
fn cached(kind: &str, key: &str, build: impl FnOnce() -> Result<Tree>) -> Result<PathBuf> {
    let home = dirs::made(dirs::cache()?.join("images"))?;
    let path = home.join(format!("{kind}-{}.cpio", &hex_sha256(key.as_bytes())[..24]));
    if path.is_file() {
        return Ok(path);
    }
    // Guests start side by side and want the same archive.
    static PACKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = PACKING.lock();
    if path.is_file() {
        return Ok(path);
    }
    let _step = sh::step(format!("pack the {kind} of the guest's image"));
    let temp = tempfile::NamedTempFile::new_in(&home)?;
    build()?.write(BufWriter::new(temp.as_file()))?;
    temp.persist(&path)?;
    Ok(path)
}
