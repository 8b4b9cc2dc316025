//! Resolves a path to the module or item it refers to, through re-exports.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, ItemImpl, ItemMod, Type};

use super::source::{FileId, Krate, ModuleId, ROOT, attributes, is_for_tests};

/// The target of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Module(ModuleId),
    /// An item, in the module that defines it.
    Item(ModuleId, String),
}

/// The names of a crate.
pub(super) struct Names<'a> {
    krate: &'a Krate,
    /// Where the functions of a type's own `impl` blocks are.
    functions: BTreeMap<(ModuleId, String, String), FileId>,
}

/// Re-exports may be cyclic themselves.
const DEEPEST: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A scope: something follows after `::`.
    Scope,
    /// The end of a path.
    Thing,
}

impl<'a> Names<'a> {
    /// Collects what a type's `impl` blocks define.
    pub(super) fn of(krate: &'a Krate) -> Self {
        let mut names = Self { krate, functions: BTreeMap::new() };
        for file in &krate.files {
            let mut walk = Impls { names: &names, module: file.module, found: Vec::new() };
            walk.visit_file(&file.parsed);
            let found = walk.found;
            let at = krate.modules[file.module].file;
            for (module, of, function) in found {
                names.functions.entry((module, of, function)).or_insert(at);
            }
        }
        names
    }

    /// Resolves a path that is written in `module`; `None` for items outside this crate.
    pub(super) fn resolve(&self, module: ModuleId, path: &[String]) -> Option<Target> {
        self.follow(module, path, 0).map(|(target, _)| target)
    }

    /// The file that defines the target of a path; `None` for a module, which is only a scope.
    pub(super) fn defined_in(&self, module: ModuleId, path: &[String]) -> Option<FileId> {
        let (target, rest) = self.follow(module, path, 0)?;
        let Target::Item(home, name) = target else { return None };
        let function = rest.first().and_then(|function| self.function(home, &name, function));
        Some(function.unwrap_or(self.krate.modules[home].file))
    }

    /// The file that defines a function of a type's own.
    pub(super) fn function(&self, home: ModuleId, of: &str, name: &str) -> Option<FileId> {
        self.functions.get(&(home, of.to_owned(), name.to_owned())).copied()
    }

    /// The file of a module.
    pub(super) fn file_of(&self, module: ModuleId) -> FileId {
        self.krate.modules[module].file
    }

    /// Resolves the longest prefix of the path that is a module or an item, and returns the rest.
    fn follow<'p>(
        &self,
        module: ModuleId,
        path: &'p [String],
        depth: usize,
    ) -> Option<(Target, &'p [String])> {
        if depth > DEEPEST {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let wanted = |rest: &[String]| if rest.is_empty() { Wanted::Thing } else { Wanted::Scope };
        let mut at = match first.as_str() {
            "crate" => Target::Module(ROOT),
            "self" => Target::Module(module),
            "super" => Target::Module(self.krate.modules[module].parent?),
            name => self.look_up(module, name, wanted(rest), depth)?,
        };
        while let Some((name, after)) = rest.split_first() {
            let Target::Module(scope) = at else { break };
            at = if name == "super" {
                Target::Module(self.krate.modules[scope].parent?)
            } else {
                self.look_up(scope, name, wanted(after), depth)?
            };
            rest = after;
        }
        Some((at, rest))
    }

    /// A name in a module: a child, a definition, an import. A name may be a module and a function: what
    /// follows decides.
    fn look_up(
        &self,
        module: ModuleId,
        name: &str,
        wanted: Wanted,
        depth: usize,
    ) -> Option<Target> {
        let here = &self.krate.modules[module];
        let child = here.children.get(name).map(|&child| Target::Module(child));
        let item = here.items.contains(name).then(|| Target::Item(module, name.to_owned()));
        let imported = || Some(self.follow(module, here.imports.get(name)?, depth + 1)?.0);
        let direct = match wanted {
            Wanted::Scope => child.clone().or(item).or_else(imported),
            Wanted::Thing => item.or_else(imported).or(child.clone()),
        };
        direct.or_else(|| {
            here.globs.iter().find_map(|path| match self.follow(module, path, depth + 1)?.0 {
                Target::Module(scope) if scope != module => {
                    self.look_up(scope, name, wanted, depth + 1)
                }
                _ => None,
            })
        })
    }
}

/// Collects the functions of `impl` blocks without a trait.
struct Impls<'a> {
    names: &'a Names<'a>,
    module: ModuleId,
    found: Vec<(ModuleId, String, String)>,
}

impl<'ast> Visit<'ast> for Impls<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let outside = self.module;
        let name = item.ident.to_string();
        // A module with its own file is visited with that file.
        if let (Some(_), Some(&inside)) =
            (&item.content, self.names.krate.modules[outside].children.get(&name))
        {
            self.module = inside;
            visit::visit_item_mod(self, item);
            self.module = outside;
        }
    }

    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        if block.trait_.is_some() {
            return;
        }
        let Some((home, name)) = self.names.type_of(self.module, &block.self_ty) else { return };
        for item in &block.items {
            let ident = match item {
                ImplItem::Fn(function) => &function.sig.ident,
                ImplItem::Const(constant) => &constant.ident,
                _ => continue,
            };
            self.found.push((home, name.clone(), ident.to_string()));
        }
    }
}

impl Names<'_> {
    /// The type of this crate that an `impl` block is for.
    pub(super) fn type_of(&self, module: ModuleId, of: &Type) -> Option<(ModuleId, String)> {
        let Type::Path(path) = of else { return None };
        match self.resolve(module, &segments(&path.path))? {
            Target::Item(home, name) => Some((home, name)),
            Target::Module(_) => None,
        }
    }
}

/// The names of a path, without generic arguments.
pub(super) fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
