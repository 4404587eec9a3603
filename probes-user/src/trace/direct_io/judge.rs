//! What one file system's case, or the streams past hot files, say to each claim.

use serde_json::{Value, json};

use super::evidence::View;
use super::marks::Hot;
use super::script::{
    AHEAD, BUFFERED, DIRECT, LARGE, NO_AHEAD, ONE_LARGE, QUEUED, SINGLE, SMALL_READS,
};
use crate::lab::pages::PAGE;
use crate::trace::pages::settle::near;

pub struct Judged {
    pub holds: bool,
    pub says: String,
    pub numbers: Vec<(&'static str, Value)>,
}

pub type Answer = Result<Judged, String>;

pub fn bypasses(view: &View) -> Answer {
    let (buffered, direct) = (view.step(BUFFERED)?, view.step(DIRECT)?);
    direct.believed()?;
    let pages = buffered.bytes() / PAGE;
    if !near(buffered.inserted(), pages) {
        return Err(format!(
            "the control read {pages} pages, and {} were inserted",
            buffered.inserted()
        ));
    }
    let says = format!(
        "{} pages inserted by the buffered stream of {pages} pages, {} by the one with O_DIRECT; in memory \
         afterwards {} and {}",
        buffered.inserted(),
        direct.inserted(),
        buffered.resident(),
        direct.resident(),
    );
    Ok(Judged {
        holds: direct.inserted() == 0 && direct.resident() == 0,
        says,
        numbers: vec![
            ("buffered_inserted_count", json!(buffered.inserted())),
            ("direct_inserted_count", json!(direct.inserted())),
            ("direct_resident_count", json!(direct.resident())),
            ("pages_count", json!(pages)),
        ],
    })
}

pub fn read_ahead(view: &View) -> Answer {
    let (buffered, direct) = (view.step(AHEAD)?, view.step(NO_AHEAD)?);
    direct.believed()?;
    let asked = buffered.bytes() / PAGE;
    if buffered.inserted() <= asked {
        return Err(format!(
            "the control asked for {asked} pages, and no more were read ahead"
        ));
    }
    let fetched = direct.disk.read_bytes;
    let says = format!(
        "of {asked} pages read in order the buffered reads fetched {}, those with O_DIRECT {}",
        buffered.inserted(),
        direct.read_pages(),
    );
    Ok(Judged {
        holds: fetched == direct.bytes() && direct.inserted() == 0,
        says,
        numbers: vec![
            ("asked_count", json!(asked)),
            ("buffered_fetched_count", json!(buffered.inserted())),
            ("direct_fetched_bytes", json!(fetched)),
            ("direct_asked_bytes", json!(direct.bytes())),
        ],
    })
}

pub fn merges(view: &View) -> Answer {
    let (single, queued) = (view.step(SINGLE)?, view.step(QUEUED)?);
    let large = view.step(ONE_LARGE)?;
    single.believed()?;
    large.believed()?;
    for step in [&single, &queued] {
        let disk = step.disk;
        if disk.read_bytes != SMALL_READS * PAGE {
            let (what, bytes) = (&disk.step, disk.read_bytes);
            return Err(format!("step \"{what}\": the disk has read {bytes} bytes"));
        }
    }
    let one_each = |step: &super::evidence::StepView<'_>| {
        step.disk.reads == SMALL_READS && step.disk.read_merges == 0
    };
    let says = format!(
        "{SMALL_READS} neighbouring reads one by one: {} requests, {} merged; queued at once: {} requests, {} \
         merged; one read of {} KiB: {} requests (a request of this disk holds {} KiB)",
        single.disk.reads,
        single.disk.read_merges,
        queued.disk.reads,
        queued.disk.read_merges,
        LARGE >> 10,
        large.disk.reads,
        large.disk.max_request_bytes >> 10,
    );
    Ok(Judged {
        holds: one_each(&single) && one_each(&queued),
        says,
        numbers: vec![
            ("reads_count", json!(SMALL_READS)),
            ("single_requests_count", json!(single.disk.reads)),
            ("single_merged_count", json!(single.disk.read_merges)),
            ("queued_requests_count", json!(queued.disk.reads)),
            ("queued_merged_count", json!(queued.disk.read_merges)),
            ("large_requests_count", json!(large.disk.reads)),
        ],
    })
}

