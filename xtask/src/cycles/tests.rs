//! Tests with artificial crates.

use std::collections::BTreeMap;

use super::*;

/// Cycles in a crate whose files are `name.rs` and text; the root is `lib.rs`.
fn found(files: &[(&str, &str)]) -> Found {
    let files: BTreeMap<&Path, &str> =
        files.iter().map(|&(name, text)| (Path::new(name), text)).collect();
    look(Path::new("lib.rs"), &|path| Ok(files.get(path).map(|&text| text.to_owned()))).unwrap()
}

/// `lib.rs` with the modules `a` and `b`, and these texts.
fn cycle(what: &str, a: &str, b: &str, expected: usize) {
    let found = found(&[("lib.rs", "mod a; pub mod b;"), ("a.rs", a), ("b.rs", b)]);
    assert_eq!(found.largest, expected, "{what}: {found:?}");
}

/// What `b` does with `a` in every row below is a dependency if the row says so; then there is a cycle.
const BACK: &str = "pub struct A; fn back() { crate::b::take(); }";

#[test]
fn naming_an_item_of_another_file_is_a_dependency() {
    for (what, b, expected) in [
        ("nothing", "pub fn take() {}", 0),
        ("use", "use crate::a::A; pub fn take() {}", 2),
        ("use super", "use super::a::A; pub fn take() {}", 2),
        ("use in a group", "use crate::{a::{A as Other}}; pub fn take() {}", 2),
        ("use in a nested group with self", "use super::{a::{self, A}}; pub fn take() {}", 2),
        ("use as _", "use crate::a::A as _; pub fn take() {}", 2),
        ("use of everything", "use crate::a::*; pub fn take() {}", 2),
        ("use in a function", "pub fn take() { use crate::a::A; }", 2),
        ("naming a module only", "use crate::a; pub fn take() {}", 0),
        ("through a named module", "use crate::a; pub fn take() { a::A; }", 2),
        ("through a renamed module", "use crate::a as c; pub fn take() { c::A; }", 2),
        ("a path in an expression", "pub fn take() { crate::a::A; }", 2),
        ("a path in a type", "pub fn take(_: Option<super::a::A>) {}", 2),
        ("a path in a pattern", "pub fn take() { if let crate::a::A = () {} }", 2),
        ("the arguments of a macro", "pub fn take() { println!(\"{}\", f(crate::a::A)); }", 2),
        ("an impl for the type", "pub fn take() {} impl super::a::A {}", 2),
        ("a function of the type", "pub fn take() { crate::a::A::new(); }", 2),
        ("an inline module", "pub fn take() {} mod c { use super::super::a::A; }", 2),
        ("something of the same name", "pub fn take() { A; } struct A;", 0),
        ("something of elsewhere", "use other::a::A; pub fn take() {}", 0),
        ("a text", "pub fn take() -> &'static str { \"crate::a::A\" }", 0),
        ("tests", "pub fn take() {} #[cfg(test)] mod tests { use crate::a::A; }", 0),
        ("a use for tests", "pub fn take() {} #[cfg(test)] use crate::a::A;", 0),
        (
            "tests on an OS",
            "pub fn take() {} #[cfg(all(test, unix))] mod t { use crate::a::A; }",
            0,
        ),
        ("what is for all but tests", "pub fn take() {} #[cfg(not(test))] use crate::a::A;", 2),
        ("an OS", "pub fn take() {} #[cfg(unix)] use crate::a::A;", 2),
    ] {
        cycle(what, BACK, b, expected);
    }
}

