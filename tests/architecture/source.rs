//! [`SourceTree`]: the modules of one crate, with the names that each defines and the paths that each uses.
//!
//! Items that only tests compile (`#[cfg(test)]`) are left out.

use std::collections::{BTreeMap, HashMap};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, GenericArgument, ImplItem, Item, ItemMacro, ItemMod, ItemUse, Meta, Path, PathArguments, Token,
    TraitItem, Type, UseTree, punctuated::Punctuated,
};

/// The text of each file, by its name from the workspace's root.
pub(crate) type Files = BTreeMap<String, String>;

/// The segments of a path.
pub(crate) type Segments = Vec<String>;

/// A path that a module uses.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) path: Segments,
    pub(crate) line: usize,
    /// Whether it is the name of a macro that is called.
    pub(crate) is_macro: bool,
}

/// The meaning of a name in a module.
#[derive(Debug)]
pub(crate) enum Binding {
    /// A child module.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
    /// An item that is imported or re-exported from this path.
    Import(Segments),
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Its path from the crate's root; empty for the root.
    pub(crate) path: Segments,
    pub(crate) file: String,
    pub(crate) parent: Option<usize>,
    pub(crate) names: HashMap<String, Vec<Binding>>,
    /// The modules whose names it imports with `*`.
    pub(crate) globs: Vec<Segments>,
    pub(crate) references: Vec<Reference>,
    /// The lines with a `Result` whose error is a text.
    pub(crate) text_errors: Vec<usize>,
    /// The texts in its code, with their lines; documentation is left out.
    pub(crate) texts: Vec<(usize, String)>,
}

/// The modules of one crate; the first one is the root.
#[derive(Debug)]
pub(crate) struct SourceTree {
    pub(crate) modules: Vec<Module>,
    /// The modules that define `macro_rules!` macros, by the macro's name.
    pub(crate) macros: HashMap<String, usize>,
}

impl SourceTree {
    /// Reads the crate whose root is this file.
    pub(crate) fn parse(files: &Files, root: &str) -> Self {
        let mut tree = Self { modules: Vec::new(), macros: HashMap::new() };
        let directory = root.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
        let items = parse_file(files, root);
        tree.add(files, Place { path: Vec::new(), parent: None, file: root.to_owned(), directory }, &items);
        tree
    }

    /// Adds a module and its children.
    fn add(&mut self, files: &Files, place: Place, items: &[Item]) -> usize {
        let index = self.modules.len();
        let Place { path, parent, file, directory } = place;
        self.modules.push(Module { path: path.clone(), parent, file: file.clone(), ..Module::default() });
        for item in items.iter().filter(|item| !is_test_only(item_attributes(item))) {
            match item {
                Item::Mod(child) => self.add_child(files, index, &directory, child),
                Item::Macro(definition) if definition.ident.is_some() => self.add_macro(index, definition),
                _ => {
                    if let Some(name) = defined_name(item) {
                        self.bind(index, name, Binding::Item(index));
                    }
                }
            }
        }
        let mut collector = Collector::default();
        items.iter().filter(|item| !matches!(item, Item::Mod(_))).for_each(|item| collector.visit_item(item));
        for (name, path) in collector.imports {
            self.bind(index, name, Binding::Import(path));
        }
        let module = &mut self.modules[index];
        module.globs = collector.globs;
        module.references = collector.references;
        module.text_errors = collector.text_errors;
        module.texts = collector.texts;
        index
    }

    fn add_child(&mut self, files: &Files, parent: usize, directory: &str, child: &ItemMod) {
        let name = child.ident.to_string();
        let path: Segments = self.modules[parent].path.iter().cloned().chain([name.clone()]).collect();
        let inner = format!("{directory}/{name}");
        let parent_file = self.modules[parent].file.clone();
        let place = |file: String, directory: String| Place { path, parent: Some(parent), file, directory };
        let index = match (&child.content, path_attribute(&child.attrs)) {
            (Some((_, items)), _) => self.add(files, place(parent_file, inner), items),
            (None, Some(given)) => {
                // Relative to the folder of the file that declares the module.
                let folder = parent_file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let file = format!("{folder}/{given}");
                let directory = match file.strip_suffix("/mod.rs") {
                    Some(folder) => folder.to_owned(),
                    None => file.trim_end_matches(".rs").to_owned(),
                };
                let items = parse_file(files, &file);
                self.add(files, place(file, directory), &items)
            }
            (None, None) => {
                let candidates = [format!("{inner}.rs"), format!("{inner}/mod.rs")];
                let file = candidates.iter().find(|file| files.contains_key(*file));
                let file = file.unwrap_or_else(|| panic!("{parent_file}: module {name} has no file")).clone();
                let items = parse_file(files, &file);
                self.add(files, place(file, inner), &items)
            }
        };
        self.bind(parent, name, Binding::Module(index));
    }

    /// A macro that is exported belongs to the crate's root, whichever module defines it.
    fn add_macro(&mut self, module: usize, definition: &ItemMacro) {
        let Some(name) = &definition.ident else { return };
        let exported = definition.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
        self.bind(if exported { 0 } else { module }, name.to_string(), Binding::Item(module));
        self.macros.insert(name.to_string(), module);
    }

    fn bind(&mut self, module: usize, name: String, binding: Binding) {
        self.modules[module].names.entry(name).or_default().push(binding);
    }
}

/// Where a module is.
struct Place {
    path: Segments,
    parent: Option<usize>,
    file: String,
    /// The folder of its child modules.
    directory: String,
}

