//! Checkpoint files: sections of core's state in one blob, the last two kept; the layout is in
//! FORMAT.md. What is in a section is core's business.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::core::types::Position;
use crate::log::{Blobs, LogError};

/// One part of core's state, copied between two commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds; numbered by core.
    pub kind: u16,
    /// Which part of the hash range.
    pub range: u32,
    /// It holds the effect of every record before this place: replay of it starts here.
    pub at: Position,
    /// The state, below 4 GiB.
    pub payload: Bytes,
}

/// What a checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its number, rising.
    pub number: u64,
    /// The smallest position of its sections: replay starts here.
    pub from: Position,
    /// The largest position of its sections: the checkpoint counts only in a log that reaches it.
    pub to: Position,
    /// How long the file is.
    pub bytes: u64,
}

/// A checkpoint that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number.
    pub number: u64,
    /// For people.
    pub reason: String,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest valid checkpoint, if there is any.
    pub newest: Option<(Info, Vec<Section>)>,
    /// Those that are damaged, from another log, of a newer version (they stay until the next write)
    /// or ahead of the log (they are removed).
    pub skipped: Vec<Skipped>,
}

/// The checkpoints of one log.
pub struct Checkpoints {
    blobs: Arc<dyn Blobs>,
    log_id: u128,
    last_number: u64,
    /// The valid ones, newest first, at most two.
    valid: Vec<Info>,
}

impl Checkpoints {
    /// Reads the checkpoints of a log that ends before entry `end`. To be called before anything is
    /// appended: one that is ahead of the log would become wrong as the log grows.
    ///
    /// # Errors
    /// Blobs cannot be listed, or one that is ahead of the log cannot be removed. A checkpoint that
    /// cannot be read is skipped.
    pub fn open(blobs: Arc<dyn Blobs>, log_id: u128, end: u64) -> Result<(Self, Loaded), LogError> {
        let mut numbers = numbers(&*blobs)?;
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let last_number = numbers.first().copied().unwrap_or(0);
        let mut this = Self { blobs, log_id, last_number, valid: Vec::new() };
        let mut loaded = Loaded::default();
        for number in numbers {
            match this.read(number) {
                Ok((info, _)) if info.to > (Position { entry: end, index: 0 }) => {
                    this.blobs.remove(&name(number))?;
                    let reason =
                        format!("it needs the log up to {}, which ends before #{end}", info.to);
                    loaded.skipped.push(Skipped { number, reason });
                }
                Ok((info, sections)) => {
                    this.valid.push(info);
                    loaded.newest.get_or_insert((info, sections));
                }
                Err(reason) => loaded.skipped.push(Skipped { number, reason }),
            }
        }
        this.valid.truncate(KEPT);
        Ok((this, loaded))
    }

    /// Writes a checkpoint, then removes all but the two newest valid ones. To be called only once
    /// the durable watermark has passed the largest position.
    ///
    /// # Errors
    /// The disk is full or has failed. If only the removing has failed, the checkpoint counts
    /// nevertheless, and the next write removes again.
    ///
    /// # Panics
    /// If there is no section, or one of 4 GiB.
    pub fn write(&mut self, sections: &[Section]) -> Result<Info, LogError> {
        let number = self.last_number + 1;
        let bytes = encode(self.log_id, number, sections);
        self.blobs.put(&name(number), &bytes)?;
        self.last_number = number;
        let info = info(number, sections, bytes.len()).expect("a checkpoint has a section");
        self.valid.insert(0, info);
        self.valid.truncate(KEPT);
        for old in numbers(&*self.blobs)? {
            if !self.valid.iter().any(|info| info.number == old) {
                self.blobs.remove(&name(old))?;
            }
        }
        Ok(info)
    }

    /// The valid checkpoints, newest first.
    pub fn list(&self) -> &[Info] {
        &self.valid
    }

    /// The first entry that either of two checkpoints needs: it and all behind it must stay. 0 (all
    /// of the log) while there are fewer than two.
    pub fn keep_from(&self) -> u64 {
        if self.valid.len() < KEPT {
            return 0;
        }
        self.valid.iter().map(|info| info.from.entry).min().unwrap_or(0)
    }

