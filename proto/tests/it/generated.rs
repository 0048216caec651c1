//! Keeps `src/generated.rs` equal to what the .proto files say, without a `protoc` on the machine.
//! `QUADRILLE_REGENERATE=1 cargo test -p quadrille-proto` rewrites it.

use std::path::Path;

const HEAD: &str = "//! Made from proto/*.proto by tests/it/generated.rs; not to be edited.\n\n";
const FILES: [&str; 4] = ["event.proto", "record.proto", "snapshot.proto", "wire.proto"];
/// What would make every frame in memory as large as itself.
const LARGE: [&str; 7] = [
    "ToServer.request.join",
    "ToServer.request.create_group",
    "ToServer.request.alter_group",
    "ToClient.reply.welcome",
    "ToClient.reply.joined",
    "ToClient.reply.explained",
    "ToClient.reply.bus_info",
];

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(FILES, [root]).unwrap();
    let mut config = prost_build::Config::new();
    for large in LARGE {
        config.boxed(format!(".quadrille.v1.wire.{large}"));
    }
    config.bytes(["."]).out_dir(out.path()).compile_fds(files).unwrap();
    let package = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let (records, wire) = (package("quadrille.v1.rs"), package("quadrille.v1.wire.rs"));
    // A package is a module, and so finds what it takes from the one around it.
    let made = format!("{HEAD}{records}pub mod wire {{\n{wire}}}\n");

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