fn parse_file(files: &Files, name: &str) -> Vec<Item> {
    let text = files.get(name).unwrap_or_else(|| panic!("{name} is missing"));
    syn::parse_file(text).unwrap_or_else(|error| panic!("{name}:{}: {error}", error.span().start().line)).items
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
        Some(text.value())
    })
}

/// Whether only a build for tests compiles the item with these attributes.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let predicate: Option<Meta> = attribute.parse_args().ok();
        predicate.is_some_and(|predicate| !holds_without_test(&predicate))
    })
}

/// Whether a `cfg` predicate can hold in a build that is not for tests. Everything but `test` can.
fn holds_without_test(predicate: &Meta) -> bool {
    let operands = |list: &syn::MetaList| {
        list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).map(Vec::from_iter).unwrap_or_default()
    };
    match predicate {
        Meta::Path(path) => !path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => operands(list).iter().all(holds_without_test),
        Meta::List(list) if list.path.is_ident("any") => operands(list).iter().any(holds_without_test),
        _ => true,
    }
}

fn item_attributes(item: &Item) -> &[Attribute] {
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

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Gathers what the items of one module name.
#[derive(Default)]
struct Collector {
    imports: Vec<(String, Segments)>,
    globs: Vec<Segments>,
    references: Vec<Reference>,
    text_errors: Vec<usize>,
    texts: Vec<(usize, String)>,
}

impl Collector {
    fn refer(&mut self, path: Segments, line: usize) {
        self.references.push(Reference { path, line, is_macro: false });
    }

    fn import(&mut self, tree: &UseTree, prefix: &mut Segments) {
        let mut leaf = |prefix: &Segments, name: &syn::Ident, alias: &syn::Ident| {
            let mut path = prefix.clone();
            let mut alias = alias.to_string();
            if name == "self" {
                if alias == "self" {
                    alias = path.last().cloned().unwrap_or_default();
                }
            } else {
                path.push(name.to_string());
            }
            self.refer(path.clone(), name.span().start().line);
            self.imports.push((alias, path));
        };
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Name(name) => leaf(prefix, &name.ident, &name.ident),
            UseTree::Rename(rename) => leaf(prefix, &rename.ident, &rename.rename),
            UseTree::Glob(glob) => {
                self.refer(prefix.clone(), glob.star_token.span().start().line);
                self.globs.push(prefix.clone());
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix)),
        }
    }

    /// The texts among the tokens of a macro or an attribute.
    fn texts_in(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.texts_in(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into()) {
                        self.visit_lit_str(&text);
                    }
                }
                _ => {}
            }
        }
    }

    /// Texts in `serde`'s attributes name functions and types.
    fn serde_texts(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.serde_texts(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let text = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into());
                    if let Ok(path) = text.and_then(|text| text.parse::<Path>()) {
                        self.refer(segments(&path), line);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => return visit::visit_trait_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // A path that begins with `::` leads to another crate.
        if item.leading_colon.is_none() {
            self.import(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            self.refer(segments(path), path.span().start().line);
        }
        if let Some(last) = path.segments.last()
            && last.ident == "Result"
            && let PathArguments::AngleBracketed(arguments) = &last.arguments
            && let Some(GenericArgument::Type(error)) = arguments.args.iter().nth(1)
            && is_text(error)
        {
            self.text_errors.push(last.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.leading_colon.is_none() {
            let (path, line) = (segments(&call.path), call.path.span().start().line);
            self.references.push(Reference { path, line, is_macro: true });
        }
        self.visit_token_stream(&call.tokens);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        if attribute.path().is_ident("serde")
            && let Meta::List(list) = &attribute.meta
        {
            self.serde_texts(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_lit_str(&mut self, text: &syn::LitStr) {
        self.texts.push((text.span().start().line, text.value()));
    }

    /// The tokens of a macro or an attribute.
    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.references.extend(references_in(tokens.clone()));
        self.texts_in(tokens.clone());
    }
}

fn segments(path: &Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Whether this is `String` or `&str`.
fn is_text(error: &Type) -> bool {
    match error {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "String"),
        Type::Reference(reference) => match reference.elem.as_ref() {
            Type::Path(path) => path.path.is_ident("str"),
            _ => false,
        },
        _ => false,
    }
}

/// The paths `a::b::c` and the calls of macros among these tokens. Other single names are left out: they are local or imported,
/// and the import is found by itself.
fn references_in(tokens: TokenStream) -> Vec<Reference> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_mark = |place: Option<usize>, mark: char| {
        let token = place.and_then(|place| tokens.get(place));
        matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == mark)
    };
    let are_colons = |place: usize| is_mark(Some(place), ':') && is_mark(Some(place + 1), ':');
    let mut found = Vec::new();
    let mut place = 0;
    while let Some(token) = tokens.get(place) {
        let first = place;
        place += 1;
        match token {
            TokenTree::Group(group) => found.extend(references_in(group.stream())),
            TokenTree::Ident(name) => {
                let mut path = vec![name.to_string()];
                while are_colons(place)
                    && let Some(TokenTree::Ident(next)) = tokens.get(place + 2)
                {
                    path.push(next.to_string());
                    place += 3;
                }
                // The end of a longer path, `<T as Trait>::name`, or a variable of the macro.
                let is_rest = first >= 2 && are_colons(first - 2);
                let is_variable = is_mark(first.checked_sub(1), '$') && name != "crate";
                let is_macro = is_mark(Some(place), '!') && matches!(tokens.get(place + 1), Some(TokenTree::Group(_)));
                if (path.len() > 1 || is_macro) && !is_rest && !is_variable {
                    found.push(Reference { path, line: name.span().start().line, is_macro });
                }
            }
            _ => {}
        }
    }
    found
}