    fn read(&self, number: u64) -> Result<(Info, Vec<Section>), String> {
        let bytes = self.blobs.get(&name(number)).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or("it has vanished")?;
        let len = bytes.len();
        let sections = decode(bytes, self.log_id, number)?;
        let info = info(number, &sections, len).ok_or("it is empty")?;
        Ok((info, sections))
    }
}

/// How many are kept.
const KEPT: usize = 2;
const MAGIC: [u8; 8] = *b"QUADCKPT";
const HEADER: usize = 8 + 12 + 16 + 8 + 4 + 4;
const SECTION: usize = 2 + 2 + 4 + 8 + 4 + 4 + 4;
const PREFIX: &str = "checkpoints/";

fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

fn numbers(blobs: &dyn Blobs) -> Result<Vec<u64>, LogError> {
    let number = |blob: &String| {
        let number = u64::from_str_radix(blob.strip_prefix(PREFIX)?, 16).ok()?;
        (name(number) == *blob).then_some(number)
    };
    Ok(blobs.list()?.iter().filter_map(number).collect())
}

fn info(number: u64, sections: &[Section], len: usize) -> Option<Info> {
    let at = sections.iter().map(|section| section.at);
    Some(Info { number, from: at.clone().min()?, to: at.max()?, bytes: len as u64 })
}

fn encode(log_id: u128, number: u64, sections: &[Section]) -> Vec<u8> {
    let narrow = |len| u32::try_from(len).expect("a section is shorter than 4 GiB");
    let len: usize = sections.iter().map(|section| SECTION + section.payload.len()).sum();
    let mut out = Vec::with_capacity(HEADER + len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 12]); // compat, read-compat, incompat
    out.extend_from_slice(&log_id.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&narrow(sections.len()).to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    for section in sections {
        let start = out.len();
        out.extend_from_slice(&section.kind.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&section.range.to_le_bytes());
        out.extend_from_slice(&section.at.entry.to_le_bytes());
        out.extend_from_slice(&section.at.index.to_le_bytes());
        out.extend_from_slice(&narrow(section.payload.len()).to_le_bytes());
        let crc = section_crc(out.get(start..).unwrap_or_default(), &section.payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&section.payload);
    }
    out
}

fn section_crc(fields: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fields);
    crc.update(payload);
    crc.finalize()
}

fn decode(mut bytes: Bytes, log_id: u128, number: u64) -> Result<Vec<Section>, String> {
    if bytes.len() < HEADER {
        return Err("it is cut short".into());
    }
    let mut header = bytes.split_to(HEADER);
    if crc32fast::hash(header.get(..HEADER - 4).unwrap_or_default())
        != header.slice(HEADER - 4..).get_u32_le()
    {
        return Err("its header is damaged".into());
    }
    if !header.starts_with(&MAGIC) {
        return Err("it is no checkpoint".into());
    }
    header.advance(MAGIC.len());
    let (_compat, read_compat, incompat) =
        (header.get_u32_le(), header.get_u32_le(), header.get_u32_le());
    if read_compat | incompat != 0 {
        return Err("a newer version wrote it".into());
    }
    if (header.get_u128_le(), header.get_u64_le()) != (log_id, number) {
        return Err("it belongs to another log or has another number".into());
    }
    let count = header.get_u32_le();
    let mut sections = Vec::new();
    for section in 0..count {
        let damaged = || format!("section {section} of {count} is damaged");
        sections.push(take_section(&mut bytes).ok_or_else(damaged)?);
    }
    if bytes.is_empty() { Ok(sections) } else { Err("there is something behind its end".into()) }
}

