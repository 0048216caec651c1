//! One rule about core: no order depends on a hash map. It goes by names, since it reads text and not
//! types: what bears the name of a hash map of the module, or of a module around it, counts as one.

use super::File;
use super::source::{at, numbered};
use super::text::product_code;

/// Whoever walks a hash map says why the order does not matter, in a comment `// order: ...` on the
/// line or one of the three above. `core` is searched for fields of the modules around this one.
pub(super) fn of_a_hash_map(file: &File, core: &[&File]) -> Vec<String> {
    let own = module(file);
    let around = core.iter().filter(|it| own.starts_with(&format!("{}/", module(it))));
    let fields = around.flat_map(|it| hash_maps(&it.text)).filter(|it| it.starts_with('.'));
    let maps: Vec<_> = hash_maps(&file.text).into_iter().chain(fields).collect();
    let lines: Vec<_> = file.text.lines().collect();
    let explained = |number: usize| {
        let mut near = lines.iter().take(number).skip(number.saturating_sub(4));
        near.any(|line| line.contains("// order:"))
    };
    numbered(&product_code(&file.text))
        .filter(|(number, line)| maps.iter().any(|map| walks(line, map)) && !explained(*number))
        .map(|(number, _)| at(file, number, "the order of a hash map: say `// order: why`"))
        .collect()
}

/// The path of a file's module: `a/b` of `a/b.rs` and of `a/b/mod.rs`.
fn module(file: &File) -> &str {
    file.path.trim_end_matches(".rs").trim_end_matches("/mod")
}

/// The names that are declared as hash maps or sets: `.name` of fields, `name` of parameters and
/// variables. A line `name: HashMap<..>,` may be a field or a parameter, and gives both.
fn hash_maps(text: &str) -> Vec<String> {
    let code = product_code(text);
    let mut kinds = vec!["HashMap", "HashSet", "HashTable"];
    for line in code.lines() {
        if let Some((_, alias)) = line.split_once("type ")
            && let Some((name, ty)) = alias.split_once(" = ")
            && is_one_of(ty, &kinds)
        {
            kinds.push(name);
        }
    }
    let mut names = Vec::new();
    for line in code.lines() {
        let declared = line.split_once(": ").or_else(|| line.split_once(" = "));
        let Some((before, _)) = declared.filter(|(_, ty)| is_one_of(ty, &kinds)) else {
            continue;
        };
        let before = before.replace("pub(crate) ", "").replace("pub(super) ", "");
        let name = before.rsplit([' ', '(']).next().unwrap_or_default();
        names.push(name.to_owned());
        if !before.contains("let ") && !before.contains('(') {
            names.push(format!(".{name}"));
        }
    }
    names
}

fn is_one_of(ty: &str, kinds: &[&str]) -> bool {
    let ty = ty.trim_start_matches('&').trim_start_matches("mut ");
    let path = ty.split(['<', ',', ';', ' ', ')']).next().unwrap_or_default();
    path.split("::").any(|it| kinds.contains(&it))
}

/// Does this line walk `map`: a field if its name begins with a dot, else a variable?
fn walks(line: &str, map: &str) -> bool {
    let walks = ["iter", "iter_mut", "keys", "values", "values_mut", "drain", "into_iter"];
    let is_it = |path: &str| match map.strip_prefix('.') {
        Some(field) => path.rsplit_once('.').is_some_and(|(_, last)| last == field),
        None => path == map,
    };
    let called = walks.iter().any(|walk| {
        let call = format!(".{walk}(");
        line.match_indices(&call).any(|(at, _)| {
            let before = line.get(..at).unwrap_or_default();
            is_it(before.rsplit([' ', '(', '&', '!', '*']).next().unwrap_or_default())
        })
    });
    called
        || line.split_once(" in ").is_some_and(|(_, walked)| {
            let path = walked.trim_start_matches('&').trim_start_matches("mut ");
            is_it(path.split([' ', '{']).next().unwrap_or_default())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_a_hash_map_needs_a_reason() {
        let around =
            "struct S {\n    pub(crate) lanes: hashbrown::HashMap<u8, u8>,\n    more: Vec<u8>,\n}";
        assert_eq!(hash_maps(around), ["lanes", ".lanes"]);
        let around = File::new("broker/src/core/mod.rs", around);
        let aside = File::new("broker/src/core/aside.rs", "struct A {\n    other: HashSet<u8>,\n}");
        let faults = |text: &str| {
            let file = File::new("broker/src/core/sample.rs", text);
            of_a_hash_map(&file, &[&around, &aside]).len()
        };
        for bad in [
            "self.lanes.values().sum()",
            "for (k, v) in &self.lanes {",
            "f(s.lanes.drain())",
            "let seen: HashSet<u8> = x;\nfor k in seen {",
            "let seen = HashMap::new();\nseen.iter()",
            "type Seen = HashMap<u8, u8>;\nfn f(seen: &Seen) {\nseen.keys()",
        ] {
            assert_eq!(faults(bad), 1, "{bad}");
        }
        for good in [
            "self.other.iter()",
            "self.lanes.get(&k)",
            "let types: HashSet<u8> = config.types.iter().collect();",
            "// order: a sum\nself.lanes.values().sum()",
        ] {
            assert_eq!(faults(good), 0, "{good}");
        }
    }
}