/// Steps that succeeded although pages came in for them.
pub fn fallbacks(view: &View) -> Answer {
    let (mut quiet, mut refused, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    let control = view.step(BUFFERED)?;
    if control.inserted() == 0 {
        return Err("the control brought in no page".to_owned());
    }
    for tried in &view.tried {
        let step = view.step(&tried.step)?;
        if tried.ret < 0 {
            refused.push(format!("{} ({})", tried.step, errno(-tried.ret)));
            continue;
        }
        step.believed()?;
        match step.inserted() {
            0 => direct.push(tried.step.clone()),
            _ => quiet.push(tried.step.clone()),
        }
    }
    if (direct.is_empty() && quiet.is_empty()) || refused.is_empty() {
        return Err("no call succeeded, or none was refused".to_owned());
    }
    let mut says = format!(
        "direct: {}; refused: {}",
        direct.join(", "),
        refused.join(", ")
    );
    if !quiet.is_empty() {
        says += &format!("; through the cache without a word: {}", quiet.join(", "));
    }
    Ok(Judged {
        holds: quiet.is_empty(),
        says,
        numbers: vec![
            ("direct_count", json!(direct.len())),
            ("refused_count", json!(refused.len())),
            ("quiet_count", json!(quiet.len())),
        ],
    })
}

pub fn errno(code: i64) -> String {
    match i32::try_from(code) {
        Ok(libc::EINVAL) => "EINVAL".to_owned(),
        Ok(libc::ENOSPC) => "ENOSPC".to_owned(),
        Ok(libc::EIO) => "EIO".to_owned(),
        _ => format!("errno {code}"),
    }
}

/// So much must be left, or lost, for a stream to have spared the hot files, or not.
const KEPT: f64 = 0.99;
const LOST: f64 = 0.5;

pub fn protects(streams: &[Hot]) -> Answer {
    let find = |direct: bool, touched: u32| {
        let mut all = streams.iter();
        let found = all.find(|hot| (hot.direct, hot.touched) == (direct, touched));
        let found = found.ok_or_else(|| "a stream is missing".to_owned())?;
        if found.pages_before != found.pages {
            let (before, pages) = (found.pages_before, found.pages);
            return Err(format!(
                "only {before} of {pages} hot pages were in memory before"
            ));
        }
        Ok(found)
    };
    let (once, twice) = (find(false, 1)?, find(false, 2)?);
    let direct = [find(true, 1)?, find(true, 2)?];
    // What others dropped was not lost to the stream.
    let left = |hot: &Hot| (hot.pages_after + hot.dropped_by_others) as f64 / hot.pages as f64;
    let spared = direct.iter().all(|hot| left(hot) >= KEPT);
    let swept = left(once) <= LOST;
    let says = format!(
        "of {} hot files (limit {} MiB, stream {} MiB) with all their pages afterwards: with O_DIRECT {} (read \
         once) and {} (twice), without {} and {}; pages {}, {}, {} and {} of {} (dropped by others than the \
         stream's reader: {}, {}, {}, {}); reclaim by {}",
        once.files,
        once.limit_bytes >> 20,
        once.stream_bytes >> 20,
        direct[0].after,
        direct[1].after,
        once.after,
        twice.after,
        direct[0].pages_after,
        direct[1].pages_after,
        once.pages_after,
        twice.pages_after,
        once.pages,
        direct[0].dropped_by_others,
        direct[1].dropped_by_others,
        once.dropped_by_others,
        twice.dropped_by_others,
        match once.mglru {
            Some(true) => "generations (MGLRU)",
            _ => "two lists",
        },
    );
    Ok(Judged {
        holds: spared && swept,
        says,
        numbers: vec![
            ("hot_pages_count", json!(once.pages)),
            ("direct_once_left_count", json!(direct[0].pages_after)),
            ("direct_twice_left_count", json!(direct[1].pages_after)),
            ("buffered_once_left_count", json!(once.pages_after)),
            ("buffered_twice_left_count", json!(twice.pages_after)),
        ],
    })
}
