//! Keeps `src/generated.rs` equal to what the .proto files say, without a `protoc` on the machine.
//! `QUADRILLE_REGENERATE=1 cargo test -p quadrille-proto` rewrites it.

use std::path::Path;

const HEAD: &str = "//! Made from event.proto, record.proto and snapshot.proto by tests/it/generated.rs; not to be edited.\n\n";

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["event.proto", "record.proto", "snapshot.proto"], [root]).unwrap();
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(files).unwrap();
    let made = std::fs::read_to_string(out.path().join("quadrille.v1.rs")).unwrap();
    let made = format!("{HEAD}{made}");

    let path = root.join("src/generated.rs");
    if std::env::var_os("QUADRILLE_REGENERATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == made,
        "src/generated.rs is stale: run QUADRILLE_REGENERATE=1 cargo test -p quadrille-proto"
    );
}
