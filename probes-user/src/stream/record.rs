//! Recordings: the decoded stream in a file, enough to run everything to its right again without root.
//!
//! A file is the magic, then frames: a tag, a length, the payload. The first frame is the head (JSON), the
//! last one the tail (JSON) with the count of the frames between; a file without it was cut short.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::decode::{decode, encode};
use super::item::{Item, Mark};
use crate::render::report::{HookReport, KernelReport, StatsReport};
use crate::trace::{Context, Ending};

const MAGIC: &[u8; 16] = b"probes.record/1\n";
const HEAD: u8 = b'H';
const EVENT: u8 = b'E';
const MARK: u8 = b'M';
const TAIL: u8 = b'T';
/// No frame is longer, so a damaged length cannot ask for the machine's memory.
const FRAME_LIMIT: u32 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub kernel: KernelReport,
    pub context: Context,
    pub hooks: Vec<HookReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub frames: u64,
    pub ending: Ending,
    pub stats: Option<StatsReport>,
}

/// Writes a recording. Without `finish` the file counts as cut short.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
    frames: u64,
}

impl<W: Write> Recorder<W> {
    /// # Errors
    /// The file cannot be written (a full disk …).
    pub fn new(mut out: W, head: &Head) -> Result<Recorder<W>> {
        out.write_all(MAGIC)?;
        let mut recorder = Recorder { out, frames: 0 };
        recorder.frame(HEAD, &serde_json::to_vec(head)?)?;
        recorder.frames = 0;
        Ok(recorder)
    }

    /// # Errors
    /// The file cannot be written.
    pub fn item(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Event(event) => self.frame(EVENT, &encode(event)),
            Item::Mark(mark) => self.frame(MARK, &serde_json::to_vec(mark)?),
        }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, ending: &Ending, stats: Option<&StatsReport>) -> Result<W> {
        let tail = Tail { frames: self.frames, ending: ending.clone(), stats: stats.cloned() };
        self.frame(TAIL, &serde_json::to_vec(&tail)?)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, tag: u8, payload: &[u8]) -> Result<()> {
        let len = u32::try_from(payload.len()).context("a frame of more than 4 GiB")?;
        self.out.write_all(&[tag])?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(payload)?;
        self.frames += 1;
        Ok(())
    }
}

/// Reads a recording whole; `take` gets the items in their stored order.
///
/// # Errors
/// A foreign file, a damaged frame, or a file that was cut short. What came before the fault has been taken.
pub fn replay(mut file: impl Read, begin: impl FnOnce(&Head), mut take: impl FnMut(Item)) -> Result<Tail> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == MAGIC => {}
        Ok(()) => bail!("it does not begin with {:?}", String::from_utf8_lossy(MAGIC).trim_end()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bail!("it is too short to be a recording"),
        Err(error) => return Err(error.into()),
    }
    let Some((HEAD, head)) = frame(&mut file)? else { bail!("it has no head") };
    begin(&serde_json::from_slice(&head).context("its head is damaged or of another version")?);
    let mut frames = 0;
    while let Some((tag, payload)) = frame(&mut file)? {
        match tag {
            EVENT => take(Item::Event(decode(&payload).with_context(|| format!("frame {frames} is damaged"))?)),
            MARK => take(Item::Mark(mark(&payload).with_context(|| format!("frame {frames} is damaged"))?)),
            TAIL => {
                let tail: Tail = serde_json::from_slice(&payload).context("its tail is damaged")?;
                if tail.frames != frames {
                    bail!("it holds {frames} items, its tail says {}", tail.frames);
                }
                return Ok(tail);
            }
            other => bail!("frame {frames} has the unknown tag {other:#04x}"),
        }
        frames += 1;
    }
    bail!("it was cut short after {frames} items: no tail")
}

fn mark(payload: &[u8]) -> Result<Mark> {
    Ok(serde_json::from_slice(payload)?)
}

/// None = end of file at a frame's border.
fn frame(file: &mut impl Read) -> Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0u8; 5];
    let mut filled = 0;
    while filled < head.len() {
        match file.read(&mut head[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => bail!("it was cut short inside a frame"),
            n => filled += n,
        }
    }
    let [tag, len @ ..] = head;
    let len = u32::from_le_bytes(len);
    if len > FRAME_LIMIT {
        bail!("a frame says {len} bytes: damaged");
    }
    let mut payload = vec![0; len as usize];
    match file.read_exact(&mut payload) {
        Ok(()) => Ok(Some((tag, payload))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bail!("it was cut short inside a frame"),
        Err(error) => Err(error.into()),
    }
}
