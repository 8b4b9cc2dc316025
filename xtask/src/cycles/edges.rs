//! The dependencies between files.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprMethodCall, ImplItem, Item, ItemImpl, ItemMod, ItemUse, Macro, Path,
    TraitItem, Visibility,
};

use super::resolve::{Names, segments};
use super::source::{FileId, Krate, LeafKind, ModuleId, attributes, is_for_tests, leaves};

/// A dependency: a file uses something that another one defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: FileId,
    pub(super) to: FileId,
    /// The line of the use.
    pub(super) line: usize,
}

/// All edges between different files of a crate, each pair once, at its first line.
pub(super) fn edges(krate: &Krate) -> Vec<Edge> {
    let names = Names::of(krate);
    let mut found = Vec::new();
    for (from, file) in krate.files.iter().enumerate() {
        let mut walk = Walk {
            krate,
            names: &names,
            from,
            module: file.module,
            self_type: None,
            found: &mut found,
        };
        walk.visit_file(&file.parsed);
    }
    found.sort();
    found.dedup_by_key(|edge| (edge.from, edge.to));
    found
}

struct Walk<'a> {
    krate: &'a Krate,
    names: &'a Names<'a>,
    from: FileId,
    module: ModuleId,
    /// What `Self` and `self` are.
    self_type: Option<(ModuleId, String)>,
    found: &'a mut Vec<Edge>,
}

impl Walk<'_> {
    fn uses(&mut self, to: Option<FileId>, line: usize) {
        if let Some(to) = to.filter(|to| *to != self.from) {
            self.found.push(Edge { from: self.from, to, line });
        }
    }

    fn uses_path(&mut self, path: &[String], line: usize) {
        let to = match (path, &self.self_type) {
            ([first, function, ..], Some((home, name))) if first == "Self" => {
                self.names.function(*home, name, function)
            }
            _ => self.names.defined_in(self.module, path),
        };
        self.uses(to, line);
    }

    /// Paths in the arguments of a macro, which may be any tokens.
    fn uses_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                    if path.is_empty() {
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end_of_path(&mut path, line);
                    self.uses_tokens(group.stream());
                }
                TokenTree::Ident(ident) => {
                    self.end_of_path(&mut path, line);
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.end_of_path(&mut path, line),
            }
            colons = 0;
        }
        self.end_of_path(&mut path, line);
    }

    /// A single name is omitted: it may be a variable, and imported names are counted at their `use`.
    fn end_of_path(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.uses_path(path, line);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let outside = self.module;
        let inside = self.krate.modules[outside].children.get(&item.ident.to_string());
        // A module with its own file is visited with that file.
        if let (Some(_), Some(&inside)) = (&item.content, inside) {
            self.module = inside;
            visit::visit_item_mod(self, item);
            self.module = outside;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        for leaf in leaves(&item.tree) {
            if leaf.kind == LeafKind::Glob {
                if let Some(super::resolve::Target::Module(module)) =
                    self.names.resolve(self.module, &leaf.path)
                {
                    self.uses(Some(self.names.file_of(module)), leaf.line);
                }
            } else {
                self.uses_path(&leaf.path, leaf.line);
            }
        }
    }

    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        let outside = self.self_type.take();
        self.self_type = self.names.type_of(self.module, &block.self_ty);
        visit::visit_item_impl(self, block);
        self.self_type = outside;
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attrs: &[Attribute] = match item {
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attrs) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attrs: &[Attribute] = match item {
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attrs) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if let Some(first) = path.segments.first() {
            self.uses_path(&segments(path), first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        // For other receivers the type is unknown here.
        let on_self = matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self"));
        if let Some((home, name)) = self.self_type.as_ref().filter(|_| on_self) {
            let to = self.names.function(*home, name, &call.method.to_string());
            self.uses(to, call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, used: &'ast Macro) {
        self.visit_path(&used.path);
        if !used.path.is_ident("macro_rules") {
            self.uses_tokens(used.tokens.clone());
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
