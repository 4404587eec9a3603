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
        let tail = Tail {
            frames: self.frames,
            ending: ending.clone(),
            stats: stats.cloned(),
        };
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

/// A recording whose head has been read.
#[derive(Debug)]
pub struct Recording<R: Read> {
    pub head: Head,
    file: R,
}

impl<R: Read> Recording<R> {
    /// # Errors
    /// A foreign file, one of another version, or one without a whole head.
    pub fn open(mut file: R) -> Result<Recording<R>> {
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if &magic == MAGIC => {}
            Ok(()) => bail!(
                "it is no recording: it does not begin with {:?}",
                String::from_utf8_lossy(MAGIC).trim_end()
            ),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                bail!("it is too short to be a recording")
            }
            Err(error) => return Err(error.into()),
        }
        let Some((HEAD, head)) = frame(&mut file)? else {
            bail!("it has no head")
        };
        let head =
            serde_json::from_slice(&head).context("its head is damaged or of another version")?;
        Ok(Recording { head, file })
    }

    /// Hands out the items in their stored order; returns how the stream ended.
    ///
    /// # Errors
    /// A damaged frame, or a file that was cut short. What came before the fault has been taken.
    pub fn items(mut self, mut take: impl FnMut(Item)) -> Result<Tail> {
        let mut frames = 0;
        while let Some((tag, payload)) = frame(&mut self.file)? {
            let damaged = || format!("frame {frames} is damaged");
            match tag {
                EVENT => take(Item::Event(decode(&payload).with_context(damaged)?)),
                MARK => take(Item::Mark(
                    serde_json::from_slice::<Mark>(&payload).with_context(damaged)?,
                )),
                TAIL => {
                    let tail: Tail =
                        serde_json::from_slice(&payload).context("its tail is damaged")?;
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
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("it was cut short inside a frame")
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Body, Event};
    use crate::trace::Mode;
    use probes_common::event::{Exit, Header, Kind, Switch};

    fn head() -> Head {
        let kernel = KernelReport {
            release: "6.1.0".into(),
            version: "#1".into(),
            machine: "x86_64".into(),
            cpus: 2,
        };
        let context = Context {
            trace: "epoll-herd".into(),
            mode: Mode::Lab,
            options: serde_json::json!({"workers": 4}),
            symbols: Vec::new(),
            attached: vec!["sched_waking".into()],
            enums: Default::default(),
            timeline: None,
        };
        Head {
            kernel,
            context,
            hooks: Vec::new(),
        }
    }

    fn items() -> Vec<Item> {
        let header = |kind: Kind| Header {
            ktime: 5,
            kind: kind as u16,
            len: kind.record_len() as u16,
            ..Header::default()
        };
        vec![
            Item::Mark(Mark {
                ktime: 1,
                name: "scene".into(),
                data: serde_json::json!({"n": 1}),
            }),
            Item::Event(Event {
                header: header(Kind::Exit),
                body: Body::Exit(Exit { pid: 1, tgid: 1 }),
            }),
            Item::Event(Event {
                header: header(Kind::Switch),
                body: Body::Switch(Switch {
                    prev: 1,
                    next: 2,
                    prev_state: 0,
                    flags: 3,
                }),
            }),
        ]
    }

    fn file() -> Vec<u8> {
        let mut recorder = Recorder::new(Vec::new(), &head()).unwrap();
        for item in items() {
            recorder.item(&item).unwrap();
        }
        recorder
            .finish(
                &Ending {
                    emitted: 2,
                    ..Ending::default()
                },
                None,
            )
            .unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(Head, Vec<Item>, Tail)> {
        let recording = Recording::open(bytes)?;
        let head = recording.head.clone();
        let mut items = Vec::new();
        let tail = recording.items(|item| items.push(item))?;
        Ok((head, items, tail))
    }

    #[test]
    fn what_is_recorded_is_replayed() {
        let (read_head, read_items, tail) = read(&file()).unwrap();
        assert_eq!(read_head, head());
        assert_eq!(read_items, items());
        assert_eq!((tail.frames, tail.ending.emitted), (3, 2));
    }

    #[test]
    fn every_truncation_is_told() {
        let whole = file();
        for len in 0..whole.len() {
            let error = read(&whole[..len]).unwrap_err().to_string();
            assert!(
                error.contains("short") || error.contains("no head"),
                "{len}: {error}"
            );
        }
    }

    #[test]
    fn foreign_files_are_refused() {
        let error = read(b"\x7fELF and so on, long enough")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no recording"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..400, value in 0u8..) {
            let mut bytes = file();
            let at = at % bytes.len();
            bytes[at] = value;
            let _outcome = read(&bytes);
        }
    }
}