fn take_section(bytes: &mut Bytes) -> Option<Section> {
    if bytes.len() < SECTION {
        return None;
    }
    let mut header = bytes.split_to(SECTION);
    let fields = header.slice(..SECTION - 4);
    let (kind, _, range) = (header.get_u16_le(), header.get_u16_le(), header.get_u32_le());
    let at = Position { entry: header.get_u64_le(), index: header.get_u32_le() };
    let (len, crc) = (header.get_u32_le() as usize, header.get_u32_le());
    if bytes.len() < len {
        return None;
    }
    let payload = bytes.split_to(len);
    (section_crc(&fields, &payload) == crc).then_some(Section { kind, range, at, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::MemBlobs;

    fn section(kind: u16, entry: u64, payload: &'static [u8]) -> Section {
        let at = Position { entry, index: 2 };
        Section { kind, range: 9, at, payload: Bytes::from_static(payload) }
    }

    fn open(blobs: &Arc<MemBlobs>, end: u64) -> (Checkpoints, Loaded) {
        Checkpoints::open(blobs.clone(), 7, end).unwrap()
    }

    /// Three checkpoints written, two left: from #20 to #25 and from #30 to #35.
    fn three() -> (Arc<MemBlobs>, Checkpoints) {
        let blobs = Arc::new(MemBlobs::default());
        let (mut it, loaded) = open(&blobs, 1);
        assert!(loaded.newest.is_none() && loaded.skipped.is_empty());
        for entry in [10, 20, 30] {
            it.write(&[
                section(1, entry + 5, b"topics"),
                section(2, entry, b""),
                section(3, entry + 1, b"x"),
            ])
            .unwrap();
        }
        (blobs, it)
    }

    #[test]
    fn the_newest_two_are_kept_and_say_what_they_need() {
        let blobs = Arc::new(MemBlobs::default());
        let (mut it, _) = open(&blobs, 1);
        assert_eq!(it.keep_from(), 0);
        it.write(&[section(1, 10, b"a")]).unwrap();
        assert_eq!(it.keep_from(), 0, "if this one is damaged, all of the log is needed");
        it.write(&[section(1, 22, b"b"), section(2, 20, b"c")]).unwrap();
        assert_eq!(it.keep_from(), 10);
        it.write(&[section(1, 30, b"d")]).unwrap();
        assert_eq!(it.keep_from(), 20);
        assert_eq!(blobs.list().unwrap(), [name(2), name(3)]);
        let (again, loaded) = open(&blobs, 100);
        assert_eq!(again.list(), it.list());
        assert_eq!(again.keep_from(), 20);
        let (info, sections) = loaded.newest.unwrap();
        assert_eq!((info.number, info.from.entry, info.to.entry), (3, 30, 30));
        assert_eq!(sections, [section(1, 30, b"d")]);
        assert!(loaded.skipped.is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_falls_back_to_the_older_one() {
        let (blobs, _) = three();
        let good = blobs.get(&name(3)).unwrap().unwrap();
        let check = |bytes: &[u8], what: String| {
            blobs.put(&name(3), bytes).unwrap();
            let (it, loaded) = open(&blobs, 100);
            assert_eq!(loaded.newest.unwrap().0.number, 2, "{what}");
            assert_eq!(loaded.skipped.len(), 1, "{what}");
            assert_eq!(it.keep_from(), 0, "{what}");
        };
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            check(&bad, format!("bit {bit}"));
        }
        for len in 0..good.len() {
            check(&good[..len], format!("cut at {len}"));
        }
        check(&[&good[..], b"x"].concat(), "longer".into());
    }

    #[test]
    fn a_damaged_one_goes_with_the_next_write_and_its_number_is_not_used_again() {
        let (blobs, _) = three();
        blobs.put(&name(3), b"damaged").unwrap();
        blobs.put("checkpoints/notes", b"not ours").unwrap();
        let (mut it, _) = open(&blobs, 100);
        assert_eq!(it.write(&[section(1, 40, b"")]).unwrap().number, 4);
        assert_eq!(blobs.list().unwrap(), [name(2), name(4), "checkpoints/notes".into()]);
        assert_eq!(it.keep_from(), 20);
    }

    #[test]
    fn one_that_is_ahead_of_the_log_is_removed_before_the_log_can_grow_past_it() {
        let (blobs, _) = three();
        let (_, loaded) = open(&blobs, 35);
        assert_eq!(loaded.newest.unwrap().0.number, 2, "#35.2 is behind the end, #35");
        assert_eq!(loaded.skipped.first().unwrap().number, 3);
        let (_, loaded) = open(&blobs, 100);
        assert_eq!(loaded.newest.unwrap().0.number, 2);
        assert!(loaded.skipped.is_empty());
    }

    #[test]
    fn those_of_another_log_or_under_another_number_do_not_count() {
        let (blobs, _) = three();
        let (_, loaded) = Checkpoints::open(blobs.clone(), 8, 100).unwrap();
        assert!(loaded.newest.is_none());
        assert_eq!(loaded.skipped.len(), 2);
        let old = blobs.get(&name(2)).unwrap().unwrap();
        blobs.put(&name(3), &old).unwrap();
        assert_eq!(open(&blobs, 100).1.newest.unwrap().0.number, 2);
    }
}
