//! Rules about manifests, read as lines: the house writes one key a line, so no TOML parser is
//! needed. Reading files is not done here.

use super::File;
use super::text::find_word;

/// The folders of the workspace's members (one line in the root manifest).
pub(super) fn members(root: &str) -> impl Iterator<Item = &str> {
    let list = root.lines().find_map(|it| it.strip_prefix("members = ["));
    let names = list.unwrap_or_default().split('"');
    names.skip(1).step_by(2)
}

/// Layers: none of these may be a dependency, of any kind.
pub(super) fn depends_on(manifest: &File, forbidden: &[&str]) -> Vec<String> {
    let found = dependencies(&manifest.text).filter(|it| forbidden.contains(it));
    found.map(|it| format!("{}: must not depend on {it}", manifest.path)).collect()
}

/// Lints are said once, in the root.
pub(super) fn without_lints(manifest: &File) -> Option<String> {
    let takes = keys(&manifest.text, |section| section == "lints")
        .any(|(_, line)| line.split('=').map(str::trim).eq(["workspace", "true"]));
    (!takes).then(|| format!("{}: has no `[lints] workspace = true`", manifest.path))
}

/// What the workspace lists, some member takes.
pub(super) fn unused_in_workspace(root: &File, members: &[&File]) -> Vec<String> {
    let taken =
        |name: &str| members.iter().any(|it| dependencies(&it.text).any(|taken| taken == name));
    let listed = keys(&root.text, |section| section == "workspace.dependencies");
    let unused = listed.filter(|(name, _)| !taken(name));
    unused.map(|(name, _)| format!("{}: nobody takes {name}", root.path)).collect()
}

/// What a package takes, its code names.
pub(super) fn unused(manifest: &File, code: &str) -> Vec<String> {
    let unused = dependencies(&manifest.text)
        .filter(|name| find_word(code, &name.replace('-', "_")).is_none());
    unused.map(|name| format!("{}: {name} is not used", manifest.path)).collect()
}

/// The names of all dependencies of a package, of every kind and target.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let own =
        |section: &str| section.ends_with("dependencies") && section != "workspace.dependencies";
    keys(manifest, own).map(|(name, _)| name)
}

/// The keys at the left margin in the sections that `wanted` chooses, with their lines.
fn keys(manifest: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    manifest.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            return None;
        }
        let name = line.split(['=', '.', ' ']).next()?;
        let is_key = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        (is_key && wanted(section)).then_some((name, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"a\", \"b\"]\n\n[workspace.dependencies]\n\
                        bytes = \"1\"\ntokio = { version = \"1\", features = [\n    \"rt\",\n] }\n";
    const MEMBER: &str = "[dependencies]\nbytes.workspace = true\n# tokio = no\n\n\
                          [dev-dependencies]\nquadrille-proto = { workspace = true }\n";

    #[test]
    fn members_are_read() {
        assert_eq!(members(ROOT).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_dependency_upwards_is_found() {
        let member = File::new("a/Cargo.toml", MEMBER);
        assert_eq!(depends_on(&member, &["quadrille-proto"]).len(), 1);
        assert_eq!(depends_on(&member, &["quadrille"]), [""; 0]);
    }

    #[test]
    fn a_member_with_lints_of_its_own_is_found() {
        assert!(without_lints(&File::new("a/Cargo.toml", MEMBER)).is_some());
        let own = "[lints.clippy]\nworkspace = true";
        assert!(without_lints(&File::new("a/Cargo.toml", own)).is_some());
        let taking = "[lints]\nworkspace = true";
        assert!(without_lints(&File::new("a/Cargo.toml", taking)).is_none());
    }

    #[test]
    fn dependencies_that_nobody_takes_are_found() {
        let (root, member) = (File::new("Cargo.toml", ROOT), File::new("a/Cargo.toml", MEMBER));
        assert_eq!(unused_in_workspace(&root, &[&member]), ["Cargo.toml: nobody takes tokio"]);
        assert_eq!(unused(&member, "use quadrille_proto::x;"), ["a/Cargo.toml: bytes is not used"]);
        assert_eq!(unused(&member, "use bytes::Bytes; quadrille_proto::x()"), [""; 0]);
    }
}
