//! Shared helpers of the end-to-end tests. No test and no assertion about the product lives here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The folder of the workspace.
///
/// # Panics
/// If this package is not inside a workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the workspace")
}

/// The `quadrille` command, built from the sources of this workspace (once per test run: cargo does
/// not build another package's binary for a test).
///
/// # Panics
/// If the command does not build; cargo has then said why on standard error.
#[must_use]
pub fn quadrille() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(root())
            .args(["build", "--quiet", "--locked", "--message-format=json"])
            .args(["--package=quadrille-cli", "--bin=quadrille"])
            .args((!cfg!(debug_assertions)).then_some("--release"))
            .output()
            .expect("cargo can be started");
        assert!(
            built.status.success(),
            "the command does not build: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        let messages = String::from_utf8_lossy(&built.stdout);
        let path = messages
            .rsplit_once(r#""executable":""#)
            .and_then(|(_, rest)| rest.split('"').next())
            .expect("cargo names the executable");
        PathBuf::from(path)
    })
}

/// How many times as long as usual the long tests go on: `QUADRILLE_ROUNDS`, or 1.
#[must_use]
pub fn rounds() -> u64 {
    std::env::var("QUADRILLE_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(1)
}

/// Held by tests that start processes or open a directory again: a process that is being started
/// has all files of its parent for a moment, the lock of a data directory too.
pub fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    Alone { _guard: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// See [`alone`].
#[must_use = "dropping it lets others in"]
pub struct Alone {
    _guard: MutexGuard<'static, ()>,
}
