//! What the traces of the page cache share: the steps of a case, sums over rows, witnesses, verdicts, tables.

pub mod settle;
pub mod steps;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod witness;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{LabOption, LabOptions};
use crate::exit::usage;
use crate::lab::Lab;
use crate::lab::pages::FsName;
use crate::lab::script::{Case, ScriptLab};

/// Bytes of the lab's file if nothing else is asked for.
const MEBIBYTES: u32 = 64;
const MOST: u32 = 8192;

pub const OPTIONS: &[LabOption] = &[LabOption {
    name: "size",
    value: "N",
    help: "Size of the lab's file in MiB (default 64)",
}];

/// The lab's options as the fold gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    #[serde(default)]
    pub variants: Vec<String>,
    pub size_bytes: u64,
}

impl Options {
    /// # Errors
    /// A size that makes no sense, as a usage error.
    pub fn of(options: &LabOptions) -> Result<Options> {
        let size = options.number("size")?.unwrap_or(MEBIBYTES);
        if !(4..=MOST).contains(&size) {
            return usage(format!("--size {size}: from 4 to {MOST} (MiB)"));
        }
        Ok(Options {
            variants: options.variants.clone(),
            size_bytes: u64::from(size) << 20,
        })
    }

    pub fn asked(&self) -> LabOptions {
        LabOptions {
            variants: self.variants.clone(),
            ..LabOptions::default()
        }
    }
}

/// Every hook of the instrument that both traces use.
pub const HOOKS: &[&str] = &[
    "mm_filemap_add_to_page_cache",
    "mm_filemap_delete_from_page_cache",
    "writeback_dirty_folio",
    "writeback_dirty_page",
    "page_cache_bio",
    "page_cache_enter",
    "page_cache_exit",
    "page_cache_fault",
    "mm_filemap_get_pages",
    "mm_filemap_fault",
    "mm_filemap_map_pages",
    "page_cache_sync_ra",
    "page_cache_async_ra",
    "mm_lru_activate",
];

pub const NEEDS: &[&str] = &[
    "mm_filemap_add_to_page_cache",
    "mm_filemap_delete_from_page_cache",
    "page_cache_bio",
    "page_cache_enter",
    "page_cache_exit",
    "page_cache_fault",
];

/// The same for a lab that follows what it starts although its trace follows nobody.
pub const LAB_HOOKS: &[&str] = &[
    "mm_filemap_add_to_page_cache",
    "mm_filemap_delete_from_page_cache",
    "writeback_dirty_folio",
    "writeback_dirty_page",
    "page_cache_bio",
    "page_cache_enter",
    "page_cache_exit",
    "page_cache_fault",
    "page_cache_sync_ra",
    "page_cache_async_ra",
    "sched_process_fork",
    "sched_process_exit",
];

pub const LAB_NEEDS: &[&str] = &[
    "mm_filemap_add_to_page_cache",
    "mm_filemap_delete_from_page_cache",
    "page_cache_enter",
    "page_cache_exit",
    "sched_process_fork",
];

/// One case for each file system that is asked for.
///
/// # Errors
/// None is.
pub fn lab(options: &LabOptions, case: impl Fn(FsName) -> Case) -> Result<Box<dyn Lab>> {
    let cases: Vec<Case> = FsName::ALL
        .into_iter()
        .filter(|fs| options.wants(fs.name()))
        .map(case)
        .collect();
    if cases.is_empty() {
        return usage(format!(
            "no case is called {}: there are ext4, xfs and raw",
            options.variants.join(" or ")
        ));
    }
    Ok(Box::new(ScriptLab::new(cases)))
}
