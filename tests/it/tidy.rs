//! The house rules, held against every file of the workspace. What a rule says lives in
//! `tests/it/tidy/`, each with a sample that it finds fault with; here is only what it is held against.

mod docs;
mod manifest;
mod order;
mod source;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use quadrille_tests::{quadrille, root};

/// A text file of the workspace, its path relative and with slashes.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == "rs") && !self.is_generated()
    }

    fn is_generated(&self) -> bool {
        self.text.lines().take(3).any(|line| line.contains("@generated"))
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

#[test]
fn core_is_pure() {
    let files = workspace();
    let core: Vec<_> = rust(&files).filter(|it| it.is_in("broker/src/core/")).collect();
    assert!(!core.is_empty(), "core has moved: change this test with it");
    holds(core.iter().flat_map(|it| source::impure(it)));
    holds(core.iter().flat_map(|it| order::of_a_hash_map(it, &core)));
}

#[test]
fn every_file_opens_by_saying_what_lives_there() {
    holds(rust(&workspace()).flat_map(source::no_opening));
}

#[test]
fn files_are_short() {
    let files = workspace();
    let tests = source::test_files(&files);
    let product = rust(&files).filter(|it| !source::is_test(&it.path, &tests));
    holds(product.flat_map(source::too_long));
}

#[test]
fn product_code_stays_within_its_budget() {
    let files = workspace();
    let tests = source::test_files(&files);
    let budgets = [
        ("broker/src/", 16_000),
        ("client/derive/src/", 450),
        ("client/src/", 7_600),
        ("proto/src/", 1_500),
        ("src/", 5_250),
    ];
    holds(
        budgets
            .into_iter()
            .flat_map(|(folder, most)| source::over_budget(&files, &tests, folder, most)),
    );
}

#[test]
fn nothing_is_left_undone_or_silenced() {
    let files = workspace();
    holds(rust(&files).flat_map(source::silenced));
    holds(files.iter().flat_map(source::undone));
}

#[test]
fn one_file_reads_the_clock() {
    let files = workspace();
    let others = rust(&files).filter(|it| it.path != "broker/src/time.rs" && !it.is_in("benches/"));
    holds(others.flat_map(source::reads_the_clock));
}

#[test]
fn one_file_imports_sled() {
    let files = workspace();
    holds(source::more_than_one_mentions(&files, "sled"));
}

#[test]
fn nothing_names_a_machine() {
    holds(workspace().iter().flat_map(source::names_a_machine));
}

#[test]
fn paths_in_the_documents_exist() {
    let files = workspace();
    let exists = |path: &str| {
        root().join(path).exists()
            || root().join("docs").join(path).exists()
            || files.iter().any(|it| it.path.rsplit('/').next() == Some(path))
    };
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/GUIDE.md",
        "docs/PROMISES.md",
    ];
    let documents = documents.map(|it| file(&files, it));
    holds(documents.into_iter().flat_map(|it| docs::missing_paths(it, exists)));
}

#[test]
fn commands_in_the_documents_exist() {
    let files = workspace();
    let help = |words: &[&str]| {
        let ran =
            Command::new(quadrille()).args(words).arg("--help").output().expect("the command runs");
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    for name in ["README.md", "docs/GUIDE.md"] {
        let commands = docs::commands(&file(&files, name).text);
        assert!(!commands.is_empty(), "{name} shows no command");
        holds(commands.iter().flat_map(|it| docs::unknown_words(it, help)));
    }
}

#[test]
fn manifests_keep_the_layers() {
    let files = workspace();
    for (package, forbidden) in [
        ("proto", ["quadrille", "quadrille-broker", "quadrille-cli"].as_slice()),
        ("broker", ["quadrille", "quadrille-cli"].as_slice()),
        ("client", ["quadrille-cli", "sled"].as_slice()),
    ] {
        let manifest = file(&files, &format!("{package}/Cargo.toml"));
        holds(manifest::depends_on(manifest, forbidden));
    }
}

/// What a clean `cargo build` of the library with its default features builds. Nobody who embeds a
/// bus pays for an index, a server, or a command.
#[test]
fn the_library_builds_few_crates_and_none_of_a_server() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "--package=quadrille", "--edges=normal,build"])
        .args(["--prefix=none", "--no-dedupe", "--format={p}"])
        .output()
        .expect("cargo can be started");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|it| it.split(' ').next()).collect();
    let heavy = ["sled", "axum", "hyper", "rustls", "clap", "redb", "tower"];
    let found: Vec<_> = heavy.iter().filter(|it| crates.contains(*it)).collect();
    assert!(found.is_empty(), "the library builds {found:?}");
    let (count, most) = (crates.len(), 45);
    assert!(count <= most, "the library builds {count} crates, {most} at most: {crates:?}");
    assert!(crates.contains("quadrille-broker"), "the tree is read wrongly: {crates:?}");
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    let files = workspace();
    holds(members(&files).into_iter().flat_map(manifest::without_lints));
}

#[test]
fn every_dependency_is_used() {
    let files = workspace();
    let members = members(&files);
    let of_all = manifest::unused_in_workspace(file(&files, "Cargo.toml"), &members);
    let of_each = members.into_iter().flat_map(|member| {
        let folder = member.path.strip_suffix("Cargo.toml").unwrap_or_default();
        // The root package's folder holds everybody; its own code is in src/.
        let own = if folder.is_empty() { "src/" } else { folder };
        let code = files.iter().filter(|it| it.is_in(own) && it.path.ends_with(".rs"));
        let code: Vec<_> = code.map(|it| text::code(&it.text)).collect();
        manifest::unused(member, &code.join("\n"))
    });
    holds(of_all.into_iter().chain(of_each));
}

/// Fails with everything that was found, one finding a line.
fn holds(found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|it| it.is_rust())
}

fn file<'a>(files: &'a [File], path: &str) -> &'a File {
    let found = files.iter().find(|it| it.path == path);
    found.unwrap_or_else(|| panic!("{path} is missing"))
}

/// The manifests of the members, the root package's among them.
fn members(files: &[File]) -> Vec<&File> {
    let root = file(files, "Cargo.toml");
    let members: Vec<_> =
        manifest::members(&root.text).map(|it| format!("{it}/Cargo.toml")).collect();
    assert!(members.len() > 3, "the list of members is read wrongly: {members:?}");
    members.iter().map(|it| file(files, it)).chain([root]).collect()
}

/// Every text file of the workspace that is not built, fetched or hidden.
fn workspace() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be listed") {
            let path = entry.expect("an entry can be read").path();
            let relative = path.strip_prefix(root()).expect("it is below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            let skipped = [".git", "target", "demo-data"];
            if skipped.contains(&relative.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Some(text) =
                fs::read(&path).ok().and_then(|it| String::from_utf8(it).ok())
            {
                files.push(File { path: relative, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
