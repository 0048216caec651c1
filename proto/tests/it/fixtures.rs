//! Golden bytes: what was written once stays readable, and is written the same way today.
//! `QUADRILLE_REGENERATE_FIXTURES=1` writes those that are missing or differ; a difference in one
//! that was released is a change of the format.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use quadrille_proto::{Event, record};

use crate::samples;

/// The golden bytes of that name; `today` is what the code makes of the sample.
fn golden(name: &str, today: &[u8]) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.bin"));
    if std::env::var_os("QUADRILLE_REGENERATE_FIXTURES").is_some() {
        std::fs::write(&path, today).expect("a writable source tree");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("fixtures/{name}.bin: {error}")).into()
}

#[test]
fn events_read_and_write_as_ever() {
    for (name, event) in [("event-full", samples::event()), ("event-minimal", samples::minimal())] {
        let mut today = BytesMut::new();
        event.encode(&mut today);
        let bytes = golden(name, &today);
        assert_eq!(Event::decode(&bytes), Ok(event), "{name}");
        assert_eq!(today, bytes, "{name}");
    }
}

#[test]
fn records_read_and_write_as_ever() {
    for kind in samples::records() {
        let mut today = BytesMut::new();
        record::encode_body(&kind, &mut today);
        let (number, name) = (record::number(&kind), record::name(&kind));
        let bytes = golden(&format!("record-{number:02}-{name}"), &today);
        let must = record::must_understand(number);
        assert_eq!(record::decode(number, must, bytes.clone()), Ok(Some(kind)), "{name}");
        assert_eq!(today, bytes, "{name}");
    }
}
