//! Directories that are none, or not ours, or not only ours.

use super::*;
use crate::disk::{Disk, Fault, RealDisk};

#[test]
fn a_second_bus_on_the_same_directory_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = FileLog::open_path(dir.path(), options()).unwrap();
    let second = FileLog::open_path(dir.path(), options()).err().unwrap();
    let OpenError::Locked { pid, program } = &second else { panic!("{second}") };
    assert_eq!(*pid, std::process::id());
    assert!(program.starts_with("quadrille_broker"), "{program}");
    assert!(second.code() == "directory_locked" && second.to_string().contains("only one bus"));
    first.claim(Now::default()).unwrap();
    first.close_epoch().unwrap();
    let third = FileLog::open_path(dir.path(), options()).unwrap();
    assert!(
        matches!(first.claim(Now::default()), Err(ClaimError::Taken(_))),
        "the first has let go"
    );
    drop(third);
    assert_eq!(first.claim(Now::default()).unwrap().epoch, 2);
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let disk = SimDisk::new();
    disk.put("holiday.jpg", vec![1]);
    let error = open(&disk).err().unwrap();
    assert!(matches!(&error, OpenError::NotADataDirectory { found } if found == "holiday.jpg"));
    assert_eq!(error.code(), "not_a_data_directory");
    assert_eq!(disk.list("").unwrap(), ["holiday.jpg"]);
    let disk = SimDisk::new();
    disk.put("manifest", b"{\"name\": \"somebody else's\"}".to_vec());
    assert!(matches!(open(&disk), Err(OpenError::NotADataDirectory { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = FileLog::open_path(file.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::NotADataDirectory { .. } | OpenError::Io(_)), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let disk = SimDisk::new();
    disk.set_read_only(true);
    assert_eq!(open(&disk).err().unwrap().code(), "read_only");
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert_eq!(OpenError::from(denied).code(), "permission_denied");
}

#[test]
fn a_newer_directory_is_refused_and_not_changed() {
    let rig = Rig::new();
    let disk = rig.disk.killed();
    // An incompat bit in both copies of the manifest, with right checksums.
    let mut bytes = disk.bytes("manifest");
    for at in [0, 512] {
        bytes[at + 12] = 4;
        let crc = crc32fast::hash(&bytes[at..at + 60]);
        bytes[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put("manifest", bytes.clone());
    let error = open(&disk).err().unwrap();
    assert!(matches!(error, OpenError::Newer { bits: 4 }), "{error}");
    assert_eq!(disk.bytes("manifest"), bytes);
}

#[test]
fn a_newer_segment_is_refused_and_not_changed() {
    let rig = Rig::new();
    let disk = rig.disk.killed();
    let path = "log/0000000001.seg";
    let mut bytes = disk.bytes(path);
    bytes[12] = 1;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    disk.put(path, bytes.clone());
    let error = Rig::on(&disk).err().unwrap();
    assert!(matches!(error, ClaimError::Newer { bits: 1, .. }), "{error}");
    assert_eq!(disk.bytes(path), bytes);
}

#[test]
fn a_half_made_directory_is_finished() {
    let disk = SimDisk::new();
    drop(Rig::on(&disk).unwrap());
    let total = disk.trace().len() as u64;
    for at in 0..total {
        let disk = SimDisk::new();
        disk.fail_at(at, Fault::Death);
        assert!(Rig::on(&disk).is_err());
        for seed in 0..8 {
            assert_eq!(Rig::on(&disk.crashed(seed)).unwrap().recovered.end, 1);
        }
    }
}

#[test]
fn a_missing_manifest_beside_segments_is_an_error() {
    let rig = Rig::new();
    rig.disk.lose("manifest");
    assert_eq!(open(&rig.disk.killed()).err().unwrap().code(), "manifest_damaged");
}

#[test]
fn every_flipped_bit_of_the_manifest_is_survived_or_reported() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30]);
    let bits = rig.disk.bytes("manifest").len() * 8;
    for bit in 0..bits {
        let disk = rig.disk.killed();
        disk.flip("manifest", bit);
        let next = Rig::on(&disk).unwrap();
        next.check(&rig);
        let whole = disk.bytes("manifest");
        assert_eq!(whole[..64], whole[512..], "both copies are whole again");
    }
    for bit in (0..512).step_by(7) {
        let disk = rig.disk.killed();
        disk.flip("manifest", bit);
        disk.flip("manifest", 512 * 8 + bit);
        let error = open(&disk).err().unwrap();
        assert!(matches!(error.code(), "manifest_damaged" | "not_a_data_directory"), "{error}");
    }
}

#[test]
fn unknown_files_are_neither_read_nor_removed() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30]);
    let disk = rig.disk.killed();
    for name in ["log/notes.txt", "log/12.seg", "log/0000000009.seg.bak", "quarantine/x", "later"] {
        disk.put(name, vec![1, 2, 3]);
    }
    let mut next = Rig::on(&disk).unwrap();
    next.check(&rig);
    for _ in 0..30 {
        next.put(ENTRY_SYNC, &[400]);
    }
    next.log.trim(20).unwrap();
    for name in ["log/notes.txt", "log/12.seg", "log/0000000009.seg.bak", "quarantine/x", "later"] {
        assert_eq!(disk.bytes(name), [1, 2, 3]);
    }
}

#[test]
fn a_real_directory_survives_a_bus_that_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).unwrap());
    let log = FileLog::open(disk.clone(), options()).unwrap();
    log.claim(Now::default()).unwrap();
    drop(log);
    let log = FileLog::open(disk, options()).unwrap();
    assert_eq!(log.claim(Now::default()).unwrap().epoch, 2);
    assert!(log.space().free > 0 && log.space().log_bytes > 0);
}
