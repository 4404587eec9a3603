//! A file tree in memory, from an explicit list; written as one cpio archive.

use super::cpio::{self, Writer};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

#[derive(Debug)]
enum Node {
    Dir,
    Symlink(PathBuf),
    Bytes(Vec<u8>),
    /// Read when the archive is written.
    Host(PathBuf),
}

/// Sorted by path, so that a folder always stands before what is in it.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, (Node, u32, u32)>,
}

impl Tree {
    pub fn dir(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.add(path.as_ref(), Node::Dir, cpio::DIR | mode, 0);
    }

    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) {
        let node = Node::Symlink(target.into());
        self.add(path.as_ref(), node, cpio::SYMLINK | 0o777, 0);
    }

    pub fn bytes(&mut self, path: impl AsRef<Path>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.add(
            path.as_ref(),
            Node::Bytes(bytes.into()),
            cpio::FILE | mode,
            0,
        );
    }

    /// A program of ours under another name.
    pub fn program(&mut self, path: impl AsRef<Path>, from: &Path) {
        self.add(
            path.as_ref(),
            Node::Host(from.to_path_buf()),
            cpio::FILE | 0o755,
            0,
        );
    }

    /// What the host has at this path: file, folder or symlink, with its mode and time. A file
    /// reached through a symlinked folder (`/lib`) lands where it really is.
    pub fn host(&mut self, path: &Path) -> Result<()> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else {
            return Ok(());
        };
        let Ok(parent) = parent.canonicalize() else {
            return Ok(());
        };
        let path = parent.join(name);
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            return Ok(());
        };
        let mtime = u32::try_from(meta.mtime()).unwrap_or(0);
        let node = if meta.is_dir() {
            Node::Dir
        } else if meta.is_symlink() {
            Node::Symlink(std::fs::read_link(&path)?)
        } else if meta.is_file() {
            Node::Host(path.clone())
        } else {
            return Ok(());
        };
        self.add(&path, node, meta.mode(), mtime);
        Ok(())
    }

    fn add(&mut self, path: &Path, node: Node, mode: u32, mtime: u32) {
        let path: PathBuf = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if path.as_os_str().is_empty() {
            return;
        }
        for parent in path.ancestors().skip(1) {
            if !parent.as_os_str().is_empty() {
                let dir = (Node::Dir, cpio::DIR | 0o755, 0);
                self.nodes.entry(parent.to_path_buf()).or_insert(dir);
            }
        }
        self.nodes.insert(path, (node, mode, mtime));
    }

    pub fn write<W: Write>(&self, out: W) -> Result<W> {
        let mut writer = Writer::new(out);
        for (path, (node, mode, mtime)) in &self.nodes {
            let name = path.to_str().context("a path in the image is not UTF-8")?;
            let data = match node {
                Node::Dir => Vec::new(),
                Node::Symlink(target) => target.as_os_str().as_encoded_bytes().to_vec(),
                Node::Bytes(bytes) => bytes.clone(),
                Node::Host(from) => std::fs::read(from)
                    .with_context(|| format!("could not read {}", from.display()))?,
            };
            writer.entry(name, *mode, *mtime, &data)?;
        }
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.bytes("/usr/bin/x", 0o755, "x");
        tree.symlink("/bin", "usr/bin");
        let names: Vec<_> = tree.nodes.keys().map(|p| p.display().to_string()).collect();
        assert_eq!(names, ["bin", "usr", "usr/bin", "usr/bin/x"]);
    }

    #[test]
    fn a_file_below_a_symlinked_folder_lands_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/f"), "x").unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let mut tree = Tree::default();
        tree.host(&root.join("link/f")).unwrap();
        let wanted = root.join("real/f");
        assert!(tree.nodes.contains_key(wanted.strip_prefix("/").unwrap()));
    }
}
