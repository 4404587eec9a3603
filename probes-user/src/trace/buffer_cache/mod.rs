//! buffer-cache: does dd fill `Cached` or `Buffers`? The pages of a file and those of a block device.
//!
//! Both are page cache; /proc/meminfo counts what belongs to a block device's own inode as Buffers. Pages are
//! counted where they come in, by owner; /proc/meminfo is the witness. What could fool it: others' files (their
//! pages are counted as well), and Buffers falls back when the last one closes the device.

mod judge;
mod script;

use anyhow::Result;

use super::page_cache::LabFold;
use super::pages::{LAB_HOOKS, LAB_NEEDS, OPTIONS, Options};
use super::{Context, Fold, LabOption, LabOptions, Trace, Watching};
use crate::evidence::Claim;
use crate::lab::Lab;

pub struct BufferCache;

pub static BUFFER_CACHE: BufferCache = BufferCache;

impl Trace for BufferCache {
    fn name(&self) -> &'static str {
        "buffer-cache"
    }

    fn summary(&self) -> &'static str {
        "what grows when dd writes a file or reads a block device: Cached or Buffers"
    }

    fn claims(&self) -> &'static [Claim] {
        &judge::CLAIMS
    }

    fn hooks(&self) -> &'static [&'static str] {
        LAB_HOOKS
    }

    fn needs(&self) -> &'static [&'static str] {
        LAB_NEEDS
    }

    fn options(&self) -> &'static [LabOption] {
        OPTIONS
    }

    fn examples(&self) -> &'static [(&'static str, &'static str)] {
        &[("--variant raw --size 256", "the device only, more of it")]
    }

    fn settings(&self) -> &'static [&'static str] {
        &["vm.dirty_background_ratio", "vm.dirty_expire_centisecs"]
    }

    fn watching(&self) -> Watching {
        Watching::Nothing
    }

    fn page(&self) -> &'static str {
        include_str!("../../../../docs/traces/buffer-cache.md")
    }

    fn lab(&self, options: &LabOptions) -> Result<Box<dyn Lab>> {
        let size = Options::of(options)?.size_bytes;
        super::pages::lab(options, |fs| script::case(fs, size))
    }

    fn lab_options(&self, options: &LabOptions) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Options::of(options)?)?)
    }

    fn fold(&self, context: &Context) -> Box<dyn Fold> {
        Box::new(LabFold::new(context, &judge::QUESTIONS))
    }
}