#[test]
fn a_reexported_item_belongs_to_its_defining_file() {
    let a = "use super::Shown; pub struct A;";
    for (what, lib, expected) in [
        ("passed on by the root alone", "mod a; mod b; pub use b::Shown;", 0),
        (
            "passed on twice",
            "mod a; mod c { pub use super::b::*; } mod b; pub(crate) use c::Shown;",
            0,
        ),
        (
            "defined by the root, which passes the other on",
            "mod a; mod b; pub use a::A; pub struct Shown;",
            0,
        ),
        (
            "defined by the root, which uses the other",
            "mod a; mod b; use a::A; pub struct Shown;",
            2,
        ),
        (
            "defined by the root, which passes the other on and names it, too",
            "mod a; mod b; pub use a::A; pub struct Shown(A);",
            2,
        ),
    ] {
        let found = found(&[("lib.rs", lib), ("a.rs", a), ("b.rs", "pub struct Shown;")]);
        assert_eq!(found.largest, expected, "{what}: {found:?}");
    }
    // The dependency is found through the root: b uses a, which imports what b re-exports.
    let lib = "mod a; mod b; pub use b::Shown;";
    let all =
        found(&[("lib.rs", lib), ("a.rs", a), ("b.rs", "use crate::a::A; pub struct Shown;")]);
    assert_eq!(all.largest, 2, "{all:?}");
}

#[test]
fn impl_blocks_of_one_type_in_several_files_form_a_cycle() {
    let lib = "mod a; mod b; mod c; pub struct Run; impl Run { fn go(&self) { self.first(); } }";
    let first = "use super::Run; impl Run { pub fn first(&self) { self.second(); } }";
    let second = "impl crate::Run { pub fn second(&self) { Self::third(); } }";
    let third = "impl crate::Run { pub fn third() {} }";
    let all = found(&[("lib.rs", lib), ("a.rs", first), ("b.rs", second), ("c.rs", third)]);
    assert_eq!((all.largest, all.in_cycles), (4, 4), "{all:?}");
}

#[test]
fn modules_are_found_as_by_the_compiler() {
    let all = found(&[
        ("lib.rs", "mod a; #[path = \"elsewhere/x.rs\"] mod b; mod in_line { pub mod d; }"),
        ("a/mod.rs", "mod c; pub struct A;"),
        ("a/c.rs", "use super::A; pub struct C; fn f() { crate::in_line::d::D; }"),
        ("in_line/d.rs", "pub struct D; fn f() { crate::b::B; }"),
        ("elsewhere/x.rs", "pub struct B;"),
    ]);
    assert_eq!(all, Found::default());
    let missing = look(Path::new("lib.rs"), &|path| {
        Ok((path == Path::new("lib.rs")).then(|| "mod a;".to_owned()))
    });
    assert!(missing.unwrap_err().to_string().contains("a/mod.rs"));
}

#[test]
fn the_shortest_cycle_of_each_component_is_shown_with_its_lines() {
    let all = found(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("a.rs", "pub struct A;\nuse crate::b::B;\n"),
        ("b.rs", "use crate::c::C;\npub struct B;\n"),
        ("c.rs", "use crate::{\n    a::A,\n};\nuse crate::b::B;\npub struct C;\n"),
        ("d.rs", "pub struct D(crate::e::E);\n"),
        ("e.rs", "pub struct E(Box<crate::d::D>);\n"),
    ]);
    assert_eq!((all.largest, all.in_cycles), (3, 5));
    let expected = "3 files in a cycle, of which these suffice:\
                    \n    b.rs:1 uses c.rs: use crate::c::C;\
                    \n    c.rs:4 uses b.rs: use crate::b::B;";
    assert_eq!(all.shown[0], expected);
    assert!(all.shown[1].contains("d.rs:1 uses e.rs: pub struct D(crate::e::E);"), "{all:?}");
}

#[test]
fn exceptions_can_only_shrink() {
    let known = Exception { package: "p", largest: 3, in_cycles: 5 };
    for (largest, in_cycles, exception, complaint) in [
        (0, 0, None, None),
        (3, 5, Some(&known), None),
        (2, 2, None, Some("no cycle is allowed")),
        (4, 5, Some(&known), Some("3 in the largest, but there are 5 and 4")),
        (3, 6, Some(&known), Some("5 files in cycles are allowed")),
        (3, 4, Some(&known), Some("has improved")),
        (0, 0, Some(&known), Some("remove the line")),
    ] {
        let found = Found { largest, in_cycles, shown: vec!["here".to_owned()] };
        let told = judge("p", &found, exception);
        match complaint {
            None => assert_eq!(told, None, "{largest} {in_cycles}"),
            Some(text) => assert!(told.clone().unwrap().contains(text), "{told:?}"),
        }
    }
}
