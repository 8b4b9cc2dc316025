//! A crate as modules: the names that each defines and imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

/// Reads a file's text; `None` when there is no such file.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Result<Option<String>>;

/// A file of the crate, by its index in [`Krate::files`].
pub(super) type FileId = usize;
/// A module of the crate, by its index in [`Krate::modules`].
pub(super) type ModuleId = usize;

/// The crate's root module.
pub(super) const ROOT: ModuleId = 0;

/// A crate without code that is only compiled for tests.
pub(super) struct Krate {
    pub(super) files: Vec<SourceFile>,
    pub(super) modules: Vec<Module>,
}

/// A parsed file.
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) parsed: Rc<syn::File>,
    /// The module of the file.
    pub(super) module: ModuleId,
}

/// A module: a file, or a part of one.
pub(super) struct Module {
    pub(super) file: FileId,
    pub(super) parent: Option<ModuleId>,
    pub(super) children: BTreeMap<String, ModuleId>,
    /// Names defined here, except modules.
    pub(super) items: BTreeSet<String>,
    /// Names imported by `use`, with the path after `use`.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// Paths before `::*`.
    pub(super) globs: Vec<Vec<String>>,
}

/// A leaf of a `use` tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The path of the imported item; of a glob, that of the module.
    pub(super) path: Vec<String>,
    pub(super) kind: LeafKind,
    /// The line that names it.
    pub(super) line: usize,
}

/// What a leaf of a `use` tree imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeafKind {
    /// One item under this name.
    Named(String),
    /// One item without a name (`as _`).
    Unnamed,
    /// Everything visible in a module.
    Glob,
}

impl Krate {
    /// Reads the crate from its root file, following its `mod` declarations.
    ///
    /// # Errors
    /// When a file is missing or is not valid Rust.
    pub(super) fn read(root: &Path, read: Read<'_>) -> Result<Self> {
        let mut krate = Self { files: Vec::new(), modules: Vec::new() };
        let dir = root.parent().unwrap_or(Path::new("")).to_owned();
        krate.add_file(root, dir, None, read)?;
        Ok(krate)
    }

    /// Adds a file as a module. `dir` has the files of its child modules.
    fn add_file(
        &mut self,
        path: &Path,
        dir: PathBuf,
        parent: Option<ModuleId>,
        read: Read<'_>,
    ) -> Result<ModuleId> {
        let shown = path.display();
        let Some(text) = read(path)? else { bail!("{shown} is declared by `mod`, but missing") };
        let parsed =
            syn::parse_file(&text).with_context(|| format!("{shown} is not valid Rust"))?;
        let module = self.add_module(self.files.len(), parent);
        let parsed = Rc::new(parsed);
        self.files.push(SourceFile { path: path.to_owned(), text, parsed: parsed.clone(), module });
        self.add_items(module, &parsed.items, &dir, read)?;
        Ok(module)
    }

    fn add_module(&mut self, file: FileId, parent: Option<ModuleId>) -> ModuleId {
        self.modules.push(Module {
            file,
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
        });
        self.modules.len() - 1
    }

    fn add_items(
        &mut self,
        module: ModuleId,
        items: &[Item],
        dir: &Path,
        read: Read<'_>,
    ) -> Result<()> {
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let id = match &child.content {
                        Some((_, items)) => {
                            let id = self.add_module(self.modules[module].file, Some(module));
                            self.add_items(id, items, &dir.join(&name), read)?;
                            id
                        }
                        None => {
                            let file = child_file(&name, &child.attrs, dir, read)?;
                            self.add_file(&file, dir.join(&name), Some(module), read)?
                        }
                    };
                    self.modules[module].children.insert(name, id);
                }
                Item::Use(used) => self.modules[module].import(&used.tree),
                item => {
                    if let Some(name) = name_of(item) {
                        self.modules[module].items.insert(name);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Module {
    /// Adds the names of a `use`. (One in a function counts for its whole module.)
    pub(super) fn import(&mut self, tree: &UseTree) {
        for leaf in leaves(tree) {
            match leaf.kind {
                LeafKind::Named(name) => drop(self.imports.entry(name).or_insert(leaf.path)),
                LeafKind::Unnamed => {}
                LeafKind::Glob => self.globs.push(leaf.path),
            }
        }
    }
}

/// The file of module `name`, declared by a file whose modules are in `dir`.
fn child_file(name: &str, attrs: &[Attribute], dir: &Path, read: Read<'_>) -> Result<PathBuf> {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("path")) {
        if let Meta::NameValue(pair) = &attr.meta
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value
        {
            return Ok(dir.join(path.value()));
        }
    }
    let beside = dir.join(format!("{name}.rs"));
    if read(&beside)?.is_some() { Ok(beside) } else { Ok(dir.join(name).join("mod.rs")) }
}

/// The leaves of a `use` tree.
pub(super) fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(tree, &mut Vec::new(), &mut found);
    found
}

fn collect(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Leaf>) {
    let whole = |last: &syn::Ident, before: &[String]| {
        let mut path = before.to_vec();
        // `use a::b::{self}` imports `b`.
        if last != "self" || path.is_empty() {
            path.push(last.to_string());
        }
        path
    };
    match tree {
        UseTree::Path(part) => {
            before.push(part.ident.to_string());
            collect(&part.tree, before, found);
            before.pop();
        }
        UseTree::Name(leaf) => {
            let path = whole(&leaf.ident, before);
            let name = path.last().cloned().unwrap_or_default();
            let line = leaf.ident.span().start().line;
            found.push(Leaf { path, kind: LeafKind::Named(name), line });
        }
        UseTree::Rename(leaf) => {
            let kind = match leaf.rename.to_string() {
                name if name == "_" => LeafKind::Unnamed,
                name => LeafKind::Named(name),
            };
            let line = leaf.ident.span().start().line;
            found.push(Leaf { path: whole(&leaf.ident, before), kind, line });
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.span.start().line;
            found.push(Leaf { path: before.clone(), kind: LeafKind::Glob, line });
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, before, found)),
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::TraitAlias(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether something is only compiled for tests.
pub(super) fn is_for_tests(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg")
                && attr.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let Ok(parts) = parts else { return false };
    match list.path.get_ident().map(ToString::to_string).as_deref() {
        Some("all") => parts.iter().any(needs_test),
        Some("any") => !parts.is_empty() && parts.iter().all(needs_test),
        _ => false,
    }
}
